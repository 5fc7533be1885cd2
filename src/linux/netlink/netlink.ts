/**
 * Links, addresses and routes of one network namespace: the one the socket was opened in, whatever the thread
 * does later. All calls are synchronous. Addresses are text ("172.18.0.1", "fd00::2"), hardware addresses
 * "02:42:ac:12:00:02".
 */

export interface Link {
  readonly index: number;
  readonly name: string;
  /** "bridge", "veth"; null for hardware and loopback. */
  readonly kind: string | null;
  readonly macAddress: string | null;
  readonly mtu: number;
  readonly up: boolean;
  /** The index of the bridge it is a port of, or null. */
  readonly master: number | null;
  /** What somebody noted about it. */
  readonly alias: string | null;
}

export interface NewLinkCommon {
  readonly name: string;
  readonly macAddress?: string;
  readonly mtu?: number;
}

/** Where the other end of a veth is made. */
export type PeerNamespace = { readonly fd: number } | { readonly pid: number };

export type NewLink = NewLinkCommon &
  (
    | { readonly kind: "bridge" }
    | {
        readonly kind: "veth";
        /** The bridge to become a port of. */
        readonly master?: string;
        readonly peer: NewLinkCommon & { readonly namespace?: PeerNamespace };
      }
    | { readonly kind: "dummy" }
    /** A queue that other links' packets are sent through. */
    | { readonly kind: "ifb" }
    | { readonly kind: "vlan"; readonly parent: string; readonly vlanId: number }
    /** Made in `namespace` at once: it never is on the host. */
    | {
        readonly kind: "macvlan";
        readonly parent: string;
        readonly mode: MacvlanMode;
        readonly namespace?: { readonly fd: number };
      }
    | {
        readonly kind: "ipvlan";
        readonly parent: string;
        readonly mode: IpvlanMode;
        readonly flag: IpvlanFlag;
        readonly namespace?: { readonly fd: number };
      }
  );

export type MacvlanMode = "private" | "vepa" | "bridge" | "passthru";
export type IpvlanMode = "l2" | "l3" | "l3s";
export type IpvlanFlag = "bridge" | "private" | "vepa";

export interface LinkChanges {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly macAddress?: string;
  /** A bridge's name; null leaves the bridge. */
  readonly master?: string | null;
  readonly name?: string;
  /** It goes there. */
  readonly namespace?: { readonly fd: number };
  /** A note for whoever finds the link. */
  readonly alias?: string;
  /** Bridge port: frames may leave where they came in. Only for a link that is a port already. */
  readonly hairpin?: boolean;
  /** Bridge port: nothing passes between it and other isolated ports. Only for a link that is a port already. */
  readonly isolated?: boolean;
  /** No IPv6 address is made up for the link (addrgenmode none). */
  readonly withoutIpv6Address?: boolean;
}

/** How fast a link sends at most. */
export interface LinkRate {
  readonly bytesPerSecond: number;
  /** What may leave at once after a pause; at least one frame. */
  readonly burstBytes: number;
  /** What may wait; more is dropped. */
  readonly queueBytes: number;
}

export interface LinkAddress {
  readonly link: string;
  readonly address: string;
  readonly prefixLength: number;
}

export type Family = "ipv4" | "ipv6";

export interface Route {
  /** null is the default route. */
  readonly destination: { readonly address: string; readonly prefixLength: number } | null;
  readonly gateway: string | null;
  /** null where a listed route has no single link (multipath, blackhole). */
  readonly link: string | null;
}

/** @throws NetlinkError, with `code` such as "EEXIST", from every call */
export interface Netlink extends Disposable {
  /**
   * Sends the changes that `work` asks for together, in order, in one system call. Lookups by name happen at
   * once: a link made inside the batch can be set inside it, but not be given an address or be a master.
   * The first refusal is thrown at the end, when everything else was carried out.
   */
  batch(work: () => void): void;
  addLink(link: NewLink): void;
  setLink(name: string, changes: LinkChanges): void;
  /** @returns false when there was none; inside a batch that is an error at its end */
  deleteLink(name: string): boolean;
  /** Deletes many at once, in the time that one takes (13 ms: the kernel waits). Missing ones are no error. */
  deleteLinks(names: readonly string[]): void;
  getLink(name: string): Link | null;
  /**
   * Makes a carrier that has just come count at once. A veth's end that came up before its peer, a bridge's
   * port and the bridge itself drop every packet until a kernel thread has noticed the carrier; asking for the
   * link makes the kernel notice it now (since Linux 6.8; before, this changes nothing).
   */
  settleLink(name: string): void;
  /** What leaves the link, leaves it no faster. A second limit takes the first one's place. */
  limitLink(name: string, rate: LinkRate): void;
  /** The limits there are, of all links, in bytes per second by the link's name. */
  listLimits(): Map<string, number>;
  /**
   * Everything that arrives at a link passes `target`'s queue before anything else sees it; `target` is of kind
   * "ifb". Takes the place of other redirects of the link.
   */
  redirectArrivals(name: string, target: string): void;
  /** Whether what arrives at a link passes `target`'s queue. */
  isRedirected(name: string, target: string): boolean;
  listLinks(): Link[];
  addAddress(address: LinkAddress): void;
  deleteAddress(address: LinkAddress): void;
  /** Of one family; IPv4 by default. */
  listAddresses(family?: Family): LinkAddress[];
  /** @param route.family for a default route without a gateway; the address tells otherwise */
  addRoute(route: Route & { readonly link: string; readonly family?: Family }): void;
  /** @returns false when there was none */
  deleteRoute(route: Route & { readonly link: string; readonly family?: Family }): boolean;
  /** Unicast routes of every table, the kernel's own for broadcast and local addresses left out. IPv4 by default. */
  listRoutes(family?: Family): Route[];
}
