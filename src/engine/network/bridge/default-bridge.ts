/** The three networks that always are, and the subnet and link of the default one. */
import { conflict, invalid, newId } from "#base";

import { formatIpv4, formatSubnet } from "../addresses/ip.ts";
import { chooseSubnet, usedSubnets } from "../addresses/pools.ts";
import type { Network } from "../network-service.ts";
import { LINK_NAME } from "../options.ts";
import { poolOf } from "../parts.ts";
import { isOverlapped, subnetChooser, type SubnetSources } from "../subnet-choice.ts";
import {
  bridgeAddressOf,
  type DefaultBridgeOptions,
  designDefaultBridge,
  type Wanted,
} from "./default-design.ts";
import { ensureNetworkBridge } from "./user-links.ts";

const DEFAULT_BRIDGE = "naru0";
const DEFAULT_MTU = 1500;
/** IPv4 works with less, but nothing else does. */
const SMALLEST_MTU = 68;
const LARGEST_MTU = 65_535;
export class DefaultBridge {
  readonly bridge: string;
  readonly #parts: SubnetSources;
  readonly #options: DefaultBridgeOptions;
  readonly #mtu: number;
  readonly #localhost: boolean;
  #isChosenNow = false;

  constructor(
    request: SubnetSources & {
      readonly options: DefaultBridgeOptions;
      readonly localhost: boolean;
    },
  ) {
    const { bridge = DEFAULT_BRIDGE, mtu = DEFAULT_MTU } = request.options;
    if (!LINK_NAME.test(bridge)) throw invalid(`invalid bridge name: ${bridge}`);
    if (!(mtu >= SMALLEST_MTU && mtu <= LARGEST_MTU)) throw invalid(`invalid MTU: ${mtu}`);
    this.bridge = bridge;
    this.#parts = request;
    this.#options = request.options;
    this.#mtu = mtu;
    this.#localhost = request.localhost;
  }

  /** null where the operator wants none; and before `decide`. */
  network(): Network | null {
    return this.#parts.records.networks().find(({ name }) => name === "bridge") ?? null;
  }

  /** Records networks and subnet where they are not yet. */
  decide(): void {
    if (this.#options.withoutBridge === true) return this.#decideWithout();
    const recorded = this.#parts.records.networks();
    const bridge = recorded.find(({ name }) => name === "bridge");
    const wanted = this.#design(bridge ?? null);
    const { bridge: link } = this;
    const isAsRecorded =
      bridge?.subnet === wanted.subnet &&
      bridge.gateway === wanted.gateway &&
      bridge.bridge === link &&
      bridge.mtu === this.#mtu &&
      Bun.deepEquals(bridge.predefined, wanted.predefined);
    if (isAsRecorded) return;
    this.#parts.records.transact(() => {
      const id = bridge?.id ?? newId();
      const createdAt = bridge?.createdAt ?? new Date();
      const own = { id, name: "bridge", driver: "bridge", createdAt } as const;
      this.#parts.records.saveNetwork({
        ...own,
        bridge: link,
        mtu: this.#mtu,
        custom: null,
        ...wanted,
      });
      this.#saveLinkless();
    });
  }

  /** @throws EngineError "conflict" while containers are in it */
  #decideWithout(): void {
    const { records, netlink } = this.#parts;
    const before = this.network();
    if (before !== null && records.endpointsIn(before.id).length > 0) {
      throw conflict("the default bridge cannot be taken away while containers use it");
    }
    records.transact(() => {
      if (before !== null) records.deleteNetwork(before.id);
      this.#saveLinkless();
    });
    // One of another name may have been there before the engine.
    if (before?.bridge?.startsWith("naru") === true) netlink.deleteLink(before.bridge);
  }

  #saveLinkless(): void {
    const { records } = this.#parts;
    const names = new Set(records.networks().map(({ name }) => name));
    const nothing = { bridge: null, subnet: null, gateway: null, mtu: DEFAULT_MTU, custom: null };
    for (const [name, driver] of [
      ["host", "host"],
      ["none", "null"],
    ] as const) {
      if (names.has(name)) continue;
      records.saveNetwork({ id: newId(), name, driver, createdAt: new Date(), ...nothing });
    }
  }

  /**
   * After the firewall's table is there.
   * @returns whether the bridge moved to another subnet, for another program took the chosen one at the same instant
   */
  ensure(): boolean {
    const network = this.#ensureLink();
    const { netlink, records } = this.#parts;
    const pools = network?.predefined?.pools ?? [];
    if (!this.#isChosenNow || network === null || !isOverlapped(netlink, network, pools)) {
      return false;
    }
    netlink.deleteLink(this.bridge);
    records.transact(() => records.deleteNetwork(network.id));
    this.decide();
    this.#ensureLink();
    return true;
  }

  #ensureLink(): Network | null {
    const network = this.network();
    if (network !== null) ensureNetworkBridge(this.#parts.netlink, network, this.#localhost);
    return network;
  }

  #design(recorded: Network | null): Wanted {
    const wanted = designDefaultBridge(this.#options, recorded, {
      choose4: () => this.#choose4(),
      choose6: () => subnetChooser(this.#parts).choose6(),
    });
    if (recorded === null) return wanted;
    const { gateway, subnet, predefined } = wanted;
    const changes = recorded.subnet !== subnet || recorded.gateway !== gateway;
    if (changes && this.#parts.records.isUsed(recorded.id)) {
      throw conflict(
        `the bridge's address cannot change from ${recorded.gateway} to ${gateway} while containers use it`,
      );
    }
    const [before, after] = [
      poolOf(recorded, "ipv6"),
      poolOf({ custom: null, predefined }, "ipv6"),
    ];
    if (before !== null && before.subnet !== after?.subnet && this.#isUsed6(recorded.id)) {
      throw conflict(
        `the bridge's IPv6 subnet cannot change from ${before.subnet} to ${after?.subnet ?? "none"} while containers use it`,
      );
    }
    return wanted;
  }

  #isUsed6(networkId: string): boolean {
    return this.#parts.records.endpointsIn(networkId).some(({ link }) => link.ipv6 !== undefined);
  }

  #choose4(): { subnet: string; gateway: string } {
    const { netlink, pools } = this.#parts;
    // A bridge that lost its records keeps its address: containers of old may still use it.
    const present = netlink.listAddresses().find(({ link }) => link === this.bridge);
    if (present) return bridgeAddressOf(`${present.address}/${present.prefixLength}`);
    this.#isChosenNow = true;
    const chosen = chooseSubnet(usedSubnets(netlink, this.bridge), pools);
    return { subnet: formatSubnet(chosen), gateway: formatIpv4(chosen.base + 1) };
  }
}
