/** Events of containers, with the attributes Docker gives them: image, name and labels beside what is special. */
import { kindOf } from "#base";
import type { Endpoint, EndpointRequest, Network } from "#engine/network";

import type { Context } from "./context.ts";
import type { ContainerRecord } from "./records.ts";

export function publishEvent(
  context: Pick<Context, "events">,
  record: ContainerRecord,
  action: string,
  attributes: Readonly<Record<string, string>> = {},
): void {
  context.events.publish({
    type: "container",
    action,
    actorId: record.id,
    attributes: {
      ...record.config.labels,
      image: record.config.image,
      name: record.name,
      ...attributes,
    },
  });
}

type NetworkAction = "connect" | "disconnect";

/** `network connect` and `network disconnect` of every network that a container is in while it runs. */
export function publishNetworkEvents(
  context: Pick<Context, "events" | "network">,
  record: ContainerRecord,
  action: NetworkAction,
): void {
  const { id, config, host } = record;
  const { mode } = host.networkMode;
  if (mode === "container" || config.networkDisabled) return;
  const endpoints = context.network.endpointsOf(id);
  for (const endpoint of endpoints) publishNetworkEvent(context, endpoint, action);
  // The host's network, and none at all, are networks too.
  if (endpoints.length === 0 && mode !== "network") publishOf(context, { id, action, name: mode });
}

/** Of a start that failed: Docker tells it of every network that was asked for, reached or not. */
export function publishNetworksLeft(
  context: Pick<Context, "events" | "network">,
  { id, config, host }: ContainerRecord,
  asked: readonly EndpointRequest[],
): void {
  const { mode } = host.networkMode;
  if (mode === "container" || config.networkDisabled) return;
  const names = mode === "network" ? asked.map(({ network }) => network) : [mode];
  for (const name of names) publishOf(context, { id, action: "disconnect", name });
}

function publishOf(
  { events, network }: Pick<Context, "events" | "network">,
  { id, action, name }: { id: string; action: NetworkAction; name: string },
): void {
  let found: Network;
  try {
    found = network.resolve(name);
  } catch (cause) {
    if (kindOf(cause) === "notFound") return;
    throw cause;
  }
  events.publish({
    type: "network",
    action,
    actorId: found.id,
    attributes: { container: id, name: found.name, type: found.driver },
  });
}

export function publishNetworkEvent(
  context: Pick<Context, "events">,
  { networkId, networkName, containerId, link }: Endpoint,
  action: NetworkAction,
): void {
  context.events.publish({
    type: "network",
    action,
    actorId: networkId,
    attributes: {
      container: containerId,
      name: networkName,
      type: link.device?.kind ?? "bridge",
    },
  });
}
