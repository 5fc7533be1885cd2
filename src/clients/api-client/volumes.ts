/** The endpoints about volumes. */
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

export const pruneVolumes = (
  client: ApiClient,
  filters: Filters = {},
): Promise<VolumePruneReport> =>
  client.json({
    method: "POST",
    path: "/volumes/prune",
    query: { filters: filtersQuery(filters) },
  });
