/** What becomes of containers that live: usage, changed limits, and clearing away those that ended. */
import type { ContainerStats, Resources, RestartPolicy } from "#wire/docker";

import { encodeName, type ApiClient } from "./client.ts";
import { filtersQuery, type Filters } from "./containers.ts";
import { jsonLines } from "./json-lines.ts";

const statsPath = (id: string): string => `/containers/${encodeName(id)}/stats`;

/** A sample a second until the container is removed, or the loop is left. */
export async function* streamStats(
  client: ApiClient,
  id: string,
  signal: AbortSignal,
): AsyncGenerator<ContainerStats> {
  const response = await client.request({
    method: "GET",
    path: statsPath(id),
    query: { stream: 1 },
    signal,
  });
  // An idle stream is not read, and would not see the abort.
  const stop = () => response.close();
  signal.addEventListener("abort", stop, { once: true });
  try {
    yield* jsonLines<ContainerStats>(response);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** One sample that knows of the second before it. */
export const readStats = (client: ApiClient, id: string): Promise<ContainerStats> =>
  // 0 must be said: left out means a stream.
  client.json({ method: "GET", path: statsPath(id), query: { stream: 0 } });

export type UpdateOptions = Partial<Resources> & { RestartPolicy?: RestartPolicy };

export const updateContainer = (
  client: ApiClient,
  id: string,
  json: UpdateOptions,
): Promise<{ Warnings: string[] | null }> =>
  client.json({ method: "POST", path: `/containers/${encodeName(id)}/update`, json });

export const pruneContainers = (
  client: ApiClient,
  filters: Filters,
): Promise<{ ContainersDeleted: string[] | null; SpaceReclaimed: number }> =>
  client.json({
    method: "POST",
    path: "/containers/prune",
    query: { filters: filtersQuery(filters) },
  });
