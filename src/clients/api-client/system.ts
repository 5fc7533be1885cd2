/** The endpoints about the daemon itself. */
import type { AuthConfig, SystemDiskUsage, SystemInfo, SystemVersion } from "#wire/docker";

import type { ApiClient } from "./client.ts";
import { filtersQuery, type Filters } from "./containers.ts";
import { linesOf } from "./json-lines.ts";

/** Resolves when a daemon answers. */
export const ping = (client: ApiClient): Promise<void> =>
  client.send({ method: "HEAD", path: "/_ping", versioned: false });

export const systemVersion = (client: ApiClient): Promise<SystemVersion> =>
  client.json({ method: "GET", path: "/version" });

export const systemInfo = (client: ApiClient): Promise<SystemInfo> =>
  client.json({ method: "GET", path: "/info" });

/** What images, containers and volumes take on disk. */
export const diskUsage = (client: ApiClient): Promise<SystemDiskUsage> =>
  client.json({ method: "GET", path: "/system/df" });

export interface EventsOptions {
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly filters?: Filters;
  readonly signal?: AbortSignal;
}

/** The same as the JSON texts on the wire: `timeNano` is exact only there. */
export async function* systemEventLines(
  client: ApiClient,
  options: EventsOptions = {},
): AsyncGenerator<string> {
  const response = await client.request({
    method: "GET",
    path: "/events",
    query: {
      since: options.since,
      until: options.until,
      filters: filtersQuery(options.filters),
    },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  try {
    yield* linesOf(response);
  } finally {
    response.close();
  }
}

/** Asks the daemon to try credentials at their registry. */
export const checkAuth = (
  client: ApiClient,
  auth: AuthConfig,
): Promise<{ Status: string; IdentityToken?: string }> =>
  client.json({ method: "POST", path: "/auth", json: auth });
