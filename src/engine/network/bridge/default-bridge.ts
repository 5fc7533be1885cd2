/** The three networks that always are, and the subnet and link of the default one. */
import { conflict, invalid, newId } from "#base";
import type { Netlink } from "#linux/netlink";

import { contains, formatIpv4, formatSubnet, lastOf, parseCidr } from "../addresses/ip.ts";
import { chooseSubnet, type DefaultPool, usedSubnets } from "../addresses/pools.ts";
import type { Network } from "../network-service.ts";
import type { NetworkRecords } from "../records.ts";
import { ensureBridge, routeLocalhost } from "./bridge.ts";

const DEFAULT_BRIDGE = "naru0";
const DEFAULT_MTU = 1500;
/** IPv4 works with less, but nothing else does. */
const SMALLEST_MTU = 68;
const LARGEST_MTU = 65_535;
/** IFNAMSIZ without its NUL. */
const LINK_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/;
/** The smallest subnet with a gateway and a container. */
const LONGEST_PREFIX = 30;

export class DefaultBridge {
  readonly bridge: string;
  readonly #records: NetworkRecords;
  readonly #netlink: Netlink;
  readonly #pools: readonly DefaultPool[];
  readonly #bip: string | null;
  readonly #mtu: number;

  constructor(request: {
    records: NetworkRecords;
    netlink: Netlink;
    options: { bridge?: string; bip?: string; mtu?: number };
    pools: readonly DefaultPool[];
  }) {
    const { bridge = DEFAULT_BRIDGE, bip = null, mtu = DEFAULT_MTU } = request.options;
    if (!LINK_NAME.test(bridge)) throw invalid(`invalid bridge name: ${bridge}`);
    if (!(mtu >= SMALLEST_MTU && mtu <= LARGEST_MTU)) throw invalid(`invalid MTU: ${mtu}`);
    this.bridge = bridge;
    this.#records = request.records;
    this.#netlink = request.netlink;
    this.#pools = request.pools;
    this.#bip = bip;
    this.#mtu = mtu;
  }

  network(): Network {
    const network = this.#records.networks().find(({ name }) => name === "bridge");
    if (!network) throw new Error("broken invariant: ensure runs first");
    return network;
  }

  /** Records networks and subnet where they are not yet. */
  decide(): void {
    const recorded = this.#records.networks();
    const bridge = recorded.find(({ name }) => name === "bridge");
    const wanted = this.#decideSubnet(bridge ?? null);
    const { bridge: link } = this;
    const isAsRecorded =
      bridge?.subnet === wanted.subnet &&
      bridge.gateway === wanted.gateway &&
      bridge.bridge === link &&
      bridge.mtu === this.#mtu;
    if (isAsRecorded) return;
    this.#records.transact(() => {
      const id = bridge?.id ?? newId();
      const createdAt = bridge?.createdAt ?? new Date();
      const own = { id, name: "bridge", driver: "bridge", createdAt } as const;
      this.#records.saveNetwork({ ...own, bridge: link, mtu: this.#mtu, custom: null, ...wanted });
      for (const [name, driver] of [
        ["host", "host"],
        ["none", "null"],
      ] as const) {
        if (recorded.some((network) => network.name === name)) continue;
        const nothing = {
          bridge: null,
          subnet: null,
          gateway: null,
          mtu: DEFAULT_MTU,
          custom: null,
        };
        this.#records.saveNetwork({ id: newId(), name, driver, createdAt: new Date(), ...nothing });
      }
    });
  }

  /** After the firewall's table is there. */
  ensure(): void {
    const { gateway, subnet, mtu } = this.network();
    const { prefixLength } = parseCidr(subnet ?? "").subnet;
    const addresses = [{ address: gateway ?? "", prefixLength }];
    ensureBridge(this.#netlink, { bridge: this.bridge, addresses, mtu });
    routeLocalhost(this.bridge);
  }

  #decideSubnet(recorded: Network | null): { subnet: string; gateway: string } {
    const wanted = this.#wantedSubnet(recorded);
    const changes =
      recorded && (recorded.subnet !== wanted.subnet || recorded.gateway !== wanted.gateway);
    if (changes && this.#records.isUsed(recorded.id)) {
      throw conflict(
        `the bridge's address cannot change from ${recorded.gateway} to ${wanted.gateway} while containers use it`,
      );
    }
    return wanted;
  }

  #wantedSubnet(recorded: Network | null): { subnet: string; gateway: string } {
    if (this.#bip !== null) return gatewayOf(this.#bip);
    if (recorded?.subnet && recorded.gateway) {
      return { subnet: recorded.subnet, gateway: recorded.gateway };
    }
    // A bridge that lost its records keeps its address: containers of old may still use it.
    const present = this.#netlink.listAddresses().find(({ link }) => link === this.bridge);
    if (present) return gatewayOf(`${present.address}/${present.prefixLength}`);
    const chosen = chooseSubnet(usedSubnets(this.#netlink, this.bridge), this.#pools);
    return { subnet: formatSubnet(chosen), gateway: formatIpv4(chosen.base + 1) };
  }
}

/** @throws EngineError "invalid" for an address that cannot be a gateway */
function gatewayOf(cidr: string): { subnet: string; gateway: string } {
  const { address, subnet } = parseCidr(cidr);
  const isHost = contains(subnet, address) && address !== subnet.base && address !== lastOf(subnet);
  if (!isHost || subnet.prefixLength > LONGEST_PREFIX) {
    throw invalid(`invalid bridge address: ${cidr}`);
  }
  return { subnet: formatSubnet(subnet), gateway: formatIpv4(address) };
}
