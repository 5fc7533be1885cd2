/**
 * Ports of bridges that let through only what their container may send (networks with `naru.network.antispoofing`):
 * its hardware address, and its IP addresses, in ARP and neighbour discovery too.
 */
import type { Endpoint, Network } from "../network-service.ts";
import { bridgeOptions } from "../options.ts";
import type { NetworkRecords } from "../records.ts";
import type { Firewall } from "./firewall.ts";

/** One guarded port of a bridge. */
export interface GuardedPort {
  /** The host's end of the veth. */
  readonly link: string;
  readonly macAddress: string;
  /** IPv4 and IPv6. */
  readonly addresses: readonly string[];
}

export class Guards {
  readonly #records: NetworkRecords;
  readonly #firewall: Firewall;

  constructor(request: { records: NetworkRecords; firewall: Firewall }) {
    this.#records = request.records;
    this.#firewall = request.firewall;
  }

  /** Every port that is guarded now. */
  all(): GuardedPort[] {
    return this.#records
      .networks()
      .filter(isGuarded)
      .flatMap(({ id }) => this.#records.endpointsIn(id).map(guardedPort));
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
    const networks = this.#records.networks();
    return endpoints
      .filter(({ networkId }) => {
        const network = networks.find(({ id }) => id === networkId);
        return network !== undefined && isGuarded(network);
      })
      .map(guardedPort);
  }
}

const isGuarded = ({ driver, custom }: Network): boolean =>
  custom !== null && driver === "bridge" && bridgeOptions(custom.options).antiSpoofing;

function guardedPort({ link }: Endpoint): GuardedPort {
  const { address, ipv6, linkLocal = [] } = link;
  const addresses = [address, ipv6?.address ?? "", ...linkLocal].filter((one) => one !== "");
  return { link: link.hostLink, macAddress: link.macAddress, addresses };
}
