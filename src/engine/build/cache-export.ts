/** What a build knows, for other engines: `--cache-to`. */
import { sentenceOf } from "#base";
import { type Descriptor, type Digest, MEDIA_TYPE, parseReference } from "#oci";

import type { BuildRequest, CacheTarget } from "./build-service.ts";
import type { Context } from "./context.ts";
import { encodeCache, type SharedCache, type SharedStep } from "./shared-cache.ts";

/** A manifest names no more layers than an image may have. */
const LAYER_LIMIT = 480;

/** What a build has found or made. */
export class TakenSteps {
  readonly #steps = new Map<string, SharedStep>();
  readonly #inputs = new Map<string, string>();

  add(key: string, step: SharedStep): void {
    this.#steps.set(key, step);
  }

  addInput(asked: string, digest: string): void {
    this.#inputs.set(asked, digest);
  }

  /** @param epochSec SOURCE_DATE_EPOCH: two builds of one thing then share the same bytes */
  cache(epochSec: number | null): SharedCache {
    if (epochSec === null) return { steps: this.#steps, inputs: this.#inputs };
    const sameTime = [...this.#steps].map(([key, { layer }]): [string, SharedStep] => [
      key,
      { layer, createdMs: epochSec * 1000 },
    ]);
    return { steps: new Map(sameTime.toSorted(byName)), inputs: sorted(this.#inputs) };
  }
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number =>
  a < b ? -1 : 1;
const sorted = <T>(map: ReadonlyMap<string, T>): Map<string, T> => new Map([...map].sort(byName));

export interface CacheExport {
  readonly cache: SharedCache;
  /** Layers of the image itself: `mode=min` takes only what is among them. */
  readonly imageLayers: readonly Digest[];
  readonly signal: AbortSignal;
}

/** Layers of a cache that go along, those of the image first. */
export function exportedLayers(
  { cache, imageLayers }: Pick<CacheExport, "cache" | "imageLayers">,
  mode: "min" | "max",
): Digest[] {
  const all = new Set([...cache.steps.values()].flatMap(({ layer }) => layer ?? []));
  const own = imageLayers.filter((layer) => all.has(layer));
  const chosen = mode === "min" ? own : [...own, ...all];
  return [...new Set(chosen)].slice(0, LAYER_LIMIT);
}

/** @throws EngineError unless the target's errors are to be ignored */
export async function exportCache(
  context: Context,
  request: BuildRequest,
  target: Exclude<CacheTarget, { kind: "inline" }>,
  exported: CacheExport,
): Promise<void> {
  const name = target.kind === "registry" ? target.reference : target.name;
  try {
    await request.onEvent({ type: "notice", text: `exporting the build cache to ${name}\n` });
    await write(context, request, target, exported);
  } catch (cause) {
    if (!target.ignoreError || request.signal.aborted) throw cause;
    const text = `[Warning] failed to export the build cache to ${name}: ${sentenceOf(cause)}\n`;
    await request.onEvent({ type: "notice", text });
  }
}

async function write(
  { images, layers }: Context,
  { credentials: credentialsOf }: BuildRequest,
  target: Exclude<CacheTarget, { kind: "inline" }>,
  exported: CacheExport,
): Promise<void> {
  const { cache, signal } = exported;
  // What is only known of, and is not here, cannot be given away.
  const diffIds = exportedLayers(exported, target.mode).filter((layer) => layers.has(layer));
  const encode = (descriptors: readonly Descriptor[]) => encodeCache(cache, diffIds, descriptors);
  if (target.kind === "given") {
    const descriptors = diffIds.map((digest) => {
      const size = layers.info(digest)?.tarSizeBytes ?? 0;
      return { mediaType: MEDIA_TYPE.ociLayer, digest, size };
    });
    const blobs = new Map(
      descriptors.map((descriptor) => [descriptor, () => layers.tar(descriptor.digest)]),
    );
    return await target.write({ ...encode(descriptors), blobs, signal });
  }
  const { reference } = target;
  const credentials = await credentialsOf(parseReference(reference).domain);
  await images.pushCache({
    reference,
    ...(credentials === undefined ? {} : { credentials }),
    diffIds,
    encode,
    signal,
    onProgress: () => undefined,
  });
}
