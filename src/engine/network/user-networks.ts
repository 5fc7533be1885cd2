/**
 * Networks of users: recorded, then made; unmade, then forgotten. A crash in between leaves a record without its link,
 * which `ensure` makes, or a link that no record knows, which `removeStrangers` takes away.
 */
import { assert, conflict, forbidden, sentenceOf, shortId, unavailable } from "#base";
import type { Netlink } from "#linux/netlink";

import type { DefaultPool } from "./addresses/pools.ts";
import { lockSubnets } from "./addresses/subnet-lock.ts";
import type { Forwarding } from "./bridge/forwarding.ts";
import {
  ensureUserLink,
  linkPrefixOfEngine,
  removeUserLink,
  userLinkName,
} from "./bridge/user-links.ts";
import { checkUnused, isConfiguration } from "./configuration.ts";
import { designNetwork } from "./design.ts";
import type { Firewall } from "./firewall/firewall.ts";
import type { BridgeRules } from "./firewall/table.ts";
import type { Network, NetworkRequest } from "./network-service.ts";
import { bridgeOptions } from "./options.ts";
import { optionsOf, poolOf } from "./parts.ts";
import type { NetworkRecords } from "./records.ts";
import { isOverlapped, subnetChooser } from "./subnet-choice.ts";

/** How often a chosen subnet may turn out to be someone else's. */
const CLAIMS_LIMIT = 16;
/** Between Docker's look at the host and the address on its bridge are a few milliseconds. */
const FOREIGN_CLAIM_MS = 30;

export interface UserNetworksRequest {
  readonly records: NetworkRecords;
  readonly netlink: Netlink;
  readonly firewall: Firewall;
  readonly forwarding: Forwarding;
  /** The default bridge's name: ours begin with it. */
  readonly bridge: string;
  readonly pools: readonly DefaultPool[];
  readonly warn: (message: string) => void;
  /** Whether the host's 127.0.0.1 may lead into bridges. */
  readonly localhost: boolean;
}

export class UserNetworks {
  readonly #parts: UserNetworksRequest;
  readonly #prefix: string;

  constructor(request: UserNetworksRequest) {
    this.#parts = request;
    this.#prefix = linkPrefixOfEngine(request.bridge);
  }

  #linking() {
    return { prefix: this.#prefix, localhost: this.#parts.localhost };
  }

  /**
   * A subnet that was chosen is claimed by the link's address, and looked at again: another program that chose it at
   * the same instant keeps it. Engines of ours wait for each other.
   */
  async create(request: NetworkRequest): Promise<Network> {
    using _ = await lockSubnets();
    for (let claims = 1; ; claims += 1) {
      const network = this.#make(request);
      if (!(await this.#isContested(network))) return network;
      this.#unmake(network);
      if (claims === CLAIMS_LIMIT) {
        throw unavailable(
          "another program takes every subnet that is chosen: name one with --subnet",
        );
      }
    }
  }

  /** Whether a chosen subnet is someone else's too. Docker does not look again: it is given the time to show its claim. */
  async #isContested(network: Network): Promise<boolean> {
    const chosen = network.custom?.pools.filter((pool) => pool.chosen === "subnet") ?? [];
    if (chosen.length === 0) return false;
    const { netlink, records } = this.#parts;
    if (isOverlapped(netlink, network, chosen)) return true;
    const known = new Set(records.networks().map(({ bridge }) => bridge));
    const isAlone = !netlink
      .listLinks()
      .some(({ kind, name }) => kind === "bridge" && !known.has(name) && !name.startsWith("naru"));
    if (isAlone) return false;
    await Bun.sleep(FOREIGN_CLAIM_MS);
    // Whoever has joined it meanwhile keeps it.
    return !records.isUsed(network.id) && isOverlapped(netlink, network, chosen);
  }

  #make(request: NetworkRequest): Network {
    const { records, netlink, firewall } = this.#parts;
    const networks = records.networks();
    const designed = designNetwork(request, {
      networks,
      chooser: subnetChooser(this.#parts),
      linkNameOf: (id) => userLinkName(this.#prefix, id),
    });
    if (isConfiguration(designed)) {
      records.transact(() => records.saveNetwork(designed));
      return designed;
    }
    const network = this.#withForeign(designed);
    records.transact(() => records.saveNetwork(network));
    try {
      this.#forward(network);
      const rules = rulesOf(network);
      // The rules first: a bridge must never be without them.
      if (rules) firewall.addBridge(rules);
      ensureUserLink(netlink, network, this.#linking());
    } catch (thrown) {
      this.#unmake(network);
      throw thrown;
    }
    return network;
  }

  /** @throws EngineError "forbidden" for a predefined one, and while containers are in it */
  remove(network: Network, nameOf: (containerId: string) => string): void {
    const { records } = this.#parts;
    if (network.custom === null) {
      throw forbidden(`${network.name} is a pre-defined network and cannot be removed`);
    }
    checkUnused(network, records.networks());
    const endpoints = records.endpointsIn(network.id);
    if (endpoints.length > 0) {
      const list = endpoints.map(
        ({ id, containerId }) => `name:"${nameOf(containerId)}" id:"${shortId(id)}"`,
      );
      throw forbidden(
        `error while removing network: network ${network.name} has active endpoints (${list.join(", ")})`,
      );
    }
    this.#unmake(network);
  }

  /** Every recorded network's link, after a start of the daemon or of the machine. */
  ensure(): void {
    const { records, netlink, warn } = this.#parts;
    for (const network of records.networks()) {
      if (network.custom === null || isConfiguration(network)) continue;
      try {
        this.#forward(network);
        ensureUserLink(netlink, network, this.#linking());
      } catch (thrown) {
        // One that lost its parent link must not keep the others from working.
        warn(`the network ${network.name} cannot be used: ${sentenceOf(thrown)}`);
      }
    }
  }

  /** Links of ours that no record knows. */
  removeStrangers(): void {
    const { records, netlink } = this.#parts;
    const known = new Set(records.networks().map(({ bridge }) => bridge));
    const strangers = netlink
      .listLinks()
      .filter(({ name, kind }) => name.startsWith(this.#prefix) && !known.has(name) && kind)
      .map(({ name }) => name);
    if (strangers.length > 0) netlink.deleteLinks(strangers);
  }

  /** What the firewall knows of every bridge network. */
  rules(): BridgeRules[] {
    return this.#parts.records.networks().flatMap((network) => rulesOf(network) ?? []);
  }

  /** Takes all links of ours off the host. */
  removeLinks(): void {
    for (const network of this.#parts.records.networks()) {
      if (network.custom !== null) removeUserLink(this.#parts.netlink, network);
    }
  }

  #unmake(network: Network): void {
    const { records, netlink, firewall } = this.#parts;
    const isShared = records
      .networks()
      .some(({ id, bridge }) => id !== network.id && bridge === network.bridge);
    // Sysctls and addresses go with the link; the rules stay until it is gone.
    if (!isShared) removeUserLink(netlink, network);
    records.transact(() => records.deleteNetwork(network.id));
    const rules = rulesOf(network);
    if (rules) firewall.removeBridge(rules);
  }

  /** A link that is there already is not ours to remove. */
  #withForeign(network: Network): Network {
    const { custom, bridge } = network;
    assert(custom !== null && bridge !== null, "a designed network is a user's");
    const isShared = this.#parts.records
      .networks()
      .some((other) => other.bridge === bridge && other.custom?.foreignLink === false);
    const present = this.#parts.netlink.getLink(bridge);
    // Before anything is recorded or ruled: this may be the host's own way to the world.
    if (network.driver === "bridge" && present && present.kind !== "bridge") {
      throw conflict(`the link ${bridge} is there already and is no bridge`);
    }
    const foreignLink = !isShared && present !== null;
    return { ...network, custom: { ...custom, foreignLink } };
  }

  #forward({ driver, custom }: Network): void {
    if (driver !== "bridge" || custom?.ipv6 !== true || custom.internal) return;
    const { forwarding, firewall } = this.#parts;
    if (forwarding.decide("ipv6")) firewall.ensure();
    forwarding.start("ipv6");
  }
}

/** null for a network that is no bridge. */
export function rulesOf(network: Network): BridgeRules | null {
  const { bridge, subnet, custom, driver } = network;
  if (driver !== "bridge" || bridge === null) return null;
  const options = bridgeOptions(optionsOf(network));
  const pool6 = poolOf(network, "ipv6");
  return {
    bridge,
    internal: custom?.internal ?? false,
    icc: options.icc,
    trusted: options.trustedLinks,
    ipv4:
      subnet === null
        ? null
        : {
            subnet,
            mode: options.gatewayMode4,
            masquerade: options.masquerade,
            source: options.hostIpv4,
          },
    ipv6: pool6
      ? {
          subnet: pool6.subnet,
          mode: options.gatewayMode6,
          masquerade: options.masquerade,
          source: options.hostIpv6,
        }
      : null,
  };
}
