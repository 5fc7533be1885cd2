/** The endpoints of builds. */
import type { AuthConfig, BuildMessage, BuildPruneReport } from "#wire/docker";

import type { ApiClient, ApiResponse, Hijacked } from "./client.ts";
import { filtersQuery, type Filters } from "./containers.ts";
import { jsonLines } from "./json-lines.ts";

export interface BuildImageRequest {
  /** The query of `POST /build`, encoded: names repeat in it. */
  readonly query: string;
  /** An archive; undefined where the engine finds the context itself. */
  readonly context: AsyncIterable<Uint8Array> | undefined;
  /** Credentials by registry. */
  readonly auths: Readonly<Record<string, AuthConfig>>;
  /** Values of secrets, by id. Naru's own. */
  readonly secrets: ReadonlyMap<string, Uint8Array>;
  /** Sockets of ssh agents on the daemon's host, by id. Naru's own. */
  readonly agents: ReadonlyMap<string, string>;
}

const inBase64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64");

export async function* buildImage(
  client: ApiClient,
  { query, context, auths, secrets, agents }: BuildImageRequest,
): AsyncGenerator<BuildMessage> {
  const headers: Record<string, string> = { "X-Registry-Config": inBase64(auths) };
  if (secrets.size > 0) {
    const values = [...secrets].map(([id, value]) => [id, Buffer.from(value).toString("base64")]);
    headers["X-Naru-Build-Secrets"] = inBase64(Object.fromEntries(values));
  }
  if (agents.size > 0) headers["X-Naru-Build-Agents"] = inBase64(Object.fromEntries(agents));
  yield* jsonLines<BuildMessage>(
    await client.request({
      method: "POST",
      path: "/build",
      rawQuery: query,
      headers,
      ...(context === undefined ? {} : { body: context, contentType: "application/x-tar" }),
    }),
  );
}

/** One array for each thing of a folder; see `offerOf` of the CLI. */
export type OfferedContext = readonly (readonly (string | number)[])[];

/** Naru's own: which of a folder's files the engine lacks. @throws ApiError where the whole context has to be sent */
export const offerContext = (
  client: ApiClient,
  key: string,
  entries: OfferedContext,
): Promise<{ id: string; needed: number[] }> =>
  client.json({ method: "POST", path: "/build/context", query: { key }, json: entries });

/** Naru's own: a piece of a cache that a build wants, by the name that it gave. */
export const answerWanted = (
  client: ApiClient,
  id: string,
  body: AsyncIterable<Uint8Array>,
): Promise<void> =>
  client.send({
    method: "POST",
    path: `/build/cache/${id}`,
    body,
    contentType: "application/octet-stream",
  });

/** Naru's own: there is no such piece, and why. */
export const refuseWanted = (client: ApiClient, id: string, error: string): Promise<void> =>
  client.send({ method: "POST", path: `/build/cache/${id}`, query: { error } });

/** Naru's own: a piece of the cache that a build offers. */
export const fetchOffered = (
  client: ApiClient,
  { id, digest }: { id: string; digest: string },
): Promise<ApiResponse> => client.request({ method: "GET", path: `/build/cache/${id}/${digest}` });

/** Naru's own: all pieces are here, or why they are not. */
export const endOffered = (client: ApiClient, id: string, error = ""): Promise<void> =>
  client.send({ method: "DELETE", path: `/build/cache/${id}`, query: { error } });

/** Naru's own: a shell in a step that has failed. Raw in both directions. */
export const enterFailed = (
  client: ApiClient,
  id: string,
  { rows, columns }: { rows: number; columns: number },
): Promise<Hijacked> =>
  client.hijack({ method: "POST", path: `/build/shell/${id}`, query: { h: rows, w: columns } });

export const resizeFailed = (
  client: ApiClient,
  id: string,
  { rows, columns }: { rows: number; columns: number },
): Promise<void> =>
  client.send({
    method: "POST",
    path: `/build/shell/${id}/resize`,
    query: { h: rows, w: columns },
  });

/** Naru's own: nobody will enter. */
export const leaveFailed = (client: ApiClient, id: string): Promise<void> =>
  client.send({ method: "DELETE", path: `/build/shell/${id}` });

export const pruneBuildCache = (
  client: ApiClient,
  options: { all: boolean; keepStorageBytes: number; filters: Filters },
): Promise<BuildPruneReport> =>
  client.json({
    method: "POST",
    path: "/build/prune",
    query: {
      all: options.all,
      "keep-storage": options.keepStorageBytes || undefined,
      filters: filtersQuery(options.filters),
    },
  });
