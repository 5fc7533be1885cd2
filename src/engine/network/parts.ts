/** What users' networks and the default bridge say in the same words. Pure. */
import type { AddressPool, Network } from "./network-service.ts";

type Family = AddressPool["family"];
type Told = Pick<Network, "custom" | "predefined">;

/** null for a network without this family, and for a default bridge of which nothing but its address is known. */
export const poolOf = ({ custom, predefined }: Told, family: Family): AddressPool | null =>
  (custom ?? predefined)?.pools.find((pool) => pool.family === family) ?? null;

/** Of the driver; as given. */
export const optionsOf = ({ custom, predefined }: Told): Readonly<Record<string, string>> =>
  (custom ?? predefined)?.options ?? {};

/** Where default routes of its containers lead; null: nowhere. */
export function gatewayOf(network: Network, family: Family): string | null {
  if (network.custom?.internal === true) return null;
  const own = family === "ipv4" ? network.gateway : (poolOf(network, "ipv6")?.gateway ?? null);
  return network.predefined?.gateways[family] ?? own;
}

/** Its bridge may lead to other machines: it was there before the network, or default routes lead there. */
export const leadsElsewhere = ({ custom, predefined }: Told): boolean =>
  custom?.foreignLink === true ||
  (predefined?.gateways.ipv4 ?? predefined?.gateways.ipv6 ?? null) !== null;
