/** What carries a published port from an IPv6 address of the host to a container that has none. */

/** A relay that listens; its socket is also the reservation of the port. */
export interface Relay {
  close(): void;
}

export interface RelayRequest {
  /** IPv6 text; `::` is every one. */
  readonly hostAddress: string;
  readonly hostPort: number;
  /** The container's IPv4 address. */
  readonly targetAddress: string;
  readonly targetPort: number;
}

/** Node's and Bun's errors alike carry the name of the kernel's error. */
export const errorCode = (thrown: unknown): string =>
  thrown instanceof Error && "code" in thrown ? String(thrown.code) : "";
