/** Which subnets networks get that did not ask for one: the first of the pools that nothing on the host uses. */
import { invalid, unavailable } from "#base";
import type { Netlink } from "#linux/netlink";

import { overlaps, parseCidr, parseIpv4, sizeOf, type Subnet, subnetOf } from "./ip.ts";
import { overlaps6, parseCidr6, parseIpv6, subnet6Of, type Subnet6 } from "./ipv6.ts";

/** One stretch of addresses that is cut into subnets of one size. */
export type DefaultPool =
  | { readonly family: "ipv4"; readonly base: Subnet; readonly prefixLength: number }
  | { readonly family: "ipv6"; readonly base: Subnet6; readonly prefixLength: number };

/** How many subnets of one IPv6 pool are looked at. */
const LOOKED_AT = 65_536;

/** `base=10.10.0.0/16,size=24`. @throws EngineError "invalid" */
export function parseDefaultPool(text: string): DefaultPool {
  const fields = new Map(text.split(",").map((field) => splitField(field.trim())));
  const base = fields.get("base") ?? "";
  const size = /^\d{1,3}$/.test(fields.get("size") ?? "") ? Number(fields.get("size")) : -1;
  const bad = (why: string) =>
    invalid(`invalid default-address-pool ${JSON.stringify(text)}: ${why}`);
  if (base.includes(":")) {
    const { address, subnet } = parseCidr6(base);
    if (address !== subnet.base) throw bad("the base is not in canonical form");
    if (size < subnet.prefixLength || size > 126) throw bad(`invalid size ${size}`);
    return { family: "ipv6", base: subnet, prefixLength: size };
  }
  const { address, subnet } = parseCidr(base);
  if (address !== subnet.base) throw bad("the base is not in canonical form");
  if (size < subnet.prefixLength || size > 30) throw bad(`invalid size ${size}`);
  return { family: "ipv4", base: subnet, prefixLength: size };
}

function splitField(field: string): [string, string] {
  const at = field.indexOf("=");
  return at < 0 ? [field, ""] : [field.slice(0, at).toLowerCase(), field.slice(at + 1)];
}

/** Docker's own: 172.17.0.0/16 … 172.31.0.0/16, then 192.168.0.0/20 … 192.168.240.0/20. */
export const DOCKER_POOLS: readonly DefaultPool[] = [
  ...Array.from({ length: 15 }, (_, index) => ipv4Pool(`172.${17 + index}.0.0`, 16, 16)),
  ipv4Pool("192.168.0.0", 16, 20),
];

function ipv4Pool(base: string, prefix: number, prefixLength: number): DefaultPool {
  return { family: "ipv4", base: ipv4Subnet(base, prefix), prefixLength };
}

/** Everything the host has addresses in or routes to, our own bridge left out. */
export function usedSubnets(netlink: Netlink, ownBridge: string): Subnet[] {
  const used: Subnet[] = [];
  for (const { link, address, prefixLength } of netlink.listAddresses()) {
    if (link !== ownBridge) used.push(ipv4Subnet(address, prefixLength));
  }
  for (const { link, destination } of netlink.listRoutes()) {
    if (link === ownBridge || destination === null) continue;
    used.push(ipv4Subnet(destination.address, destination.prefixLength));
  }
  // A route such as 0.0.0.0/1 of a VPN means "everything", not "mine".
  return used.filter(({ prefixLength }) => prefixLength >= 8);
}

/** The same of IPv6, without link-local and multicast. */
export function usedSubnets6(netlink: Netlink, ownBridge = ""): Subnet6[] {
  const used: Subnet6[] = [];
  const add = (address: string, prefixLength: number) => {
    const value = parseIpv6(address);
    if (value === null || prefixLength < 8 || /^f[ef]/.test(address)) return;
    used.push(subnet6Of(value, prefixLength));
  };
  for (const { link, address, prefixLength } of netlink.listAddresses("ipv6")) {
    if (link !== ownBridge) add(address, prefixLength);
  }
  for (const { link, destination } of netlink.listRoutes("ipv6")) {
    // Local routes of the loopback link to addresses of other links are theirs.
    if (link === ownBridge || destination === null) continue;
    add(destination.address, destination.prefixLength);
  }
  return used;
}

/** @throws EngineError "unavailable" when all pools are in use */
export function chooseSubnet(
  used: readonly Subnet[],
  pools: readonly DefaultPool[] = DOCKER_POOLS,
): Subnet {
  for (const { family, base, prefixLength } of pools) {
    if (family !== "ipv4") continue;
    const step = sizeOf(prefixLength);
    const end = base.base + sizeOf(base.prefixLength);
    let address = base.base;
    while (address < end) {
      const candidate = { base: address, prefixLength };
      const taken = used.find((subnet) => overlaps(subnet, candidate));
      if (!taken) return candidate;
      // A large neighbour is stepped over at once.
      const after = taken.base + sizeOf(taken.prefixLength);
      address = Math.max(address + step, after + ((step - (after % step)) % step));
    }
  }
  throw unavailable("all predefined address pools have been fully subnetted");
}

/** @throws EngineError "unavailable" */
export function chooseSubnet6(used: readonly Subnet6[], pools: readonly DefaultPool[]): Subnet6 {
  for (const { family, base, prefixLength } of pools) {
    if (family !== "ipv6") continue;
    const step = 1n << BigInt(128 - prefixLength);
    const end = base.base + (1n << BigInt(128 - base.prefixLength));
    for (let turn = 0; turn < LOOKED_AT; turn += 1) {
      const candidate = { base: base.base + step * BigInt(turn), prefixLength };
      if (candidate.base >= end) break;
      if (!used.some((subnet) => overlaps6(subnet, candidate))) return candidate;
    }
  }
  throw unavailable("all predefined address pools have been fully subnetted");
}

/** A /48 of our own for networks that want IPv6 and name no subnet (RFC 4193): made once for a host. */
export function newUniqueLocalPool(): DefaultPool {
  const bytes = new Uint8Array(16);
  bytes.set([0xfd, ...crypto.getRandomValues(new Uint8Array(5))]);
  const base = subnet6Of(BigInt(`0x${bytes.toHex()}`), 48);
  return { family: "ipv6", base, prefixLength: 64 };
}

function ipv4Subnet(address: string, prefixLength: number): Subnet {
  return subnetOf(parseIpv4(address) ?? 0, prefixLength);
}
