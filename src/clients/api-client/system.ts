/** The endpoints about the daemon itself. */
import type { AuthConfig, EventMessage, SystemInfo, SystemVersion } from "#wire/docker";

import type { ApiClient } from "./client.ts";
import { filtersQuery, type Filters } from "./containers.ts";
import { jsonLines } from "./json-lines.ts";

/** Resolves when a daemon answers. */
export const ping = (client: ApiClient): Promise<void> =>
  client.send({ method: "HEAD", path: "/_ping", versioned: false });

export const systemVersion = (client: ApiClient): Promise<SystemVersion> =>
  client.json({ method: "GET", path: "/version" });

export const systemInfo = (client: ApiClient): Promise<SystemInfo> =>
  client.json({ method: "GET", path: "/info" });

/** Events as they happen; ends at `until`, or when the loop is left. */
export async function* systemEvents(
  client: ApiClient,
  options: {
    since?: string | undefined;
    until?: string | undefined;
    filters?: Filters;
    signal?: AbortSignal;
  } = {},
): AsyncGenerator<EventMessage> {
  yield* jsonLines<EventMessage>(
    await client.request({
      method: "GET",
      path: "/events",
      query: {
        since: options.since,
        until: options.until,
        filters: filtersQuery(options.filters),
      },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    }),
  );
}

/** Asks the daemon to try credentials at their registry. */
export const checkAuth = (
  client: ApiClient,
  auth: AuthConfig,
): Promise<{ Status: string; IdentityToken?: string }> =>
  client.json({ method: "POST", path: "/auth", json: auth });
