/**
 * What the network room and the supervisor agree on: how one container meets the world. The daemon decides
 * it (addresses, names, ports); the supervisor builds it, because it owns the birth and outlives the daemon.
 */

import type { IpvlanFlag, IpvlanMode, MacvlanMode } from "#linux/netlink";

export type PortProtocol = "tcp" | "udp" | "sctp";

/** One published port, fully decided. `hostAddress` "" was resolved to two bindings, 0.0.0.0 and [::]. */
export interface PortBinding {
  readonly protocol: PortProtocol;
  readonly containerPort: number;
  readonly hostAddress: string;
  readonly hostPort: number;
}

/** The container's own link in one bridge network. Everything is text or number, so it travels as JSON. */
export interface BridgeEndpoint {
  /** Name of the bridge on the host: `naru0`. */
  readonly bridge: string;
  /** Name of the host's end of the veth, carrying the container's id: recorded before it is made. */
  readonly hostLink: string;
  /** Name inside the container: `eth0`. */
  readonly containerLink: string;
  /** `02:42:ac:11:00:02`. */
  readonly macAddress: string;
  /** `172.18.0.2`; "" in a network without IPv4. */
  readonly address: string;
  readonly prefixLength: number;
  /** null for an internal network: no default route. */
  readonly gateway: string | null;
  readonly mtu: number;
  readonly ipv6?: Ipv6Link;
  /** Absent: both families' default routes lead here, as far as there is a gateway. */
  readonly defaultRoute?: { readonly ipv4: boolean; readonly ipv6: boolean };
  /** Absent: a veth into the bridge. Else a link of this kind on the parent link, which `bridge` names then. */
  readonly device?: EndpointDevice;
  /** Cut off from other isolated ports of the bridge (`enable_icc=false`). */
  readonly isolated?: boolean;
  /** `ipv4.conf.log_martians=1`: settings below /proc/sys/net, without the link's name. */
  readonly sysctls?: readonly LinkSetting[];
  readonly bandwidth?: Bandwidth;
  /** Further addresses, of either family. */
  readonly linkLocal?: readonly string[];
}

/** What a plain veth is like before it has a name and addresses. */
export type LinkKind = Pick<BridgeEndpoint, "bridge" | "containerLink" | "mtu">;

/** What the container may send and receive at most; absent: as much as the machine can. */
export interface Bandwidth {
  readonly egressBytesPerSecond?: number;
  readonly ingressBytesPerSecond?: number;
}

export interface Ipv6Link {
  readonly address: string;
  readonly prefixLength: number;
  readonly gateway: string | null;
}

export type EndpointDevice =
  | { readonly kind: "macvlan"; readonly mode: MacvlanMode }
  | { readonly kind: "ipvlan"; readonly mode: IpvlanMode; readonly flag: IpvlanFlag };

/** `net.ipv4.conf.<link>.log_martians = 1`. */
export interface LinkSetting {
  readonly family: "ipv4" | "ipv6" | "mpls";
  /** `conf` or `neigh`. */
  readonly section: string;
  readonly name: string;
  readonly value: string;
}

export interface MovedDevices {
  /** Devices that leave the host for the container: their names there, and in it. */
  readonly devices?: readonly (readonly [host: string, name: string])[];
}

/** What the supervisor builds around a newborn's network namespace. */
export type NetworkAttachment =
  | ({ readonly mode: "bridge"; readonly endpoints: readonly BridgeEndpoint[] } & MovedDevices)
  /** A namespace of its own with nothing but loopback. */
  | ({ readonly mode: "none" } & MovedDevices)
  /** The host's namespace, or another container's (by the spec's namespace path): nothing to build. */
  | { readonly mode: "shared" };
