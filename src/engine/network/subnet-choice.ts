/** Subnets for networks that asked for none: of the pools, what neither the host nor a network of ours uses. */
import { assert } from "#base";
import type { Netlink } from "#linux/netlink";

import { formatSubnet, overlaps, parseCidr, type Subnet } from "./addresses/ip.ts";
import { formatSubnet6, overlaps6, parseCidr6, type Subnet6 } from "./addresses/ipv6.ts";
import {
  chooseSubnet,
  chooseSubnet6,
  type DefaultPool,
  newUniqueLocalPool,
  usedSubnets,
  usedSubnets6,
} from "./addresses/pools.ts";
import { subnetsOf } from "./design.ts";
import type { AddressPool, Network } from "./network-service.ts";
import type { SubnetChooser } from "./pool-design.ts";
import type { NetworkRecords } from "./records.ts";

const UNIQUE_LOCAL = "unique-local";

export interface SubnetSources {
  readonly records: NetworkRecords;
  readonly netlink: Netlink;
  readonly pools: readonly DefaultPool[];
}

export function subnetChooser(sources: SubnetSources): SubnetChooser {
  const { records, netlink, pools } = sources;
  const choose4 = (): string => {
    const used: Subnet[] = usedSubnets(netlink, "");
    for (const network of records.networks()) {
      for (const subnet of subnetsOf(network, "ipv4")) used.push(parseCidr(subnet).subnet);
    }
    return formatSubnet(chooseSubnet(used, pools));
  };
  const choose6 = (): string => {
    const used: Subnet6[] = usedSubnets6(netlink);
    for (const network of records.networks()) {
      for (const subnet of subnetsOf(network, "ipv6")) used.push(parseCidr6(subnet).subnet);
    }
    const own = pools.filter(({ family }) => family === "ipv6");
    return formatSubnet6(chooseSubnet6(used, own.length > 0 ? own : [uniqueLocal(records)]));
  };
  return { choose4, choose6 };
}

/** Whether anything on the host but the network's own link has addresses in these pools, or routes to them. */
export function isOverlapped(
  netlink: Netlink,
  { bridge }: Network,
  pools: readonly AddressPool[],
): boolean {
  return pools.some(({ family, subnet }) =>
    family === "ipv4"
      ? usedSubnets(netlink, bridge ?? "").some((used) => overlaps(used, parseCidr(subnet).subnet))
      : usedSubnets6(netlink, bridge ?? "").some((used) =>
          overlaps6(used, parseCidr6(subnet).subnet),
        ),
  );
}

/** Chosen once, at random, as RFC 4193 wants it. */
function uniqueLocal(records: NetworkRecords): DefaultPool {
  const recorded = records.hostFact(UNIQUE_LOCAL);
  if (recorded !== null) {
    return { family: "ipv6", base: parseCidr6(recorded).subnet, prefixLength: 64 };
  }
  const pool = newUniqueLocalPool();
  assert(pool.family === "ipv6", "a unique local pool is of IPv6");
  records.transact(() => records.setHostFact(UNIQUE_LOCAL, formatSubnet6(pool.base)));
  return pool;
}
