/** What the resolver of one container knows. The daemon decides it; it travels as JSON, and is kept with the process. */

export interface ContainerDns {
  /** The user networks it is in, in the order in which names are looked up. */
  readonly networks: readonly DnsNetwork[];
  /** Asked for what is no container: addresses of resolvers. Empty: nobody is asked (`--internal`). */
  readonly servers: readonly string[];
}

export interface DnsNetwork {
  readonly id: string;
  readonly name: string;
  /** What this container is called there, its own name first. */
  readonly names: readonly string[];
  /** Its addresses there, of both families. */
  readonly addresses: readonly string[];
  /** What only this container calls others: alias to name. */
  readonly links: Readonly<Record<string, string>>;
}
