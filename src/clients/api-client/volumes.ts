/** The endpoints about volumes. */
import { invalid } from "#base";
import type { Volume, VolumeCreate, VolumeList, VolumePruneReport } from "#wire/docker";

import { encodeName, type ApiClient } from "./client.ts";
import { filtersQuery, type Filters } from "./containers.ts";

const pathOf = (name: string): string => `/volumes/${encodeName(name)}`;

export const listVolumes = (client: ApiClient, filters: Filters = {}): Promise<VolumeList> =>
  client.json({ method: "GET", path: "/volumes", query: { filters: filtersQuery(filters) } });

export const createVolume = (client: ApiClient, json: Partial<VolumeCreate>): Promise<Volume> =>
  client.json({ method: "POST", path: "/volumes/create", json });

export const removeVolume = (client: ApiClient, name: string, force: boolean): Promise<void> =>
  client.send({ method: "DELETE", path: pathOf(name), query: { force } });

/** Changes when a cluster's volume may be used, as docker does: it asks for the volume first. */
export async function updateVolume(
  client: ApiClient,
  name: string,
  availability: string,
): Promise<void> {
  const volume = await client.json<{ ClusterVolume?: { Version?: { Index?: number } } }>({
    method: "GET",
    path: pathOf(name),
  });
  const { ClusterVolume: cluster } = volume;
  if (cluster === undefined) throw invalid("Can only update cluster volumes");
  await client.send({
    method: "PUT",
    path: pathOf(name),
    query: { version: cluster.Version?.Index ?? 0 },
    json: { Spec: { Availability: availability } },
  });
}

export const pruneVolumes = (
  client: ApiClient,
  filters: Filters = {},
): Promise<VolumePruneReport> =>
  client.json({
    method: "POST",
    path: "/volumes/prune",
    query: { filters: filtersQuery(filters) },
  });
