/**
 * The table of guarded bridge ports, as text. It is of the bridge family: frames between two ports of one bridge pass
 * no other. Hash sets of port and address: what one frame costs does not depend on how many ports there are.
 */
import type { GuardedPort } from "./guards.ts";

const PORTS = "guarded";
/** Ports that reach the host alone, and each with the host's hardware address there. */
const APART = "apart";
const HOSTS = "hosts";
/** What frames pass; never without a rule while something is guarded. */
export const GUARD_CHAINS = ["arriving", "passing"] as const;
const IS_UNICAST = "ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00";
const MACS = "hardware";
const ADDRESSES = "addresses";
const ADDRESSES6 = "addresses6";

/** Commands that put the whole table in place of what was there; none of it where nothing is guarded. */
export function replaceGuards(table: string, ports: readonly GuardedPort[]): string[] {
  const start = [`add table bridge ${table}`, `delete table bridge ${table}`];
  if (ports.length === 0) return start;
  return [...start, ...createGuards(table), ...addGuards(table, ports)];
}

/** Commands that add the table where it is not there yet, without a change where it is. */
function createGuards(table: string): string[] {
  const rules = [
    // By hardware address: a published port of a neighbour is the host's still, whether br_netfilter translates the
    // frame here, between bridge ports, or the host does it later.
    `iifname @${APART} ${IS_UNICAST} iifname . ether daddr != @${HOSTS} drop`,
    `iifname != @${PORTS} accept`,
    `iifname . ether saddr != @${MACS} drop`,
    `ether type arp arp saddr ether . iifname != @${MACS}_in_arp drop`,
    `ether type arp iifname . arp saddr ip @${ADDRESSES} accept`,
    // A probe whether an address is free says 0.0.0.0.
    "ether type arp arp saddr ip 0.0.0.0 accept",
    `ether type ip iifname . ip saddr @${ADDRESSES} accept`,
    `ether type ip6 iifname . ip6 saddr @${ADDRESSES6} accept`,
    // Neighbours are found by addresses of the link, and asked for before one has any.
    "ether type ip6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } ip6 saddr { ::, fe80::/10 } accept",
    "drop",
  ];
  // What is for everybody goes to the host, and to nobody else.
  const passing = `iifname @${APART} oifname @${APART} ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 drop`;
  return [
    `add table bridge ${table}`,
    `add set bridge ${table} ${PORTS} { type ifname; }`,
    `add set bridge ${table} ${APART} { type ifname; }`,
    `add set bridge ${table} ${HOSTS} { type ifname . ether_addr; }`,
    `add set bridge ${table} ${MACS} { type ifname . ether_addr; }`,
    `add set bridge ${table} ${MACS}_in_arp { type ether_addr . ifname; }`,
    `add set bridge ${table} ${ADDRESSES} { type ifname . ipv4_addr; }`,
    `add set bridge ${table} ${ADDRESSES6} { type ifname . ipv6_addr; }`,
    `add chain bridge ${table} arriving { type filter hook prerouting priority -300; }`,
    `flush chain bridge ${table} arriving`,
    ...rules.map((rule) => `add rule bridge ${table} arriving ${rule}`),
    `add chain bridge ${table} passing { type filter hook forward priority 0; }`,
    `flush chain bridge ${table} passing`,
    `add rule bridge ${table} passing ${passing}`,
  ];
}

/** Commands that guard ports. */
export const addGuards = (table: string, ports: readonly GuardedPort[]): string[] => [
  ...createGuards(table),
  ...elementsOf(ports).map(([set, element]) => `add element bridge ${table} ${set} { ${element} }`),
];

/** Commands that guard them no longer, whether or not they were. */
export const removeGuards = (table: string, ports: readonly GuardedPort[]): string[] => [
  ...addGuards(table, ports),
  ...elementsOf(ports).map(
    ([set, element]) => `delete element bridge ${table} ${set} { ${element} }`,
  ),
];

function elementsOf(ports: readonly GuardedPort[]): [set: string, element: string][] {
  return ports.flatMap(({ link, own, host }): [string, string][] => {
    const name = `"${link}"`;
    const elements: [string, string][] = [];
    if (host !== null) elements.push([APART, name], [HOSTS, `${name} . ${host}`]);
    if (own === null) return elements;
    const { macAddress, addresses } = own;
    return [
      ...elements,
      [PORTS, name],
      [MACS, `${name} . ${macAddress}`],
      [`${MACS}_in_arp`, `${macAddress} . ${name}`],
      ...addresses.map((address): [string, string] => [
        address.includes(":") ? ADDRESSES6 : ADDRESSES,
        `${name} . ${address}`,
      ]),
    ];
  });
}
