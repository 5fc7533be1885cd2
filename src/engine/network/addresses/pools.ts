/** Which subnet the default bridge gets: the first of Docker's own pools that nothing on the host uses. */
import { unavailable } from "#base";
import type { Netlink } from "#linux/netlink";

import { overlaps, parseIpv4, type Subnet, subnetOf } from "./ip.ts";

/** 172.17.0.0/16 … 172.31.0.0/16, then 192.168.0.0/20 … 192.168.240.0/20. */
export function* candidateSubnets(): Generator<Subnet> {
  for (let second = 17; second <= 31; second += 1) yield ipv4Subnet(`172.${second}.0.0`, 16);
  for (let third = 0; third < 256; third += 16) yield ipv4Subnet(`192.168.${third}.0`, 20);
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

/** @throws EngineError "unavailable" when all pools are in use */
export function chooseSubnet(used: readonly Subnet[]): Subnet {
  for (const candidate of candidateSubnets()) {
    if (!used.some((subnet) => overlaps(subnet, candidate))) return candidate;
  }
  throw unavailable("could not find an available, non-overlapping IPv4 address pool");
}

const ipv4Subnet = (address: string, prefixLength: number): Subnet =>
  subnetOf(parseIpv4(address) ?? 0, prefixLength);
