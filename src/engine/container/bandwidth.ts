/** A container's labels as limits of all its endpoints: what an endpoint says of itself goes first. */
import { invalid } from "#base";
import { bandwidthOptions, checkBandwidth, type EndpointRequest } from "#engine/network";

import type { CreateRequest } from "./config.ts";
import type { ContainerRecord } from "./records.ts";

/** A wish as it goes to the network room. */
export function withLimits(
  { config }: Pick<ContainerRecord, "config">,
  request: EndpointRequest,
): EndpointRequest {
  const limits = bandwidthOptions(config.labels);
  if (Object.keys(limits).length === 0) return request;
  return { ...request, driverOptions: { ...limits, ...request.driverOptions } };
}

/** @throws EngineError "invalid" for limits that no start could keep */
export function checkLimits({ config, host, networks = [] }: CreateRequest): void {
  const limits = bandwidthOptions(config.labels);
  const { mode } = host.networkMode;
  if (Object.keys(limits).length > 0 && (mode === "host" || mode === "container")) {
    throw invalid(
      `conflicting options: the label ${Object.keys(limits)[0]} limits a network of the container's own, and it has none`,
    );
  }
  checkBandwidth("bridge", limits);
  for (const { driverOptions } of networks) checkBandwidth("bridge", driverOptions ?? {});
}
