/** IP addresses as numbers and bytes, parsed once at the edge. IPv4 is what containers have. */
import { invalid } from "#base";

export interface Subnet {
  /** The network's first address as an unsigned 32-bit number. */
  readonly base: number;
  readonly prefixLength: number;
}

/** null for anything but four decimal parts without leading zeros. */
export function parseIpv4(text: string): number | null {
  if (!/^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$/.test(text)) return null;
  let value = 0;
  for (const part of text.split(".")) {
    if (Number(part) > 255) return null;
    value = value * 256 + Number(part);
  }
  return value;
}

export const formatIpv4 = (value: number): string =>
  [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join(".");

/** 4 or 16 bytes of an address in text; null when it is none. */
export function addressBytes(text: string): Uint8Array | null {
  const ipv4 = parseIpv4(text);
  if (ipv4 !== null) return Uint8Array.of(ipv4 >>> 24, ipv4 >>> 16, ipv4 >>> 8, ipv4);
  return ipv6Bytes(text);
}

function ipv6Bytes(text: string): Uint8Array | null {
  if (!/^[0-9a-fA-F:.]+$/.test(text) || !text.includes(":")) return null;
  let compact: string;
  try {
    // The platform's own parser also knows `::`, case and a dotted tail.
    compact = new URL(`http://[${text}]/`).hostname.slice(1, -1);
  } catch {
    return null;
  }
  const [head = "", tail] = compact.split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const [left, right] = [groups(head), groups(tail ?? "")];
  const middle = Array.from({ length: 8 - left.length - right.length }, () => "0");
  const words = [...left, ...middle, ...right].map((group) => Number.parseInt(group, 16));
  return Uint8Array.from(words.flatMap((word) => [word >>> 8, word & 255]));
}

/** How many addresses a prefix holds: 65536 for 16. */
export const sizeOf = (prefixLength: number): number => 2 ** (32 - prefixLength);

export const lastOf = ({ base, prefixLength }: Subnet): number => base + sizeOf(prefixLength) - 1;

/** The subnet an address lies in. */
export const subnetOf = (address: number, prefixLength: number): Subnet => ({
  base: address - (address % sizeOf(prefixLength)),
  prefixLength,
});

export const contains = (subnet: Subnet, address: number): boolean =>
  address >= subnet.base && address <= lastOf(subnet);

export const overlaps = (one: Subnet, other: Subnet): boolean =>
  one.base <= lastOf(other) && other.base <= lastOf(one);

export const formatSubnet = ({ base, prefixLength }: Subnet): string =>
  `${formatIpv4(base)}/${prefixLength}`;

/**
 * `172.18.0.1/16`: an address and the subnet around it.
 * @throws EngineError "invalid" in Docker's words
 */
export function parseCidr(text: string): { address: number; subnet: Subnet } {
  const [host = "", prefix = "", ...rest] = text.split("/");
  const address = parseIpv4(host);
  const prefixLength = /^\d{1,2}$/.test(prefix) ? Number(prefix) : 33;
  if (address === null || prefixLength > 32 || rest.length > 0) {
    throw invalid(`invalid CIDR address: ${text}`);
  }
  return { address, subnet: subnetOf(address, prefixLength) };
}
