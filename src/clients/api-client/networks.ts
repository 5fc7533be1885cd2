/** The endpoints about networks. */
import type { EndpointSettings, NetworkCreateRequest, NetworkInspect } from "#wire/docker";

import { encodeName, type ApiClient } from "./client.ts";
import { filtersQuery, type Filters } from "./containers.ts";

const pathOf = (network: string): string => `/networks/${encodeName(network)}`;

export const listNetworks = (client: ApiClient, filters: Filters = {}): Promise<NetworkInspect[]> =>
  client.json({ method: "GET", path: "/networks", query: { filters: filtersQuery(filters) } });

export const createNetwork = (
  client: ApiClient,
  json: Partial<NetworkCreateRequest>,
): Promise<{ Id: string; Warning: string }> =>
  client.json({ method: "POST", path: "/networks/create", json });

export const removeNetwork = (client: ApiClient, network: string): Promise<void> =>
  client.send({ method: "DELETE", path: pathOf(network) });

export const connectNetwork = (
  client: ApiClient,
  network: string,
  json: { Container: string; EndpointConfig: Partial<EndpointSettings> },
): Promise<void> => client.send({ method: "POST", path: `${pathOf(network)}/connect`, json });

export const disconnectNetwork = (
  client: ApiClient,
  network: string,
  json: { Container: string; Force: boolean },
): Promise<void> => client.send({ method: "POST", path: `${pathOf(network)}/disconnect`, json });

export const pruneNetworks = (
  client: ApiClient,
  filters: Filters,
): Promise<{ NetworksDeleted: string[] | null }> =>
  client.json({
    method: "POST",
    path: "/networks/prune",
    query: { filters: filtersQuery(filters) },
  });
