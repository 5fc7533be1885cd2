/** The host's side of a bridge network: the link, its address, and the kernel's settings for it. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";

import { conflict } from "#base";
import type { Netlink } from "#linux/netlink";

import { macOf, randomMac } from "../addresses/allocation.ts";
import { parseIpv4 } from "../addresses/ip.ts";
import type { Endpoint } from "../network-service.ts";

export interface BridgeFacts {
  readonly bridge: string;
  /** IPv4. */
  readonly addresses: readonly { readonly address: string; readonly prefixLength: number }[];
  /** Someone else's bridge: its other addresses stay. */
  readonly keepAddresses?: boolean;
  readonly ipv6?: boolean;
  readonly mtu: number;
}

/** Makes the bridge, or makes the one that is there what it should be. */
export function ensureBridge(netlink: Netlink, facts: BridgeFacts): void {
  const { bridge, addresses, mtu, keepAddresses = false, ipv6 = false } = facts;
  const present = netlink.getLink(bridge);
  if (present && present.kind !== "bridge") {
    throw conflict(`the link ${bridge} is there already and is no bridge`);
  }
  if (!present) {
    // An address of its own: else the bridge takes the lowest of its ports', and changes with them.
    const ipv4 = parseIpv4(addresses[0]?.address ?? "");
    const macAddress = ipv4 === null ? randomMac() : macOf(ipv4);
    netlink.addLink({ kind: "bridge", name: bridge, macAddress, mtu });
  } else if (present.mtu !== mtu && !keepAddresses) {
    netlink.setLink(bridge, { mtu });
  }
  // Where containers have no IPv6, they would reach the host by the bridge's link-local address.
  if (!keepAddresses && !ipv6) writeSetting(`ipv6/conf/${bridge}/disable_ipv6`, "1");
  ensureAddresses(netlink, { link: bridge, addresses, keepAddresses });
  if (!present?.up) netlink.setLink(bridge, { up: true });
}

/** Turns IPv6 on for a link, and gives it its address; null: a link-local one is enough. */
export function ensureIpv6(
  netlink: Netlink,
  wanted: { link: string; address: string | null; prefixLength: number; keepAddresses?: boolean },
): void {
  const { link, address, prefixLength, keepAddresses = false } = wanted;
  // A container that sends advertisements must not change the host's routes (CVE-2020-13401).
  writeSetting(`ipv6/conf/${link}/accept_ra`, "0");
  writeSetting(`ipv6/conf/${link}/disable_ipv6`, "0");
  if (address === null) return;
  let isPresent = false;
  for (const present of netlink.listAddresses("ipv6")) {
    if (present.link !== link) continue;
    if (present.address === address) isPresent = true;
    // The kernel's own link-local one stays.
    else if (!keepAddresses && !present.address.startsWith("fe80:")) netlink.deleteAddress(present);
  }
  if (!isPresent) netlink.addAddress({ link, address, prefixLength });
}

/** A bridge that was deleted and made again has lost its ports: running containers get back in. */
export function ensurePorts(netlink: Netlink, endpoints: readonly Endpoint[]): void {
  const links = new Map(netlink.listLinks().map((link) => [link.name, link]));
  for (const { link } of endpoints) {
    const port = links.get(link.hostLink);
    if (!port || port.master !== null) continue;
    netlink.setLink(link.hostLink, { master: link.bridge, up: true });
    netlink.setLink(link.hostLink, { hairpin: true, isolated: link.isolated === true });
    // Else what is sent at once is lost: a bridge without a carrier drops it.
    netlink.settleLink(link.hostLink);
    netlink.settleLink(link.bridge);
  }
}

/** Lets 127.0.0.1 of the host reach published ports, or not. Only when the firewall guards it (table.ts, raw). */
export const routeLocalhost = (bridge: string, on: boolean): void =>
  writeSetting(`ipv4/conf/${bridge}/route_localnet`, on ? "1" : "0");

/** Kernel's forwarding of IPv4 between links, for the whole host. */
export const isForwarding = (): boolean => readSetting("ipv4/ip_forward") === "1";

export const startForwarding = (): void => writeSetting("ipv4/ip_forward", "1");

export const isForwarding6 = (): boolean =>
  !existsSync(pathOf("ipv6/conf/all/forwarding")) ||
  readSetting("ipv6/conf/all/forwarding") !== "0";

/**
 * The same of IPv6. A link that listens to routers stops it when it forwards, unless it is told to go on: the host
 * would lose its own address and route.
 */
export function startForwarding6(): void {
  for (const link of readdirSync(pathOf("ipv6/conf"))) {
    if (link === "all" || readSetting(`ipv6/conf/${link}/accept_ra`) !== "1") continue;
    writeSetting(`ipv6/conf/${link}/accept_ra`, "2");
  }
  writeSetting("ipv6/conf/all/forwarding", "1");
}

/** Changes with every boot. */
export const readBootId = (): string =>
  readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

function ensureAddresses(
  netlink: Netlink,
  {
    link,
    addresses,
    keepAddresses,
  }: { link: string; keepAddresses: boolean } & Pick<BridgeFacts, "addresses">,
): void {
  const missing = new Map(addresses.map((wanted) => [wanted.address, wanted]));
  for (const present of netlink.listAddresses()) {
    if (present.link !== link) continue;
    const isWanted = missing.get(present.address)?.prefixLength === present.prefixLength;
    if (isWanted) missing.delete(present.address);
    else if (!keepAddresses) netlink.deleteAddress(present);
  }
  for (const wanted of missing.values()) netlink.addAddress({ link, ...wanted });
}

const pathOf = (name: string): string => `/proc/sys/net/${name}`;

const readSetting = (name: string): string => readFileSync(pathOf(name), "utf8").trim();

function writeSetting(name: string, value: string): void {
  const path = pathOf(name);
  if (name.startsWith("ipv6/") && !existsSync(path)) return; // A kernel without IPv6.
  // Where /proc/sys is read-only, what is right already must not fail.
  if (readSetting(name) !== value) writeFileSync(path, value);
}
