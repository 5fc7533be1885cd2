/** Events of containers, with the attributes Docker gives them: image, name and labels beside what is special. */
import type { Endpoint } from "#engine/network";

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

/** `network connect` and `network disconnect` of every endpoint. */
export function publishNetworkEvents(
  context: Pick<Context, "events" | "network">,
  id: string,
  action: "connect" | "disconnect",
): void {
  for (const endpoint of context.network.endpointsOf(id)) {
    publishNetworkEvent(context, endpoint, action);
  }
}

export function publishNetworkEvent(
  context: Pick<Context, "events">,
  { networkId, networkName, containerId, link }: Endpoint,
  action: "connect" | "disconnect",
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
