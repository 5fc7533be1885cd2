/** `--subnet`, `--ip-range`, `--gateway` and `--aux-address` of `network create`: each finds the subnet it belongs to. */
import { BlockList, isIPv4, isIPv6 } from "node:net";

import { invalid } from "#base";
import type { IpamPool } from "#wire/docker";

import { keyValue } from "./csv.ts";

interface Asked {
  readonly subnets: readonly string[];
  readonly ranges: readonly string[];
  readonly gateways: readonly string[];
  /** `name=address`. */
  readonly auxiliary: readonly string[];
}

/** @throws EngineError "invalid" in docker's words */
export function parsePools({ subnets, ranges, gateways, auxiliary }: Asked): IpamPool[] {
  if (subnets.length < ranges.length || subnets.length < gateways.length) {
    throw invalid("every ip-range or gateway must have a corresponding subnet");
  }
  const pools: IpamPool[] = [];
  for (const Subnet of subnets) {
    // One alone is the daemon's to read.
    const clash = pools.some(
      ({ Subnet: other = "" }) =>
        blockOf(Subnet).contains(hostOf(other)) || blockOf(other).contains(hostOf(Subnet)),
    );
    if (clash) throw invalid("multiple overlapping subnet configuration is not supported");
    pools.push({ Subnet });
  }
  for (const range of ranges) {
    const pool = poolOf(pools, hostOf(range), `no matching subnet for range ${range}`);
    if (pool.IPRange !== undefined) {
      throw invalid(
        `cannot configure multiple ranges (${range}, ${pool.IPRange}) on the same subnet (${pool.Subnet})`,
      );
    }
    pool.IPRange = range;
  }
  for (const gateway of gateways) {
    const pool = poolOf(pools, gateway, `no matching subnet for gateway ${gateway}`);
    if (pool.Gateway !== undefined) {
      throw invalid(
        `cannot configure multiple gateways (${gateway}, ${pool.Gateway}) for the same subnet (${pool.Subnet})`,
      );
    }
    pool.Gateway = gateway;
  }
  for (const text of auxiliary) {
    const [name, address = ""] = keyValue(text);
    const pool = poolOf(pools, address, `no matching subnet for aux-address ${address}`);
    pool.AuxiliaryAddresses = { ...pool.AuxiliaryAddresses, [name]: address };
  }
  return pools;
}

const hostOf = (cidr: string): string => cidr.split("/", 1)[0] ?? "";

function poolOf(pools: readonly IpamPool[], address: string, sentence: string): IpamPool {
  const pool = pools.find(({ Subnet = "" }) => blockOf(Subnet).contains(address));
  if (pool === undefined) throw invalid(sentence);
  return pool;
}

function blockOf(cidr: string, what = "subnet"): { contains: (address: string) => boolean } {
  const [host = "", prefix = ""] = cidr.split("/");
  const family = isIPv4(host) ? "ipv4" : isIPv6(host) ? "ipv6" : null;
  const bits = /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1;
  if (family === null || bits < 0 || bits > (family === "ipv4" ? 32 : 128)) {
    throw invalid(`invalid ${what}: invalid CIDR address: ${cidr}`);
  }
  const block = new BlockList();
  block.addSubnet(host, bits, family);
  const isOfFamily = family === "ipv4" ? isIPv4 : isIPv6;
  return { contains: (address) => isOfFamily(address) && block.check(address, family) };
}
