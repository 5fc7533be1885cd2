/**
 * The links of users' networks on the host: a bridge each, or the parent of macvlan and ipvlan links. Names say whose
 * they are, so that start-up finds what a crash left.
 */
import { internal, invalid } from "#base";
import { type Netlink, NetlinkError } from "#linux/netlink";

import { parseCidr } from "../addresses/ip.ts";
import { parseCidr6 } from "../addresses/ipv6.ts";
import type { Network } from "../network-service.ts";
import { bridgeOptions } from "../options.ts";
import { optionsOf, poolOf } from "../parts.ts";
import { ensureBridge, ensureIpv6, routeLocalhost } from "./bridge.ts";

const LINK_NAME_LIMIT = 15;
const SHORT_NAME = 9;

/** `naru-0123456789` for the engine whose default bridge is `naru0`; another engine's begin with its bridge. */
export function linkPrefixOfEngine(defaultBridge: string): string {
  if (defaultBridge === "naru0") return "naru-";
  if (defaultBridge.length <= SHORT_NAME) return `${defaultBridge}-`;
  const hash = new Bun.CryptoHasher("sha256").update(defaultBridge).digest("hex").slice(0, 4);
  return `${defaultBridge.slice(0, SHORT_NAME - 4)}${hash}-`;
}

export const userLinkName = (prefix: string, id: string): string =>
  `${prefix}${id}`.slice(0, LINK_NAME_LIMIT);

/** Makes a network's link, or repairs it. @returns whether it was there before */
export function ensureUserLink(
  netlink: Netlink,
  network: Network,
  { prefix, localhost }: { readonly prefix: string; readonly localhost: boolean },
): { existed: boolean } {
  const link = network.bridge ?? "";
  const existed = netlink.getLink(link) !== null;
  if (network.driver === "bridge") ensureNetworkBridge(netlink, network, localhost);
  else ensureParent(netlink, network, { existed, prefix });
  return { existed };
}

/** A bridge network's link with its addresses. @param localhost whether the host's 127.0.0.1 may lead into it */
export function ensureNetworkBridge(netlink: Netlink, network: Network, localhost: boolean): void {
  const { custom, mtu, gateway, subnet } = network;
  const bridge = network.bridge ?? "";
  const options = bridgeOptions(optionsOf(network));
  const isIsolated = options.gatewayMode4 === "isolated" || options.inhibitIpv4;
  const pool6 = poolOf(network, "ipv6");
  const ipv6 = pool6 !== null && options.gatewayMode6 !== "isolated";
  ensureBridge(netlink, {
    bridge,
    mtu,
    ipv6,
    keepAddresses: custom?.foreignLink === true,
    addresses:
      subnet === null || gateway === null || isIsolated
        ? []
        : [{ address: gateway, prefixLength: parseCidr(subnet).subnet.prefixLength }],
  });
  if (ipv6) {
    const { prefixLength } = parseCidr6(pool6.subnet).subnet;
    ensureIpv6(netlink, {
      link: bridge,
      address: pool6.gateway,
      prefixLength,
      keepAddresses: custom?.foreignLink === true,
    });
  }
  routeLocalhost(bridge, localhost);
}

const VLAN = /^(.{1,13})\.(\d{1,4})$/;

/** A parent of our own where there is none: a VLAN of another link, or a dummy that leads nowhere. */
function ensureParent(
  netlink: Netlink,
  { driver, custom, bridge }: Network,
  { existed, prefix }: { existed: boolean; prefix: string },
): void {
  const parent = bridge ?? "";
  if (existed) return;
  if (parent.startsWith(prefix)) {
    netlink.addLink({ kind: "dummy", name: parent });
    return netlink.setLink(parent, { up: true });
  }
  if (custom?.foreignLink === true) {
    throw internal(`the requested parent interface ${parent} was not found on the Docker host`);
  }
  const [, master = "", vlan = ""] = VLAN.exec(parent) ?? [];
  if (master === "") {
    throw invalid(`invalid subinterface vlan name ${parent}, example formatting is eth0.10`);
  }
  const vlanId = Number(vlan);
  if (vlanId < 1 || vlanId > 4094) {
    throw invalid(`vlan id must be between 1-4094, received: ${vlanId}`);
  }
  if (netlink.getLink(master) === null) {
    throw invalid(`-o parent interface was not found on the host: ${master}`);
  }
  try {
    netlink.addLink({ kind: "vlan", name: parent, parent: master, vlanId });
    netlink.setLink(parent, { up: true });
  } catch (cause) {
    if (!(cause instanceof NetlinkError)) throw cause;
    throw internal(`failed to create ${parent} ${driver} parent link: ${cause.message}`, { cause });
  }
}

/** Takes away what `ensureUserLink` made, never what was there before. */
export function removeUserLink(netlink: Netlink, { bridge, custom }: Network): void {
  if (bridge === null || custom?.foreignLink === true) return;
  netlink.deleteLink(bridge);
}
