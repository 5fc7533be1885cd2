/**
 * The address pools of a new network: what was asked for, checked as Docker checks it and in its sentences, and what
 * nobody asked for. Pure but for the chooser.
 */
import { forbidden, invalid, joinErrors } from "#base";

import {
  contains,
  formatIpv4,
  formatSubnet,
  lastOf,
  parseCidr,
  parseIpv4,
} from "./addresses/ip.ts";
import { contains6, formatIpv6, formatSubnet6, parseCidr6, parseIpv6 } from "./addresses/ipv6.ts";
import type { AddressPool, NetworkDriver, NetworkRequest } from "./network-service.ts";

type AskedPool = NetworkRequest["ipam"]["pools"][number];

/** Subnets where none was asked for. @throws EngineError when all are in use */
export interface SubnetChooser {
  choose4(): string;
  choose6(): string;
}

/** @throws EngineError */
export function designPools(
  { ipam, ipv4, ipv6 }: NetworkRequest,
  driver: NetworkDriver,
  chooser: SubnetChooser,
): AddressPool[] {
  const asked = checkedPools(ipam.pools);
  const pools: AddressPool[] = [];
  for (const [family, enabled] of [
    ["ipv4", ipv4],
    ["ipv6", ipv6],
  ] as const) {
    const wanted = asked.filter((one) => one.family === family).map(({ pool }) => pool);
    if (wanted.length > 1) throw forbidden(`${driver} driver doesn't support multiple subnets`);
    if (!enabled) continue;
    const [pool = EMPTY] = wanted;
    const choose = () => (family === "ipv4" ? chooser.choose4() : chooser.choose6());
    const subnet = pool.subnet === "" ? choose() : pool.subnet;
    const gateway = pool.gateway === "" ? firstOf(subnet, pool) : pool.gateway;
    checkReserved(subnet, gateway, pool.auxiliary);
    pools.push({
      family,
      subnet,
      gateway,
      ipRange: pool.ipRange === "" ? null : pool.ipRange,
      auxiliary: pool.auxiliary,
      ...chosenOf(pool),
    });
  }
  return pools;
}

/** @throws EngineError "invalid": all that is wrong with them */
export function checkedPools(
  pools: readonly AskedPool[],
): { readonly pool: AskedPool; readonly family: "ipv4" | "ipv6" }[] {
  const errors = pools.flatMap(poolErrors);
  if (errors.length > 0) throw invalid(`invalid network config:\n${joinErrors(errors)}`);
  return pools.map((pool) => ({ pool, family: familyOf(pool) }));
}

function chosenOf({ subnet, gateway }: AskedPool): Pick<AddressPool, "chosen"> {
  if (subnet === "") return { chosen: "subnet" };
  return gateway === "" ? { chosen: "gateway" } : {};
}

const EMPTY: AskedPool = { subnet: "", gateway: "", ipRange: "", auxiliary: {} };

const familyOf = ({ subnet, gateway }: AskedPool): "ipv4" | "ipv6" =>
  subnet.includes(":") || (subnet === "" && gateway.includes(":")) ? "ipv6" : "ipv4";

/** Every mistake, as Docker lists them. */
function poolErrors(pool: AskedPool): string[] {
  const { subnet, gateway, ipRange, auxiliary } = pool;
  if (subnet === "") {
    if (gateway === "" && ipRange === "" && Object.keys(auxiliary).length === 0) return [];
    return ["invalid subnet : invalid CIDR block notation"];
  }
  const parsed = parseSubnet(subnet);
  if (parsed === null) return [`invalid subnet ${subnet}: invalid CIDR block notation`];
  const errors: string[] = [];
  if (parsed.canonical !== canonicalText(subnet)) {
    errors.push(`invalid subnet ${subnet}: it should be ${parsed.canonical}`);
  }
  if (ipRange !== "") errors.push(...rangeErrors(ipRange, parsed));
  if (gateway !== "") {
    const error = addressError(gateway, parsed);
    if (error !== null) errors.push(`invalid gateway ${gateway}: ${error}`);
  }
  for (const [name, address] of Object.entries(auxiliary)) {
    const error = addressError(address, parsed);
    if (error !== null) errors.push(`invalid auxiliary address ${name}: ${error}`);
  }
  return errors;
}

interface ParsedSubnet {
  readonly family: 4 | 6;
  readonly canonical: string;
  readonly prefixLength: number;
  readonly contains: (address: string) => boolean;
  readonly text: string;
}

function parseSubnet(text: string): ParsedSubnet | null {
  try {
    if (text.includes(":")) {
      const { subnet } = parseCidr6(text);
      return {
        family: 6,
        canonical: formatSubnet6(subnet),
        prefixLength: subnet.prefixLength,
        contains: (address) => contains6(subnet, parseIpv6(address) ?? -1n),
        text,
      };
    }
    const { subnet } = parseCidr(text);
    return {
      family: 4,
      canonical: formatSubnet(subnet),
      prefixLength: subnet.prefixLength,
      contains: (address) => contains(subnet, parseIpv4(address) ?? -1),
      text,
    };
  } catch {
    return null;
  }
}

/** `FD00::/64` and `fd00:0::/64` are one: as the platform writes it. */
function canonicalText(text: string): string {
  if (!text.includes(":")) return text;
  const { address, subnet } = parseCidr6(text);
  return `${formatIpv6(address)}/${subnet.prefixLength}`;
}

function rangeErrors(ipRange: string, subnet: ParsedSubnet): string[] {
  const range = parseSubnet(ipRange);
  if (range === null) return [`invalid ip-range ${ipRange}: invalid CIDR block notation`];
  if (range.family !== subnet.family) {
    return [`invalid ip-range ${ipRange}: parent subnet is an IPv${subnet.family} block`];
  }
  const errors: string[] = [];
  if (range.prefixLength < subnet.prefixLength) {
    errors.push(
      `invalid ip-range ${ipRange}: CIDR block is bigger than its parent subnet ${subnet.text}`,
    );
  }
  if (range.canonical !== canonicalText(ipRange)) {
    errors.push(`invalid ip-range ${ipRange}: it should be ${range.canonical}`);
  }
  if (!subnet.contains(ipRange.split("/", 1)[0] ?? "")) {
    errors.push(
      `invalid ip-range ${ipRange}: parent subnet ${subnet.text} doesn't contain ip-range`,
    );
  }
  return errors;
}

function addressError(text: string, subnet: ParsedSubnet): string | null {
  const known = text.includes(":") ? parseIpv6(text) : parseIpv4(text);
  if (known === null) return "invalid address";
  if (text.includes(":") !== (subnet.family === 6)) {
    return `parent subnet is an IPv${subnet.family} block`;
  }
  return subnet.contains(text) ? null : `parent subnet ${subnet.text} doesn't contain this address`;
}

/** The gateway nobody chose: the first address that is free, of the range if there is one. */
function firstOf(subnet: string, { ipRange, auxiliary }: AskedPool): string | null {
  const taken = new Set(Object.values(auxiliary));
  if (subnet.includes(":")) {
    const whole = parseCidr6(subnet).subnet;
    if (whole.prefixLength > 126) return null;
    const { base } = parseCidr6(ipRange === "" ? subnet : ipRange).subnet;
    for (let address = base === whole.base ? base + 1n : base; ; address += 1n) {
      if (!contains6(whole, address)) return null;
      if (!taken.has(formatIpv6(address))) return formatIpv6(address);
    }
  }
  const whole = parseCidr(subnet).subnet;
  if (whole.prefixLength > 31) return null;
  const { base } = parseCidr(ipRange === "" ? subnet : ipRange).subnet;
  for (let address = base === whole.base ? base + 1 : base; address < lastOf(whole); address += 1) {
    if (!taken.has(formatIpv4(address))) return formatIpv4(address);
  }
  return null;
}

/**
 * Nobody has a subnet's own address, nor its broadcast address, nor one that another has.
 * @throws EngineError "invalid" in Docker's words
 */
function checkReserved(
  subnet: string,
  gateway: string | null,
  auxiliary: AddressPool["auxiliary"],
): void {
  const taken = reservedOf(subnet);
  const take = (address: string, what: string): void => {
    const key = valueOf(address);
    if (taken.has(key)) throw invalid(`failed to allocate ${what}: Address already in use`);
    taken.add(key);
  };
  if (gateway !== null) take(gateway, `gateway (${gateway})`);
  for (const [name, address] of Object.entries(auxiliary)) {
    take(address, `secondary ip address (${name}:${address})`);
  }
}

/** As numbers: IPv6 has many spellings. A /31 is two hosts (RFC 3021), a /32 one. */
function reservedOf(subnet: string): Set<bigint | number> {
  if (subnet.includes(":")) return new Set([parseCidr6(subnet).subnet.base]);
  const whole = parseCidr(subnet).subnet;
  return new Set(whole.prefixLength > 30 ? [] : [whole.base, lastOf(whole)]);
}

const valueOf = (address: string): bigint | number =>
  (address.includes(":") ? parseIpv6(address) : parseIpv4(address)) ?? -1;
