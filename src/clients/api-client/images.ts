/** The endpoints of images, one function each. */
import type {
  AuthConfig,
  ImageDeleteItem,
  ImageHistoryItem,
  ImageInspect,
  ImageSearchResult,
  ImagesPrune,
  ImageSummary,
  JsonMessage,
} from "#wire/docker";

import { encodeName, type ApiClient, type ApiResponse } from "./client.ts";
import { filtersQuery, type Filters } from "./containers.ts";
import { jsonLines } from "./json-lines.ts";

const pathOf = (name: string, action: string): string => `/images/${encodeName(name)}${action}`;

export const listImages = (
  client: ApiClient,
  options: { all?: boolean; digests?: boolean; manifests?: boolean; filters?: Filters } = {},
): Promise<ImageSummary[]> =>
  client.json({
    method: "GET",
    path: "/images/json",
    query: {
      all: options.all,
      digests: options.digests,
      manifests: options.manifests,
      filters: filtersQuery(options.filters),
    },
  });

/** A platform here is a JSON document: `{"os":"linux","architecture":"arm64"}`. */
export interface PlatformOption {
  readonly platform?: string | undefined;
}

export const inspectImage = (
  client: ApiClient,
  name: string,
  { platform }: PlatformOption = {},
): Promise<ImageInspect> =>
  client.json({ method: "GET", path: pathOf(name, "/json"), query: { platform } });

export const imageHistory = (
  client: ApiClient,
  name: string,
  { platform }: PlatformOption = {},
): Promise<ImageHistoryItem[]> =>
  client.json({ method: "GET", path: pathOf(name, "/history"), query: { platform } });

export const tagImage = (
  client: ApiClient,
  source: string,
  target: { repository: string; tag: string },
): Promise<void> =>
  client.send({
    method: "POST",
    path: pathOf(source, "/tag"),
    query: { repo: target.repository, tag: target.tag },
  });

export const removeImage = (
  client: ApiClient,
  name: string,
  options: { force?: boolean; noPrune?: boolean; platforms?: string | undefined } = {},
): Promise<ImageDeleteItem[]> =>
  client.json({
    method: "DELETE",
    path: pathOf(name, ""),
    query: { force: options.force, noprune: options.noPrune, platforms: options.platforms },
  });

export const pruneImages = (client: ApiClient, filters: Filters): Promise<ImagesPrune> =>
  client.json({
    method: "POST",
    path: "/images/prune",
    query: { filters: filtersQuery(filters) },
  });

/** What `X-Registry-Auth` carries: base64url of the JSON. */
export const registryAuthHeader = (auth: AuthConfig | undefined): Record<string, string> =>
  auth === undefined
    ? {}
    : { "X-Registry-Auth": Buffer.from(JSON.stringify(auth)).toString("base64url") };

export const searchImages = (
  client: ApiClient,
  options: {
    term: string;
    limit?: number | undefined;
    filters: Filters;
    auth?: AuthConfig | undefined;
  },
): Promise<ImageSearchResult[]> =>
  client.json({
    method: "GET",
    path: "/images/search",
    query: {
      term: options.term,
      limit: options.limit,
      filters: filtersQuery(options.filters),
    },
    headers: registryAuthHeader(options.auth),
  });

/** Progress lines of a pull; a failure after the first line arrives as a line with `error`. */
export async function* pullImage(
  client: ApiClient,
  options: {
    name: string;
    /** A tag or a digest; undefined pulls every tag. */
    tag?: string | undefined;
    platform?: string | undefined;
    auth?: AuthConfig | undefined;
    signal?: AbortSignal;
  },
): AsyncGenerator<JsonMessage> {
  yield* jsonLines<JsonMessage>(
    await client.request({
      method: "POST",
      path: "/images/create",
      query: { fromImage: options.name, tag: options.tag, platform: options.platform },
      headers: registryAuthHeader(options.auth),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    }),
  );
}

/** Progress lines of a push. */
export async function* pushImage(
  client: ApiClient,
  options: {
    name: string;
    tag?: string | undefined;
    platform?: string | undefined;
    auth?: AuthConfig | undefined;
  },
): AsyncGenerator<JsonMessage> {
  yield* jsonLines<JsonMessage>(
    await client.request({
      method: "POST",
      path: pathOf(options.name, "/push"),
      query: { tag: options.tag, platform: options.platform },
      // The API wants the header even when nobody is logged in.
      headers: registryAuthHeader(options.auth ?? {}),
    }),
  );
}

/** Sends an archive of images (tar, plain or compressed). */
export async function* loadImages(
  client: ApiClient,
  archive: AsyncIterable<Uint8Array>,
  options: { quiet?: boolean; platform?: string | undefined } = {},
): AsyncGenerator<JsonMessage> {
  yield* jsonLines<JsonMessage>(
    await client.request({
      method: "POST",
      path: "/images/load",
      // 0 must be said: left out means quiet to older daemons.
      query: { quiet: options.quiet === true ? 1 : 0, platform: options.platform },
      contentType: "application/x-tar",
      body: archive,
    }),
  );
}

/** An archive of images, as the daemon writes it. */
export const saveImages = (
  client: ApiClient,
  names: readonly string[],
  options: { platform?: string | undefined } = {},
): Promise<ApiResponse> => {
  const query = names.map((name) => `names=${encodeURIComponent(name)}`).join("&");
  return client.request({
    method: "GET",
    path: "/images/get",
    query: { platform: options.platform },
    rawQuery: query,
  });
};

/** Makes an image of a file tree: of a stream, or of what the daemon finds at a URL. */
export async function* importImage(
  client: ApiClient,
  options: {
    source: { stream: AsyncIterable<Uint8Array> } | { url: string };
    repository?: string | undefined;
    tag?: string | undefined;
    message?: string | undefined;
    changes?: readonly string[];
    platform?: string | undefined;
  },
): AsyncGenerator<JsonMessage> {
  const { source } = options;
  yield* jsonLines<JsonMessage>(
    await client.request({
      method: "POST",
      path: "/images/create",
      query: {
        fromSrc: "url" in source ? source.url : "-",
        repo: options.repository,
        tag: options.tag,
        message: options.message,
        platform: options.platform,
      },
      rawQuery: (options.changes ?? [])
        .map((change) => `changes=${encodeURIComponent(change)}`)
        .join("&"),
      ...("stream" in source ? { body: source.stream, contentType: "application/x-tar" } : {}),
    }),
  );
}
