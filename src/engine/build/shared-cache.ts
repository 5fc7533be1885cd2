/**
 * A build cache as a document, to be taken to another engine: which key gave which layer. Pure.
 *
 * The document is a config of BuildKit's media type in an OCI manifest whose layers are the steps' layers, so that
 * registries and tools keep it as they keep BuildKit's; `layers` in it is BuildKit's own list. What BuildKit calls
 * records is ours (`dev.naru.build.cache.v1`), since keys of two solvers never agree. There are no references between
 * records, so a document cannot go in circles. An image carries the same member in its config ("inline").
 */
import { IMAGE_CONFIG_LIMIT_BYTES, IMAGE_LAYER_LIMIT, invalid } from "#base";
import {
  CACHE_CONFIG_TYPE,
  type Descriptor,
  type Digest,
  digestOf,
  isDigest,
  isLayerType,
  isObject,
  type Manifest,
  MEDIA_TYPE,
  parseJsonObject,
} from "#oci";

const MEMBER = "dev.naru.build.cache.v1";
/** Records of one document; the largest builds have some thousands. */
const RECORD_LIMIT = 50_000;
const LAST_MS = 8.64e15;
const KEY = /^[0-9a-f]{64}$/;

/** How a cache's manifest is written. */
export interface CacheForm {
  /** An index with the layers as its entries, as before there were artifacts. */
  readonly isIndex: boolean;
  /** False: Docker's own media types, for an index. */
  readonly isOci: boolean;
}

/** What a step gave. */
export interface SharedStep {
  readonly layer: Digest | null;
  readonly createdMs: number;
}

export interface SharedCache {
  /** By key. */
  readonly steps: ReadonlyMap<string, SharedStep>;
  /** Digests of what was read from layers, by what was asked of which (`inputs` of the cache). */
  readonly inputs: ReadonlyMap<string, string>;
}

/** Where a cache's layers are, by diff id. */
export type LayerBlobs = ReadonlyMap<Digest, Descriptor>;

const bytesOf = (value: object): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(JSON.stringify(value));

/** The member that an image's config gets. */
export const inlineMember = (cache: SharedCache): Record<string, unknown> => ({
  [MEMBER]: {
    steps: [...cache.steps].map(([key, { layer, createdMs }]) => [key, layer ?? "", createdMs]),
    inputs: [...cache.inputs],
  },
});

/** @param diffIds of the layers, in the order of `layers` */
export function encodeCache(
  cache: SharedCache,
  diffIds: readonly Digest[],
  written: readonly Descriptor[],
  { isIndex, isOci }: CacheForm = { isIndex: false, isOci: true },
): { manifest: Uint8Array<ArrayBuffer>; config: Uint8Array<ArrayBuffer>; mediaType: string } {
  const layers = isOci ? written : written.map(dockerDescriptor);
  const config = bytesOf({
    layers: layers.map(({ digest, mediaType, size }, index) => ({
      blob: digest,
      parent: -1,
      annotations: { mediaType, diffID: diffIds[index], size },
    })),
    ...inlineMember(cache),
  });
  if (config.length > IMAGE_CONFIG_LIMIT_BYTES) throw invalid("the build cache is too large");
  const described = {
    mediaType: CACHE_CONFIG_TYPE,
    digest: digestOf(config),
    size: config.length,
  };
  if (isIndex) {
    const mediaType = isOci ? MEDIA_TYPE.ociIndex : MEDIA_TYPE.dockerManifestList;
    const index = { schemaVersion: 2, mediaType, manifests: [...layers, described] };
    return { manifest: bytesOf(index), config, mediaType };
  }
  const mediaType = MEDIA_TYPE.ociManifest;
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType,
    config: described,
    layers: [...layers],
  };
  return { manifest: bytesOf(manifest), config, mediaType };
}

/** The same bytes under Docker's names. */
function dockerDescriptor(descriptor: Descriptor): Descriptor {
  const { mediaType } = descriptor;
  const [, ending = ""] = /\.tar(?:\+(\w+))?$/.exec(mediaType) ?? [];
  const name = MEDIA_TYPE.dockerLayer + (ending === "" ? "" : `.${ending}`);
  return { ...descriptor, mediaType: name };
}

/** One cache of several: a key means the same in each. */
export function joinCaches(caches: readonly SharedCache[]): SharedCache {
  return {
    steps: new Map(caches.flatMap(({ steps }) => [...steps])),
    inputs: new Map(caches.flatMap(({ inputs }) => [...inputs])),
  };
}

/** A cache, or an image that has one in it. @throws EngineError "invalid" for what is none, or none of ours */
export function decodeCache(
  manifest: Pick<Manifest, "config" | "layers">,
  config: Uint8Array,
): { cache: SharedCache; blobs: LayerBlobs } {
  const json = parseJsonObject(config, "build cache");
  const isCache = manifest.config.mediaType === CACHE_CONFIG_TYPE;
  const member = json[MEMBER];
  if (member === undefined) {
    throw invalid(
      isCache ? "the cache was written by another builder" : "the image has no inline cache",
    );
  }
  const diffIds = isCache ? listedDiffIds(json["layers"], manifest.layers) : rootDiffIds(json);
  const blobs = new Map<Digest, Descriptor>();
  for (const [index, descriptor] of manifest.layers.entries()) {
    const diffId = diffIds[index];
    if (diffId !== undefined && isLayerType(descriptor.mediaType)) blobs.set(diffId, descriptor);
  }
  return { cache: readMember(member), blobs };
}

/** What an image that is here has in its config; null when it has none that can be read. */
export function inlineCacheIn(config: object): SharedCache | null {
  const member = (config as Record<string, unknown>)[MEMBER];
  try {
    return member === undefined ? null : readMember(member);
  } catch {
    return null;
  }
}

function listedDiffIds(
  value: unknown,
  layers: readonly Descriptor[],
): readonly (Digest | undefined)[] {
  if (!Array.isArray(value) || value.length > IMAGE_LAYER_LIMIT) throw invalid("invalid layers");
  const byBlob = new Map<unknown, Digest>();
  for (const item of value as unknown[]) {
    if (!isObject(item) || !isObject(item["annotations"])) continue;
    const { diffID } = item["annotations"];
    if (typeof diffID === "string" && isDigest(diffID)) byBlob.set(item["blob"], diffID);
  }
  return layers.map(({ digest }) => byBlob.get(digest));
}

function rootDiffIds(json: Readonly<Record<string, unknown>>): readonly (Digest | undefined)[] {
  const { rootfs } = json;
  const diffIds = isObject(rootfs) ? rootfs["diff_ids"] : undefined;
  if (!Array.isArray(diffIds)) return [];
  return diffIds.map((item: unknown) =>
    typeof item === "string" && isDigest(item) ? item : undefined,
  );
}

function readMember(value: unknown): SharedCache {
  if (!isObject(value)) throw invalid("invalid build cache: no records");
  const steps = new Map<string, SharedStep>();
  for (const item of listOf(value["steps"])) {
    const [key, layer, createdMs] = tupleOf(item);
    const isGood =
      typeof key === "string" &&
      KEY.test(key) &&
      typeof layer === "string" &&
      (layer === "" || isDigest(layer)) &&
      typeof createdMs === "number" &&
      Number.isInteger(createdMs) &&
      Math.abs(createdMs) <= LAST_MS;
    if (!isGood) throw invalid("invalid build cache: a record is none");
    steps.set(key, { layer: layer === "" ? null : layer, createdMs });
  }
  const inputs = new Map<string, string>();
  for (const item of listOf(value["inputs"])) {
    const [asked, digest] = tupleOf(item);
    const isGood =
      typeof asked === "string" &&
      KEY.test(asked) &&
      typeof digest === "string" &&
      KEY.test(digest);
    if (!isGood) throw invalid("invalid build cache: an input is none");
    inputs.set(asked, digest);
  }
  return { steps, inputs };
}

function listOf(value: unknown): readonly unknown[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  if (!Array.isArray(value) || list.length > RECORD_LIMIT) {
    throw invalid("invalid build cache: no list, or too long a one");
  }
  return list;
}

const tupleOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
