/** The free addresses of a network: which one is next, and whether one that was asked for is free. */
import { forbidden, unavailable } from "#base";

import type { AddressHolder, NetworkRecords } from "../records.ts";
import { formatIpv4, lastOf, type Subnet } from "./ip.ts";
import { contains6, formatIpv6, lastOf6, type Subnet6 } from "./ipv6.ts";

export interface AddressRange {
  readonly networkId: string;
  readonly networkName: string;
  /** The part of the subnet that containers get addresses from. */
  readonly range: Subnet;
  readonly subnet: Subnet;
  readonly gateway: number;
  /** Of others that the engine does not know: never given out. */
  readonly auxiliary: ReadonlySet<number>;
  /** Given out and not recorded yet, with their networks: see `pendingKey`. */
  readonly pending: ReadonlySet<string>;
}

/** One address of one network, of either family. */
export const pendingKey = (networkId: string, address: string): string => `${networkId}/${address}`;

/**
 * The lowest free one, as Docker gives: a container that starts again usually has its address again.
 * @param vacate frees the address of a container that ended, if its link is gone; false: it stays taken
 * @throws EngineError "unavailable" in Docker's words
 */
export function nextAddress(
  records: NetworkRecords,
  request: AddressRange,
  vacate: (holder: AddressHolder) => boolean,
): number {
  const { networkId, networkName, range, pending, auxiliary } = request;
  const isPending = (address: number) =>
    pending.size > 0 && pending.has(pendingKey(networkId, formatIpv4(address)));
  const last = lastOf(range);
  const holders = records.holdersFrom(networkId, range.base);
  let at = 0;
  for (let address = range.base; address <= last; address += 1) {
    const holder = holders[at];
    const isHeld = holder?.address === address;
    if (isHeld) at += 1;
    if (isReservedIn(request, address) || auxiliary.has(address) || isPending(address)) continue;
    if (!isHeld || (holder.leaving && vacate(holder))) return address;
  }
  throw unavailable(
    `no available IPv4 addresses on this network's address pools: ${networkName} (${networkId})`,
  );
}

/** The network's own and its broadcast address (a /31 has neither), and the gateway's. */
function isReservedIn({ subnet, gateway }: AddressRange, address: number): boolean {
  if (address === gateway) return true;
  return subnet.prefixLength < 31 && (address === subnet.base || address === lastOf(subnet));
}

/** The one that was asked for. @throws EngineError "forbidden" in Docker's words */
export function claimAddress(
  records: NetworkRecords,
  request: AddressRange,
  address: number,
): number {
  const taken =
    isReservedIn(request, address) ||
    request.pending.has(pendingKey(request.networkId, formatIpv4(address))) ||
    records.isAddressTaken(request.networkId, address);
  if (taken) throw forbidden("Address already in use");
  return address;
}

export interface AddressRange6 {
  readonly networkId: string;
  readonly networkName: string;
  readonly subnet: Subnet6;
  readonly range: Subnet6;
  readonly gateway: string | null;
  readonly auxiliary: ReadonlySet<string>;
  readonly pending: ReadonlySet<string>;
}

/** The lowest free one: a network has few of them taken. @throws EngineError "unavailable", "forbidden" */
export function chooseAddress6(
  records: NetworkRecords,
  request: AddressRange6,
  asked: string | null,
): string {
  const { networkId, networkName, subnet, range, gateway, auxiliary, pending } = request;
  const isTaken = (address: string) =>
    address === gateway ||
    pending.has(pendingKey(networkId, address)) ||
    records.isAddress6Taken(networkId, address);
  if (asked !== null) {
    if (isTaken(asked)) throw forbidden("Address already in use");
    return asked;
  }
  const first = range.base === subnet.base ? range.base + 1n : range.base;
  for (let address = first; address <= lastOf6(range); address += 1n) {
    const text = formatIpv6(address);
    if (contains6(subnet, address) && !auxiliary.has(text) && !isTaken(text)) return text;
  }
  throw unavailable(
    `no available IPv6 addresses on this network's address pools: ${networkName} (${networkId})`,
  );
}

/** Of a link without an IPv4 address: nobody's, and not seen before. */
export function randomMac(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(4));
  return ["02", "42", ...Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0"))].join(":");
}

/** `02:42` and the address: a neighbour that remembers an address remembers the right link. */
export function macOf(address: number): string {
  const bytes = [0x02, 0x42, address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255];
  return [...bytes, address & 255].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}
