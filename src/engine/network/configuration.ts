/**
 * Configuration-only networks: options under a name, which other networks are made from. Nothing of them is on the host.
 * Sentences are Docker's. Pure.
 */
import { forbidden, notFound } from "#base";

import type { CustomNetwork, Network, NetworkRequest } from "./network-service.ts";

/** A network that nothing can join: its pools are as asked for, and taken by nobody. */
export const isConfiguration = ({ custom }: Pick<Network, "custom">): boolean =>
  custom?.configOnly === true;

/** @throws EngineError "forbidden" for what belongs to a network that is used */
export function checkConfiguration(request: NetworkRequest): void {
  if (request.configFrom !== undefined) {
    throw forbidden("a configuration network cannot depend on another configuration network");
  }
  if (!request.internal && !request.attachable && request.scope === undefined) return;
  throw forbidden(
    "configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported.",
  );
}

/** What Docker keeps such a network as, so that nothing takes it for one that works. */
export const CONFIGURATION_DRIVER = "null";

/**
 * The request with what the named configuration says.
 * @throws EngineError "forbidden" when it says something itself, "notFound" when there is no such configuration
 */
export function withConfiguration(
  request: NetworkRequest,
  networks: readonly Network[],
): NetworkRequest {
  const { configFrom, ipam } = request;
  if (configFrom === undefined) return request;
  const saysOwn =
    !request.ipv4 ||
    request.ipv6 ||
    Object.keys(request.labels).length > 0 ||
    Object.keys(ipam.options).length > 0 ||
    ipam.pools.length > 0;
  if (saysOwn) {
    throw forbidden(
      "user specified configurations are not supported if the network depends on a configuration network",
    );
  }
  if (Object.keys(request.options).length > 0) {
    throw forbidden(
      "network driver options are not supported if the network depends on a configuration network",
    );
  }
  const found = networks.find((one) => isConfiguration(one) && one.name === configFrom);
  if (!found?.custom) throw notFound(`configuration network "${configFrom}" does not exist`);
  return { ...request, ...settingsOf(found.custom) };
}

/** A configuration's own part, as it was asked for. */
const settingsOf = ({ ipv4, ipv6, labels, options, ipam, pools }: CustomNetwork) => ({
  ipv4,
  ipv6,
  labels,
  options,
  ipam: {
    ...ipam,
    pools: pools.map(({ subnet, gateway, ipRange, auxiliary }) => ({
      subnet,
      gateway: gateway ?? "",
      ipRange: ipRange ?? "",
      auxiliary,
    })),
  },
});

/** @throws EngineError "forbidden" while networks are made from it */
export function checkUnused({ name, custom }: Network, networks: readonly Network[]): void {
  if (custom?.configOnly !== true) return;
  if (!networks.some((other) => other.custom?.configFrom === name)) return;
  throw forbidden(`error while removing network: configuration network "${name}" is in use`);
}
