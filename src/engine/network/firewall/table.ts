/**
 * Our one table, as text: a pure function of what is recorded. Two maps carry the published ports, so the
 * number of rules does not grow with the number of containers. Order and reasons:
 *
 * - raw: packets for or from 127.0.0.0/8 that did not come in by lo are dropped before anything else. The
 *   bridge has route_localnet, and DNAT of a port published on 127.0.0.1 happens before the kernel would drop
 *   them (moby #45610).
 * - nat: a given host address goes before "every address". Connections from the host itself, and those that a
 *   container makes to a port of its own bridge, get the bridge's address as source so that answers come back.
 * - forward: into the bridge go answers, neighbours, and what was published; all else is dropped, so a container
 *   cannot be reached by routing to its address (moby #41872).
 */
import type { PublishedPort } from "../records.ts";

export interface TableFacts {
  readonly table: string;
  readonly bridge: string;
  /** `172.18.0.0/16` */
  readonly subnet: string;
  readonly ports: readonly PublishedPort[];
  /**
   * Set when the host did not forward before we came: then nothing but containers is forwarded. The names are
   * the bridges there were, which are part of the host; one that comes later belongs to an engine that filters
   * for itself.
   */
  readonly guard: { readonly bridges: readonly string[] } | null;
}

const ANY = "publish_any";
const ONE = "publish_address";

/** `naru` for `naru0`; other engines on the host have bridges, and tables, of other names. */
export const tableName = (bridge: string): string =>
  bridge === "naru0" ? "naru" : `naru_${bridge.replaceAll(/[^A-Za-z0-9_]/g, "_")}`;

/** One transaction that puts the whole table in place of what was there. */
export function replaceTable(facts: TableFacts): string[] {
  const { table, bridge, subnet } = facts;
  const own = `"${bridge}"`;
  const dnat = [
    `fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @${ONE}`,
    `fib daddr type local dnat ip to meta l4proto . th dport map @${ANY}`,
  ];
  const rules = {
    before_all: [
      'iifname != "lo" ip daddr 127.0.0.0/8 drop',
      'iifname != "lo" ip saddr 127.0.0.0/8 drop',
    ],
    arriving: dnat,
    sent_by_host: dnat,
    leaving: [
      `oifname ${own} ip saddr 127.0.0.0/8 masquerade`,
      // By source, not by iifname: where br_netfilter is on, this hook is not told where a packet came in.
      `oifname ${own} ip saddr ${subnet} ct status dnat masquerade`,
      `oifname != ${own} ip saddr ${subnet} masquerade`,
    ],
    forwarded: [
      `oifname ${own} ct state established,related accept`,
      `oifname ${own} iifname ${own} accept`,
      `oifname ${own} ct status dnat accept`,
      `oifname ${own} drop`,
      `iifname ${own} accept`,
      ...guardRules(facts.guard),
    ],
  };
  return [
    `add table inet ${table}`,
    `delete table inet ${table}`,
    `add table inet ${table}`,
    `add map inet ${table} ${ONE} { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }`,
    `add map inet ${table} ${ANY} { type inet_proto . inet_service : ipv4_addr . inet_service; }`,
    ...addElements(table, facts.ports),
    `add chain inet ${table} before_all { type filter hook prerouting priority raw; }`,
    `add chain inet ${table} arriving { type nat hook prerouting priority dstnat; }`,
    `add chain inet ${table} sent_by_host { type nat hook output priority -100; }`,
    `add chain inet ${table} leaving { type nat hook postrouting priority srcnat; }`,
    `add chain inet ${table} forwarded { type filter hook forward priority filter; }`,
    ...Object.entries(rules).flatMap(([chain, lines]) =>
      lines.map((line) => `add rule inet ${table} ${chain} ${line}`),
    ),
  ];
}

/** The host was no router before us, and is none now. */
function guardRules(guard: TableFacts["guard"]): string[] {
  if (!guard) return [];
  const known = guard.bridges.map((name) => `"${name}"`).join(", ");
  const isLater = (side: "iifname" | "oifname"): string =>
    known === "" ? "" : ` ${side} != { ${known} }`;
  return [
    `meta iifkind "bridge"${isLater("iifname")} accept`,
    `meta oifkind "bridge"${isLater("oifname")} accept`,
    "meta nfproto ipv4 drop",
  ];
}

/** Commands that publish; one element for each IPv4 address, the others are relayed. */
export const addElements = (table: string, ports: readonly PublishedPort[]): string[] =>
  byMap(ports, ({ target, containerPort }) => ` : ${target} . ${containerPort}`).map(
    ([map, elements]) => `add element inet ${table} ${map} { ${elements} }`,
  );

/** Commands that take back, whether or not the elements are there: adding first makes deleting safe. */
export const removeElements = (table: string, ports: readonly PublishedPort[]): string[] => [
  ...addElements(table, ports),
  ...byMap(ports, () => "").map(
    ([map, elements]) => `delete element inet ${table} ${map} { ${elements} }`,
  ),
];

function byMap(
  ports: readonly PublishedPort[],
  value: (port: PublishedPort) => string,
): [map: string, elements: string][] {
  const elements = { [ONE]: [] as string[], [ANY]: [] as string[] };
  for (const port of ports) {
    const { protocol, hostAddress, hostPort } = port;
    if (hostAddress.includes(":")) continue;
    const key = `${protocol} . ${hostPort}`;
    if (hostAddress === "0.0.0.0") elements[ANY].push(key + value(port));
    else elements[ONE].push(`${hostAddress} . ${key}${value(port)}`);
  }
  return Object.entries(elements)
    .filter(([, list]) => list.length > 0)
    .map(([map, list]) => [map, list.join(", ")]);
}
