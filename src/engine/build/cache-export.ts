/** What a build knows, for other engines: `--cache-to`. */
import { sentenceOf } from "#base";
import { type Digest, parseReference } from "#oci";

import type { BuildRequest, CacheTarget, SolvedBuild } from "./build-service.ts";
import type { Context } from "./context.ts";
import { packLayers } from "./pack.ts";
import { encodeCache, joinCaches, type SharedCache, type SharedStep } from "./shared-cache.ts";

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

type Exporting = Pick<BuildRequest, "credentials" | "signal" | "onEvent">;

/** @throws EngineError unless the target's errors are to be ignored */
export async function exportCache(
  context: Context,
  request: Exporting,
  target: Exclude<CacheTarget, { kind: "inline" }>,
  exported: CacheExport,
): Promise<void> {
  const name = target.kind === "registry" ? target.reference : target.name;
  try {
    await request.onEvent({ type: "notice", text: `exporting the build cache to ${name}\n` });
    if (target.kind === "registry") await push(context, request, target, exported);
    else await give(context, target, exported);
  } catch (cause) {
    if (!target.ignoreError || request.signal.aborted) throw cause;
    const text = `[Warning] failed to export the build cache to ${name}: ${sentenceOf(cause)}\n`;
    await request.onEvent({ type: "notice", text });
  }
}

/** What several builds know, as one cache. */
export async function exportCaches(
  context: Context,
  builds: readonly Pick<SolvedBuild, "cache">[],
  request: Exporting & Pick<BuildRequest, "cacheTo">,
): Promise<void> {
  const kept = builds.flatMap(({ cache }) => cache ?? []);
  const exported = {
    cache: joinCaches(kept.map(({ shared }) => shared)),
    imageLayers: [...new Set(kept.flatMap(({ imageLayers }) => imageLayers))],
    signal: request.signal,
  };
  for (const target of request.cacheTo) {
    if (target.kind !== "inline") await exportCache(context, request, target, exported);
  }
}

/** What is only known of, and is not here, cannot be given away. */
const presentLayers = ({ layers }: Context, exported: CacheExport, mode: "min" | "max"): Digest[] =>
  exportedLayers(exported, mode).filter((layer) => layers.has(layer));

async function push(
  context: Context,
  { credentials: credentialsOf }: Exporting,
  target: Extract<CacheTarget, { kind: "registry" }>,
  exported: CacheExport,
): Promise<void> {
  const { reference, mode, form, compression = null } = target;
  const diffIds = presentLayers(context, exported, mode);
  const credentials = await credentialsOf(parseReference(reference).domain);
  await context.images.pushCache({
    reference,
    ...(credentials === undefined ? {} : { credentials }),
    diffIds,
    compression,
    encode: (descriptors) => encodeCache(exported.cache, diffIds, descriptors, form),
    signal: exported.signal,
    onProgress: () => undefined,
  });
}

/** As plain tars, unless something else is asked for: a folder of the same machine is quicker to write than gzip. */
async function give(
  context: Context,
  target: Extract<CacheTarget, { kind: "given" }>,
  exported: CacheExport,
): Promise<void> {
  const { signal, cache } = exported;
  const diffIds = presentLayers(context, exported, target.mode);
  const { type, level } = target.compression ?? { type: "uncompressed", level: null };
  using packed = await packLayers(context, diffIds, {
    compression: { type, level },
    isOci: true,
    signal,
  });
  const descriptors = packed.layers.map(({ descriptor }) => descriptor);
  const written = encodeCache(cache, diffIds, descriptors, target.form);
  const blobs = new Map(packed.layers.map(({ descriptor, open }) => [descriptor, open]));
  await target.write({ ...written, blobs, signal });
}
