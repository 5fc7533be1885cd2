/**
 * Ports of bridges that do not let everything through. Of networks with `naru.network.antispoofing`: only what their
 * container may send, its hardware address and its IP addresses, in ARP and neighbour discovery too. Of networks with
 * `enable_icc=false`: only what is sent to the host.
 */
import type { Netlink } from "#linux/netlink";

import type { Endpoint, Network } from "../network-service.ts";
import { bridgeOptions } from "../options.ts";
import { leadsElsewhere, optionsOf } from "../parts.ts";
import type { NetworkRecords } from "../records.ts";
import type { Firewall } from "./firewall.ts";

/** One guarded port of a bridge. */
export interface GuardedPort {
  /** The host's end of the veth. */
  readonly link: string;
  /** Who the container is; null: it may say what it likes. */
  readonly own: {
    readonly macAddress: string;
    /** IPv4 and IPv6. */
    readonly addresses: readonly string[];
  } | null;
  /** The bridge's hardware address, and the only one frames may go to; null: they go anywhere. */
  readonly host: string | null;
}

export class Guards {
  readonly #records: NetworkRecords;
  readonly #firewall: Firewall;
  readonly #netlink: Netlink;

  constructor(request: { records: NetworkRecords; firewall: Firewall; netlink: Netlink }) {
    this.#records = request.records;
    this.#firewall = request.firewall;
    this.#netlink = request.netlink;
  }

  /** Every port that is guarded now. */
  all(): GuardedPort[] {
    return this.#records
      .networks()
      .filter(isGuarded)
      .flatMap((network) => this.#portsOf(network, this.#records.endpointsIn(network.id)));
  }

  /** Endpoints that are recorded already: before their links are there. */
  add(endpoints: readonly Endpoint[]): void {
    const ports = this.#guarded(endpoints);
    if (ports.length > 0) this.#firewall.guard(ports);
  }

  remove(endpoints: readonly Endpoint[]): void {
    const ports = this.#guarded(endpoints);
    if (ports.length > 0) this.#firewall.unguard(ports);
  }

  /** All of some containers. Costs nothing while no network is guarded. */
  removeOf(containerIds: readonly string[]): void {
    if (!this.#records.networks().some(isGuarded)) return;
    this.remove(containerIds.flatMap((id) => this.#records.endpointsOf(id)));
  }

  #guarded(endpoints: readonly Endpoint[]): GuardedPort[] {
    return this.#records.networks().flatMap((network) => {
      const own = endpoints.filter(({ networkId }) => networkId === network.id);
      return own.length > 0 && isGuarded(network) ? this.#portsOf(network, own) : [];
    });
  }

  #portsOf(network: Network, endpoints: readonly Endpoint[]): GuardedPort[] {
    if (endpoints.length === 0) return [];
    const { antiSpoofing } = bridgeOptions(optionsOf(network));
    const bridge = isApart(network) ? this.#netlink.getLink(network.bridge ?? "") : null;
    return endpoints.map(({ link }) => ({
      link: link.hostLink,
      own: antiSpoofing ? ownOf(link) : null,
      host: bridge?.macAddress ?? null,
    }));
  }
}

/**
 * Containers of the network do not reach each other. On a bridge of somebody else's, whose hardware address may change
 * and which may lead to other machines, the kernel's own isolation of ports does it: see `endpoint-design.ts`.
 */
const isApart = (network: Network): boolean =>
  !leadsElsewhere(network) && !bridgeOptions(optionsOf(network)).icc;

const isGuarded = (network: Network): boolean =>
  network.driver === "bridge" &&
  (bridgeOptions(optionsOf(network)).antiSpoofing || isApart(network));

function ownOf({ address, ipv6, linkLocal = [], macAddress }: Endpoint["link"]) {
  const addresses = [address, ipv6?.address ?? "", ...linkLocal].filter((one) => one !== "");
  return { macAddress, addresses };
}
