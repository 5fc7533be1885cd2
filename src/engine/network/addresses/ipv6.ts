/** IPv6 addresses and subnets as numbers. */
import { invalid } from "#base";

import { addressBytes } from "./ip.ts";

const BITS = 128n;

export interface Subnet6 {
  readonly base: bigint;
  readonly prefixLength: number;
}

/** null for anything but an IPv6 address. */
export function parseIpv6(text: string): bigint | null {
  const bytes = text.includes(":") ? addressBytes(text) : null;
  return bytes === null ? null : BigInt(`0x${bytes.toHex()}`);
}

/** Compressed as RFC 5952 says. */
export function formatIpv6(value: bigint): string {
  const groups = value.toString(16).padStart(32, "0").match(/.{4}/g) ?? [];
  return new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1);
}

const sizeOf = (prefixLength: number): bigint => 1n << (BITS - BigInt(prefixLength));

export const subnet6Of = (address: bigint, prefixLength: number): Subnet6 => ({
  base: address - (address % sizeOf(prefixLength)),
  prefixLength,
});

export const lastOf6 = ({ base, prefixLength }: Subnet6): bigint =>
  base + sizeOf(prefixLength) - 1n;

export const contains6 = (subnet: Subnet6, address: bigint): boolean =>
  address >= subnet.base && address <= lastOf6(subnet);

export const overlaps6 = (one: Subnet6, other: Subnet6): boolean =>
  one.base <= lastOf6(other) && other.base <= lastOf6(one);

export const formatSubnet6 = ({ base, prefixLength }: Subnet6): string =>
  `${formatIpv6(base)}/${prefixLength}`;

/** @throws EngineError "invalid" in Docker's words */
export function parseCidr6(text: string): { address: bigint; subnet: Subnet6 } {
  const [host = "", prefix = "", ...rest] = text.split("/");
  const address = parseIpv6(host);
  const prefixLength = /^\d{1,3}$/.test(prefix) ? Number(prefix) : 129;
  if (address === null || prefixLength > 128 || rest.length > 0) {
    throw invalid(`invalid CIDR address: ${text}`);
  }
  return { address, subnet: subnet6Of(address, prefixLength) };
}
