/** Which images an archive holds: Docker's manifest.json first, else the index of an OCI layout. */
import { invalid, notFound } from "#base";
import {
  chooseManifest,
  type Descriptor,
  type Digest,
  digestOf,
  formatPlatform,
  formatReference,
  hostPlatform,
  type ImageConfig,
  isIndexType,
  isManifestType,
  parseImageConfig,
  parseIndex,
  parseManifestDocument,
  parseReference,
  type Platform,
  platformRank,
  withDefaultTag,
} from "#oci";

import type { ArchivedLayer, ImageArchive } from "./archive.ts";

const IMAGES_LIMIT = 4096;
const INDEX_DEPTH_LIMIT = 4;

/** One image of an archive, checked: its layers are in the layer store and are what the config says. */
export interface ArchivedImage {
  readonly configBytes: Uint8Array;
  readonly config: ImageConfig;
  /** Whole names with tags. */
  readonly names: readonly string[];
  /** Its manifest's bytes, where the archive has one. */
  readonly manifest: Uint8Array | null;
}

/** @param platform whose images are meant; null: all of Docker's list, or this host's of a layout */
export async function imagesIn(
  archive: ImageArchive,
  platform: Platform | null = null,
): Promise<ArchivedImage[]> {
  if (archive.has("manifest.json")) return await dockerImages(archive, platform);
  if (archive.has("index.json")) return await layoutImages(archive, platform ?? hostPlatform());
  throw invalid("open manifest.json: no such file or directory: this is not an image archive");
}

interface DockerEntry {
  readonly Config: string;
  readonly Layers: readonly string[];
  readonly RepoTags: readonly string[];
}

function dockerEntries(bytes: Uint8Array): DockerEntry[] {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw invalid("invalid manifest.json: not a JSON document", { cause });
  }
  const bad = () => invalid("invalid manifest.json: not a list of images");
  if (!Array.isArray(json) || json.length > IMAGES_LIMIT) throw bad();
  const isTexts = (value: unknown): value is string[] =>
    Array.isArray(value) && value.every((item) => typeof item === "string");
  return (json as (Record<string, unknown> | null)[]).map((entry) => {
    const { Config, Layers, RepoTags } = entry ?? {};
    const layers = Layers ?? [];
    const tags = RepoTags ?? [];
    if (typeof Config !== "string" || !isTexts(layers) || !isTexts(tags)) throw bad();
    return { Config, Layers: layers, RepoTags: tags };
  });
}

async function dockerImages(
  archive: ImageArchive,
  platform: Platform | null,
): Promise<ArchivedImage[]> {
  const images: ArchivedImage[] = [];
  const others: string[] = [];
  for (const entry of dockerEntries(archive.document("manifest.json"))) {
    const configBytes = archive.document(entry.Config);
    const config = parseImageConfig(configBytes);
    if (platform !== null && platformRank(platform, config) === null) {
      others.push(formatPlatform(config));
      continue;
    }
    const layers: ArchivedLayer[] = [];
    for (const name of entry.Layers) layers.push(await archive.layer(name));
    checkLayers(config, layers);
    const names = entry.RepoTags.map((tag) => formatReference(withDefaultTag(parseReference(tag))));
    images.push({ configBytes, config, names, manifest: null });
  }
  if (platform !== null && images.length === 0 && others.length > 0) {
    throw notFound(
      `no image in the archive matches the requested platform (${formatPlatform(platform)}): it holds ${others.join(", ")}`,
    );
  }
  return images;
}

function checkLayers(config: ImageConfig, layers: readonly ArchivedLayer[]): void {
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== layers.length) {
    throw invalid(
      `invalid manifest, layers length mismatch: expected ${diffIds.length}, got ${layers.length}`,
    );
  }
  for (const [index, diffId] of diffIds.entries()) {
    const got = layers[index]?.diffId;
    if (got === diffId) continue;
    throw invalid(`invalid diffID for layer ${index}: expected "${diffId}", got "${got}"`);
  }
}

/** A manifest of the layout and what its index calls it. */
interface Found {
  readonly descriptor: Descriptor;
  readonly names: readonly string[];
}

async function layoutImages(archive: ImageArchive, wanted: Platform): Promise<ArchivedImage[]> {
  const index = parseIndex(archive.document("index.json"));
  const found = index.manifests.flatMap((descriptor) =>
    manifestsOf({ archive, wanted }, descriptor, 1),
  );
  const byDigest = new Map<Digest, Found>();
  for (const { descriptor, names } of found) {
    if (descriptor.platform && platformRank(wanted, descriptor.platform) === null) continue;
    const before = byDigest.get(descriptor.digest)?.names ?? [];
    byDigest.set(descriptor.digest, { descriptor, names: [...before, ...names] });
  }
  if (byDigest.size === 0) {
    throw notFound(`no matching manifest for ${formatPlatform(wanted)} in the archive's index`);
  }
  const images: ArchivedImage[] = [];
  for (const one of byDigest.values()) images.push(await layoutImage(archive, one));
  return images;
}

/** The manifests a descriptor leads to: itself, or the best of the index it names. */
function manifestsOf(
  search: { archive: ImageArchive; wanted: Platform },
  descriptor: Descriptor,
  depth: number,
): Found[] {
  const { archive, wanted } = search;
  const names = namesOf(descriptor);
  if (isManifestType(descriptor.mediaType)) return [{ descriptor, names }];
  if (!isIndexType(descriptor.mediaType)) return [];
  if (depth > INDEX_DEPTH_LIMIT) throw invalid("invalid index: nested too deeply");
  const { manifests } = parseIndex(archive.documentOf(descriptor.digest));
  const best = chooseManifest(manifests, wanted);
  // An index of an index, or entries that name no platform: each is followed.
  const next = best ? [best] : manifests.filter(({ platform }) => platform === undefined);
  return next
    .filter(({ digest }) => archive.has(`blobs/sha256/${digest.slice("sha256:".length)}`))
    .flatMap((inner) => manifestsOf(search, inner, depth + 1))
    .map((inner) => ({ ...inner, names: [...names, ...inner.names] }));
}

const NAME_ANNOTATIONS = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/** A whole name; a bare tag, which names no repository, is none. */
function namesOf({ annotations }: Descriptor): string[] {
  for (const key of NAME_ANNOTATIONS) {
    const text = annotations?.[key];
    if (text === undefined || !/[/:]/.test(text)) continue;
    try {
      return [formatReference(withDefaultTag(parseReference(text)))];
    } catch {
      // Free text in an annotation is no error, only no name.
    }
  }
  return [];
}

async function layoutImage(
  archive: ImageArchive,
  { descriptor, names }: Found,
): Promise<ArchivedImage> {
  const bytes = archive.documentOf(descriptor.digest);
  const document = parseManifestDocument(bytes, descriptor.mediaType);
  if (document.kind !== "manifest") throw invalid("invalid manifest: it is not an image manifest");
  const { manifest } = document;
  const configBytes = archive.documentOf(manifest.config.digest);
  if (digestOf(configBytes) !== manifest.config.digest) throw invalid("invalid image config");
  const config = parseImageConfig(configBytes);
  const layers: ArchivedLayer[] = [];
  for (const layer of manifest.layers) layers.push(await archive.layerOf(layer.digest));
  checkLayers(config, layers);
  return { configBytes, config, names: [...new Set(names)], manifest: bytes };
}
