/**
 * Caches of elsewhere, for one build: `--cache-from`. What they say counts in the build that named them and is never
 * written to this engine's own records: trusting a cache is trusting the image that comes of it, and no more. Layers
 * are fetched when somebody reads them, or when they end in the image.
 */
import {
  EngineError,
  IMAGE_CONFIG_LIMIT_BYTES,
  invalid,
  kindOf,
  MANIFEST_LIMIT_BYTES,
  readAll,
  sentenceOf,
} from "#base";
import type { Lease } from "#engine/gc";
import type { Image, OnProgress } from "#engine/image";
import {
  cacheManifestIn,
  type Descriptor,
  type Digest,
  digestOf,
  parseManifestDocument,
  parseReference,
  withDefaultTag,
  formatReference,
} from "#oci";

import type { BuildRequest, CacheSource } from "./build-service.ts";
import type { Context } from "./context.ts";
import { decodeCache, inlineCacheIn, type SharedCache, type SharedStep } from "./shared-cache.ts";

/** A cached result that nobody has, or that is not what it should be: what needs it is made after all. */
export class LayersLost extends EngineError {
  readonly layers: readonly Digest[];

  constructor(layers: readonly Digest[], why: string, cause: unknown) {
    super("unavailable", `a cached layer could not be had: ${why}`, { cause });
    this.layers = layers;
  }
}

interface OpenedCache {
  readonly name: string;
  readonly cache: SharedCache;
  /** Null for a layer that it only knows of. */
  fetch(request: FetchRequest): Promise<void> | null;
}

interface FetchRequest {
  readonly diffId: Digest;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

export class ImportedCaches {
  readonly #context: Context;
  readonly #caches: readonly OpenedCache[];
  readonly #lost = new Set<Digest>();
  readonly #fetching = new Map<Digest, Promise<void>>();
  readonly #fetched = new Set<Digest>();

  private constructor(context: Context, caches: readonly OpenedCache[]) {
    this.#context = context;
    this.#caches = caches;
  }

  /** A cache that cannot be had is told, and is none. */
  static async open(context: Context, request: BuildRequest): Promise<ImportedCaches> {
    const opened = await Promise.all(
      request.cacheFrom.map(async (source) => {
        try {
          return await openCache(context, request, source);
        } catch (cause) {
          request.signal.throwIfAborted();
          const why = sentenceOf(cause);
          const text = `[Warning] failed to import the build cache ${nameOf(source)}: ${why}\n`;
          await request.onEvent({ type: "notice", text });
          return null;
        }
      }),
    );
    return new ImportedCaches(
      context,
      opened.filter((cache) => cache !== null),
    );
  }

  find(key: string): SharedStep | null {
    for (const { cache } of this.#caches) {
      const step = cache.steps.get(key);
      if (step !== undefined && !(step.layer !== null && this.#isLost(step.layer))) return step;
    }
    return null;
  }

  #isLost(diffId: Digest): boolean {
    return this.#lost.has(diffId) && !this.#context.layers.has(diffId);
  }

  /** What was read from layers, as somebody else found it. */
  input(asked: string): string | null {
    for (const { cache } of this.#caches) {
      const digest = cache.inputs.get(asked);
      if (digest !== undefined) return digest;
    }
    return null;
  }

  /** Makes layers be here. @throws LayersLost */
  async ensure(
    diffIds: readonly Digest[],
    request: { lease: Lease; signal: AbortSignal; onProgress: OnProgress },
  ): Promise<void> {
    const missing = diffIds.filter((diffId) => !this.#context.layers.has(diffId));
    if (missing.length === 0) return;
    request.lease.keep({ layers: missing });
    const results = await Promise.allSettled(
      missing.map((diffId) => this.#fetchOnce({ ...request, diffId })),
    );
    request.signal.throwIfAborted();
    const lost = missing.filter((_, index) => results[index]?.status === "rejected");
    if (lost.length === 0) return;
    for (const diffId of lost) this.#lost.add(diffId);
    const failed = results.find((result) => result.status === "rejected");
    throw new LayersLost(lost, sentenceOf(failed?.reason), failed?.reason);
  }

  async #fetchOnce(request: FetchRequest): Promise<void> {
    const { diffId } = request;
    let fetching = this.#fetching.get(diffId);
    if (fetching === undefined) {
      fetching = this.#fetch(request).finally(() => this.#fetching.delete(diffId));
      this.#fetching.set(diffId, fetching);
    }
    await fetching;
  }

  async #fetch(request: FetchRequest): Promise<void> {
    let failure: unknown = new Error(`${request.diffId} is in no cache`);
    this.#fetched.add(request.diffId);
    for (const cache of this.#caches) {
      const fetching = cache.fetch(request);
      if (fetching === null) continue;
      try {
        await fetching;
        return;
      } catch (cause) {
        request.signal.throwIfAborted();
        failure = cause;
      }
    }
    throw failure;
  }

  /** The build has ended: what no image of it needs may go. */
  release(): void {
    if (this.#fetched.size > 0) this.#context.gc.release({ layers: this.#fetched });
  }
}

const nameOf = (source: CacheSource): string =>
  source.kind === "registry" ? source.reference : source.name;

async function openCache(
  context: Context,
  request: BuildRequest,
  source: CacheSource,
): Promise<OpenedCache> {
  return source.kind === "registry"
    ? (localImage(context, source.reference) ?? (await fromRegistry(context, request, source)))
    : await fromClient(context, request, source);
}

/** An image that is here: its layers are as well, and no registry is asked. Null when there is none. */
function localImage({ images }: Context, reference: string): OpenedCache | null {
  let image: Image;
  try {
    image = images.resolve(reference);
  } catch (cause) {
    if (kindOf(cause) === "notFound") return null;
    throw cause;
  }
  const cache = inlineCacheIn(image.config);
  if (cache === null) throw invalid("the image has no inline cache");
  return { name: reference, cache, fetch: () => null };
}

async function fromRegistry(
  { images }: Context,
  request: BuildRequest,
  { reference }: Extract<CacheSource, { kind: "registry" }>,
): Promise<OpenedCache> {
  const named = withDefaultTag(parseReference(reference));
  const credentials = await request.credentials(named.domain);
  const remote = {
    reference: formatReference(named),
    ...(credentials === undefined ? {} : { credentials }),
  };
  const { manifest, config } = await images.fetchDocuments({ ...remote, signal: request.signal });
  const { cache, blobs } = decodeCache(manifest, config);
  return {
    name: reference,
    cache,
    fetch: ({ diffId, ...asked }) => {
      const descriptor = blobs.get(diffId);
      if (descriptor === undefined) return null;
      return images.fetchLayer({ ...remote, ...asked, descriptor, diffId });
    },
  };
}

async function fromClient(
  { layers }: Context,
  { signal }: BuildRequest,
  source: Extract<CacheSource, { kind: "given" }>,
): Promise<OpenedCache> {
  const bytes = await readBounded(await source.manifest(signal), MANIFEST_LIMIT_BYTES);
  const document = parseManifestDocument(bytes);
  const manifest =
    document.kind === "manifest"
      ? document.manifest
      : document.kind === "index"
        ? cacheManifestIn(document.index)
        : null;
  if (manifest === null) throw invalid("it is no cache manifest");
  const { digest } = manifest.config;
  const config = await readBounded(await source.blob(digest, signal), IMAGE_CONFIG_LIMIT_BYTES);
  if (digestOf(config) !== digest) throw invalid(`the config is not ${digest}`);
  const { cache, blobs } = decodeCache(manifest, config);
  const fetch = async (descriptor: Descriptor, { diffId, signal: until }: FetchRequest) => {
    await layers.write({
      source: await source.blob(descriptor.digest, until),
      descriptor: { digest: descriptor.digest, size: descriptor.size },
      diffId,
      signal: until,
    });
  };
  return {
    name: source.name,
    cache,
    fetch: (asked) => {
      const descriptor = blobs.get(asked.diffId);
      return descriptor === undefined ? null : fetch(descriptor, asked);
    },
  };
}

const readBounded = (stream: ReadableStream<Uint8Array>, limitBytes: number) =>
  readAll(stream, { limitBytes, tooLarge: () => invalid(`it is larger than ${limitBytes} bytes`) });
