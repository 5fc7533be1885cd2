/** The host's side of a bridge network: the link, its address, and the kernel's settings for it. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";

import { conflict } from "#base";
import type { Netlink } from "#linux/netlink";

import { macOf } from "../addresses/allocation.ts";
import { parseIpv4 } from "../addresses/ip.ts";
import type { Endpoint } from "../network-service.ts";

export interface BridgeFacts {
  readonly bridge: string;
  readonly gateway: string;
  readonly prefixLength: number;
  readonly mtu: number;
}

/** Makes the bridge, or makes the one that is there what it should be. */
export function ensureBridge(netlink: Netlink, facts: BridgeFacts): void {
  const { bridge, gateway, prefixLength, mtu } = facts;
  const present = netlink.getLink(bridge);
  if (present && present.kind !== "bridge") {
    throw conflict(`the link ${bridge} is there already and is no bridge`);
  }
  if (!present) {
    // An address of its own: else the bridge takes the lowest of its ports', and changes with them.
    const macAddress = macOf(parseIpv4(gateway) ?? 0);
    netlink.addLink({ kind: "bridge", name: bridge, macAddress, mtu });
  } else if (present.mtu !== mtu) {
    netlink.setLink(bridge, { mtu });
  }
  // Containers have no IPv6 here: without this they reach the host by the bridge's link-local address.
  writeSetting(`ipv6/conf/${bridge}/disable_ipv6`, "1");
  ensureAddress(netlink, { link: bridge, address: gateway, prefixLength });
  if (!present?.up) netlink.setLink(bridge, { up: true });
}

/** A bridge that was deleted and made again has lost its ports: running containers get back in. */
export function ensurePorts(netlink: Netlink, endpoints: readonly Endpoint[]): void {
  const links = new Map(netlink.listLinks().map((link) => [link.name, link]));
  for (const { link } of endpoints) {
    const port = links.get(link.hostLink);
    if (!port || port.master !== null) continue;
    netlink.setLink(link.hostLink, { master: link.bridge, up: true });
    netlink.setLink(link.hostLink, { hairpin: true });
  }
}

/** Lets 127.0.0.1 of the host reach published ports. Only when the firewall guards it (table.ts, raw). */
export const routeLocalhost = (bridge: string): void =>
  writeSetting(`ipv4/conf/${bridge}/route_localnet`, "1");

/** Kernel's forwarding of IPv4 between links, for the whole host. */
export const isForwarding = (): boolean => readSetting("ipv4/ip_forward") === "1";

export const startForwarding = (): void => writeSetting("ipv4/ip_forward", "1");

/** Changes with every boot. */
export const readBootId = (): string =>
  readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

function ensureAddress(
  netlink: Netlink,
  wanted: { link: string; address: string; prefixLength: number },
): void {
  let found = false;
  for (const address of netlink.listAddresses()) {
    if (address.link !== wanted.link) continue;
    if (address.address === wanted.address && address.prefixLength === wanted.prefixLength) {
      found = true;
    } else {
      netlink.deleteAddress(address);
    }
  }
  if (!found) netlink.addAddress(wanted);
}

const pathOf = (name: string): string => `/proc/sys/net/${name}`;

const readSetting = (name: string): string => readFileSync(pathOf(name), "utf8").trim();

function writeSetting(name: string, value: string): void {
  const path = pathOf(name);
  if (name.startsWith("ipv6/") && !existsSync(path)) return; // A kernel without IPv6.
  // Where /proc/sys is read-only, what is right already must not fail.
  if (readSetting(name) !== value) writeFileSync(path, value);
}
