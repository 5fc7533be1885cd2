/** The next free address of a network, going round: one just given back is the last to be used again. */
import { unavailable } from "#base";

import type { NetworkRecords } from "../records.ts";
import { lastOf, type Subnet } from "./ip.ts";

export interface AddressRange {
  readonly networkId: string;
  readonly networkName: string;
  /** The part of the subnet that containers get addresses from. */
  readonly range: Subnet;
  readonly subnet: Subnet;
  readonly gateway: number;
  /** Given out and not recorded yet. */
  readonly pending: ReadonlySet<number>;
}

/** @throws EngineError "unavailable" in Docker's words */
export function nextAddress(records: NetworkRecords, request: AddressRange): number {
  const { networkId, networkName, range, subnet, gateway, pending } = request;
  const first = range.base;
  const last = lastOf(range);
  const previous = records.lastAddress(networkId);
  let address = previous >= first && previous < last ? previous + 1 : first;
  for (let turn = first; turn <= last; turn += 1) {
    const isReserved = address === subnet.base || address === lastOf(subnet) || address === gateway;
    const isFree = !isReserved && !pending.has(address);
    if (isFree && !records.isAddressTaken(networkId, address)) return address;
    address = address === last ? first : address + 1;
  }
  throw unavailable(
    `no available IPv4 addresses on this network's address pools: ${networkName} (${networkId})`,
  );
}

/** `02:42` and the address: a neighbour that remembers an address remembers the right link. */
export function macOf(address: number): string {
  const bytes = [0x02, 0x42, address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255];
  return [...bytes, address & 255].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}
