/**
 * Our one table, as text: a pure function of what is recorded. Maps carry the published ports, and verdict maps
 * lead from a bridge's name to its chains: no packet passes more rules because there are more containers or
 * networks. Order and reasons:
 *
 * - raw: packets for or from 127.0.0.0/8 that did not come in by lo are dropped before anything else. The
 *   bridges have route_localnet, and DNAT of a port published on 127.0.0.1 happens before the kernel would drop
 *   them (moby #45610).
 * - nat: a given host address goes before "every address". Connections from the host itself, and those that a
 *   container makes to a port of its own bridge, get the bridge's address as source so that answers come back.
 * - forward: into a bridge go answers, neighbours, and what was published; all else is dropped, so a container
 *   cannot be reached by routing to its address (moby #41872), and networks do not reach each other.
 */
import type { GatewayMode } from "../options.ts";
import type { PublishedPort } from "../records.ts";
import { replaceGuards } from "./guard-table.ts";
import type { GuardedPort } from "./guards.ts";

export interface TableFacts {
  readonly table: string;
  readonly bridges: readonly BridgeRules[];
  readonly ports: readonly PublishedPort[];
  readonly guarded?: readonly GuardedPort[];
  /**
   * Set when the host did not forward before we came: then nothing but containers is forwarded. The names are
   * the bridges there were, which are part of the host; one that comes later belongs to an engine that filters
   * for itself.
   */
  readonly guard: { readonly bridges: readonly string[] } | null;
  /** The same of IPv6. */
  readonly guard6?: { readonly bridges: readonly string[] } | null;
  /** Families that nothing of this table is for. */
  readonly unruled?: readonly ("ipv4" | "ipv6")[];
  readonly entry?: EntryPolicy;
}

/** What is let into bridges beside answers, neighbours and what was translated, if the operator says so. */
export interface EntryPolicy {
  /** Published ports by the containers' own addresses: for other machines that have a route to them. */
  readonly directRouting?: boolean;
  /** Packets that another program's rules have marked: `0x1` or `0x1/0xff`. */
  readonly acceptedMark?: string;
}

/** One bridge network, as far as packets are concerned. */
export interface BridgeRules {
  readonly bridge: string;
  readonly ipv4: FamilyRules | null;
  readonly ipv6: FamilyRules | null;
  readonly internal: boolean;
  /** Containers of this network may talk to each other. */
  readonly icc: boolean;
  /** Links from where its published ports are reached by its containers' own addresses. */
  readonly trusted: readonly string[];
}

export interface FamilyRules {
  /** `172.18.0.0/16` */
  readonly subnet: string;
  readonly mode: GatewayMode;
  readonly masquerade: boolean;
  /** What leaves gets this source instead of the outgoing link's; null: the link's. */
  readonly source: string | null;
}

const ANY = "publish_any";
const ONE = "publish_address";
const ANY6 = "publish_any6";
const ONE6 = "publish_address6";
/** Ports of containers that are reached by their own addresses (gateway mode "routed"). */
const OPEN = "open_port";
const OPEN6 = "open_port6";
/** A bridge's name to what becomes of packets that go into it, or come from it. */
const INTO = "into";
const FROM = "from";
const LEAVING_INTO = "leaving_into";
/** Subnets whose packets leave the host with the outgoing link's address, and those with a given one. */
const MASQUERADED = "masqueraded";
const MASQUERADED6 = "masqueraded6";
const SOURCE = "source";
const SOURCE6 = "source6";

/** `naru` for `naru0`; other engines on the host have bridges, and tables, of other names. */
export const tableName = (bridge: string): string =>
  bridge === "naru0" ? "naru" : `naru_${bridge.replaceAll(/[^A-Za-z0-9_]/g, "_")}`;

/** The rules of the chains that every packet passes, by chain. */
export function rulesOf(
  facts: Pick<TableFacts, "guard" | "guard6" | "unruled">,
): Record<string, string[]> {
  const pass = (facts.unruled ?? []).map((family) => `meta nfproto ${family} accept`);
  const dnat = [
    `fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @${ONE}`,
    `fib daddr type local dnat ip to meta l4proto . th dport map @${ANY}`,
    // Nothing answers to ::1 from outside: the relay serves it.
    `ip6 daddr != ::1 fib daddr type local dnat ip6 to ip6 daddr . meta l4proto . th dport map @${ONE6}`,
    `ip6 daddr != ::1 fib daddr type local dnat ip6 to meta l4proto . th dport map @${ANY6}`,
  ];
  return {
    before_all: [
      ...pass,
      'iifname != "lo" ip daddr 127.0.0.0/8 drop',
      'iifname != "lo" ip saddr 127.0.0.0/8 drop',
    ],
    arriving: [...pass, ...dnat],
    sent_by_host: [...pass, ...dnat],
    leaving: [
      ...pass,
      `oifname vmap @${LEAVING_INTO}`,
      `ip saddr @${MASQUERADED} masquerade`,
      `ip6 saddr @${MASQUERADED6} masquerade`,
      `snat ip to ip saddr map @${SOURCE}`,
      `snat ip6 to ip6 saddr map @${SOURCE6}`,
    ],
    forwarded: [
      ...pass,
      `oifname vmap @${INTO}`,
      `iifname vmap @${FROM}`,
      ...guardRules("ipv4", facts.guard),
      ...guardRules("ipv6", facts.guard6 ?? null),
    ],
  };
}

/** One transaction that puts the whole table in place of what was there. */
export function replaceTable(facts: TableFacts): string[] {
  const { table } = facts;
  const rules = rulesOf(facts);
  const key = "inet_proto . inet_service";
  return [
    `add table inet ${table}`,
    `delete table inet ${table}`,
    `add table inet ${table}`,
    `add map inet ${table} ${ONE} { type ipv4_addr . ${key} : ipv4_addr . inet_service; }`,
    `add map inet ${table} ${ANY} { type ${key} : ipv4_addr . inet_service; }`,
    `add map inet ${table} ${ONE6} { type ipv6_addr . ${key} : ipv6_addr . inet_service; }`,
    `add map inet ${table} ${ANY6} { type ${key} : ipv6_addr . inet_service; }`,
    `add set inet ${table} ${OPEN} { type ipv4_addr . ${key}; }`,
    `add set inet ${table} ${OPEN6} { type ipv6_addr . ${key}; }`,
    ...[INTO, FROM, LEAVING_INTO].map(
      (map) => `add map inet ${table} ${map} { type ifname : verdict; }`,
    ),
    `add set inet ${table} ${MASQUERADED} { type ipv4_addr; flags interval; }`,
    `add set inet ${table} ${MASQUERADED6} { type ipv6_addr; flags interval; }`,
    `add map inet ${table} ${SOURCE} { type ipv4_addr : ipv4_addr; flags interval; }`,
    `add map inet ${table} ${SOURCE6} { type ipv6_addr : ipv6_addr; flags interval; }`,
    `add chain inet ${table} before_all { type filter hook prerouting priority raw; }`,
    `add chain inet ${table} arriving { type nat hook prerouting priority dstnat; }`,
    `add chain inet ${table} sent_by_host { type nat hook output priority -100; }`,
    `add chain inet ${table} leaving { type nat hook postrouting priority srcnat; }`,
    `add chain inet ${table} forwarded { type filter hook forward priority filter; }`,
    ...Object.entries(rules).flatMap(([chain, lines]) =>
      lines.map((line) => `add rule inet ${table} ${chain} ${line}`),
    ),
    ...facts.bridges.flatMap((bridge) => addBridge(table, bridge, facts.entry)),
    ...addElements(table, facts.ports, { isOpened: opensPorts(facts.bridges, facts.entry) }),
    ...replaceGuards(table, facts.guarded ?? []),
  ];
}

/** Chain names are words. */
const wordOf = (bridge: string): string => bridge.replaceAll(/[^A-Za-z0-9]/g, "_");

const chainsOf = (bridge: string) => ({
  into: `into_${wordOf(bridge)}`,
  leaving: `leaving_${wordOf(bridge)}`,
});

/** Commands that make one more network known. */
export function addBridge(table: string, rules: BridgeRules, entry: EntryPolicy = {}): string[] {
  const { bridge } = rules;
  const { into, leaving } = chainsOf(bridge);
  const own = `"${bridge}"`;
  const rule = (chain: string, lines: readonly string[]) =>
    lines.map((line) => `add rule inet ${table} ${chain} ${line}`);
  return [
    `add chain inet ${table} ${into}`,
    `add chain inet ${table} ${leaving}`,
    ...rule(into, intoRules(rules, entry)),
    ...rule(leaving, leavingRules(rules)),
    `add element inet ${table} ${INTO} { ${own} : goto ${into} }`,
    `add element inet ${table} ${FROM} { ${own} : ${rules.internal ? "drop" : "accept"} }`,
    `add element inet ${table} ${LEAVING_INTO} { ${own} : jump ${leaving} }`,
    ...sourcesOf(rules).map(
      ({ set, subnet, source }) =>
        `add element inet ${table} ${set} { ${subnet}${source === null ? "" : ` : ${source}`} }`,
    ),
  ];
}

/** Commands that forget it; everything of it must be there. */
export function removeBridge(table: string, rules: BridgeRules): string[] {
  const own = `"${rules.bridge}"`;
  const { into, leaving } = chainsOf(rules.bridge);
  return [
    ...[INTO, FROM, LEAVING_INTO].map((map) => `delete element inet ${table} ${map} { ${own} }`),
    ...sourcesOf(rules).map(
      ({ set, subnet }) => `delete element inet ${table} ${set} { ${subnet} }`,
    ),
    `delete chain inet ${table} ${into}`,
    `delete chain inet ${table} ${leaving}`,
  ];
}

function intoRules(
  { bridge, ipv4, ipv6, internal, icc, trusted }: BridgeRules,
  { directRouting = false, acceptedMark }: EntryPolicy,
): string[] {
  const from = trusted.map((link) => `"${link}"`).join(", ");
  const neighbours = `iifname "${bridge}" ${icc ? "accept" : "drop"}`;
  const answers = "ct state established,related accept";
  if (internal) return [answers, neighbours, "drop"];
  return [
    answers,
    "ct status dnat accept",
    neighbours,
    ...(acceptedMark === undefined ? [] : [`${markMatch(acceptedMark)} accept`]),
    ...(from === "" ? [] : Object.values(PUBLISHED).map((rule) => `iifname { ${from} } ${rule}`)),
    ...openRules("ipv4", ipv4, directRouting),
    ...openRules("ipv6", ipv6, directRouting),
    "drop",
  ];
}

/** @param mark as `EntryPolicy` has it, checked */
function markMatch(mark: string): string {
  const [value = "", mask] = mark.split("/");
  return mask === undefined ? `meta mark ${value}` : `meta mark & ${mask} == ${value}`;
}

const PUBLISHED = {
  ipv4: `ip daddr . meta l4proto . th dport @${OPEN} accept`,
  ipv6: `ip6 daddr . meta l4proto . th dport @${OPEN6} accept`,
} as const;

/** What is let in without translation. */
function openRules(
  family: "ipv4" | "ipv6",
  rules: FamilyRules | null,
  directRouting: boolean,
): string[] {
  switch (rules?.mode) {
    case undefined:
    case "isolated":
      return [];
    case "nat":
      return directRouting ? [PUBLISHED[family]] : [];
    case "nat-unprotected":
      return [`meta nfproto ${family} accept`];
    case "routed":
      return [
        family === "ipv4" ? "ip protocol icmp accept" : "meta l4proto ipv6-icmp accept",
        PUBLISHED[family],
      ];
  }
}

function leavingRules({ ipv4, ipv6 }: BridgeRules): string[] {
  // By source, not by iifname: where br_netfilter is on, this hook is not told where a packet came in.
  const own = (word: string, rules: FamilyRules | null) =>
    rules === null
      ? []
      : [
          `${word} saddr ${rules.subnet} ct status dnat masquerade`,
          `${word} saddr ${rules.subnet} accept`,
        ];
  return ["ip saddr 127.0.0.0/8 masquerade", ...own("ip", ipv4), ...own("ip6", ipv6)];
}

const translates = ({ internal }: BridgeRules, family: FamilyRules | null): family is FamilyRules =>
  family !== null &&
  !internal &&
  family.masquerade &&
  (family.mode === "nat" || family.mode === "nat-unprotected");

interface SourceElement {
  readonly set: string;
  readonly subnet: string;
  /** null in a set of subnets alone. */
  readonly source: string | null;
}

/** How packets of this network leave the host. */
function sourcesOf(rules: BridgeRules): SourceElement[] {
  const families = [
    [rules.ipv4, MASQUERADED, SOURCE],
    [rules.ipv6, MASQUERADED6, SOURCE6],
  ] as const;
  return families.flatMap(([family, masqueraded, translated]) => {
    if (!translates(rules, family)) return [];
    const { subnet, source } = family;
    return [{ set: source === null ? masqueraded : translated, subnet, source }];
  });
}

/** The host was no router before us, and is none now. */
function guardRules(family: "ipv4" | "ipv6", guard: TableFacts["guard"]): string[] {
  if (!guard) return [];
  const known = guard.bridges.map((name) => `"${name}"`).join(", ");
  const isLater = (side: "iifname" | "oifname"): string =>
    known === "" ? "" : ` ${side} != { ${known} }`;
  const own = `meta nfproto ${family}`;
  return [
    `${own} meta iifkind "bridge"${isLater("iifname")} accept`,
    `${own} meta oifkind "bridge"${isLater("oifname")} accept`,
    `${own} drop`,
  ];
}

/** Whether published ports are also kept by the containers' own addresses. */
interface Opening {
  readonly isOpened: boolean;
}

const CLOSED: Opening = { isOpened: false };

/** Whether any rule asks for them by those. */
export const opensPorts = (bridges: readonly BridgeRules[], entry: EntryPolicy = {}): boolean =>
  entry.directRouting === true || bridges.some(({ trusted }) => trusted.length > 0);

/** Commands that publish; what is not of the container's family is relayed and not here. */
export const addElements = (
  table: string,
  ports: readonly PublishedPort[],
  opening: Opening = CLOSED,
): string[] =>
  byMap(ports, opening, ({ target, containerPort }) => ` : ${target} . ${containerPort}`).map(
    ([map, elements]) => `add element inet ${table} ${map} { ${elements} }`,
  );

/** Commands that take back, whether or not the elements are there: adding first makes deleting safe. */
export const removeElements = (
  table: string,
  ports: readonly PublishedPort[],
  opening: Opening = CLOSED,
): string[] => [
  ...addElements(table, ports, opening),
  ...byMap(ports, opening, () => "").map(
    ([map, elements]) => `delete element inet ${table} ${map} { ${elements} }`,
  ),
];

function byMap(
  ports: readonly PublishedPort[],
  { isOpened }: Opening,
  value: (port: PublishedPort) => string,
): [map: string, elements: string][] {
  const elements: Record<string, Set<string>> = {};
  // A port of a container may be published several times, and is one opening.
  const add = (map: string, element: string) => void (elements[map] ??= new Set()).add(element);
  for (const port of ports) {
    const { protocol, hostAddress, hostPort, containerPort, target } = port;
    const ipv6 = hostAddress.includes(":");
    if (ipv6 !== target.includes(":")) continue;
    const key = `${protocol} . ${hostPort}`;
    if (isOpened) add(ipv6 ? OPEN6 : OPEN, `${target} . ${protocol} . ${containerPort}`);
    if (hostAddress === target) add(ipv6 ? OPEN6 : OPEN, `${target} . ${key}`);
    else if (hostAddress === (ipv6 ? "::" : "0.0.0.0")) add(ipv6 ? ANY6 : ANY, key + value(port));
    else add(ipv6 ? ONE6 : ONE, `${hostAddress} . ${key}${value(port)}`);
  }
  return Object.entries(elements).map(([map, list]) => [map, [...list].join(", ")]);
}
