/** Which images an archive holds: Docker's manifest.json first, else the index of an OCI layout. */
import { invalid, kindOf, notFound } from "#base";
import {
  type Descriptor,
  type Digest,
  digestOf,
  formatPlatform,
  formatReference,
  type ImageConfig,
  type Index,
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

import type { ArchivedBlob, ArchivedLayer, ImageArchive } from "./archive.ts";
import { attestedBy, documentsOf, isPseudo } from "./attestations.ts";
import { bestFor } from "./platforms.ts";

const IMAGES_LIMIT = 4096;
const INDEX_DEPTH_LIMIT = 4;

/** One image of an archive, checked: its layers are in the layer store and are what the config says. */
export interface ArchivedImage {
  readonly configBytes: Uint8Array;
  readonly config: ImageConfig;
  /** Its manifest's bytes, where the archive has one. */
  readonly manifest: Uint8Array | null;
}

/** What names of an archive stand for: an image, or those platforms of an index that are in it. */
export interface ArchivedEntry {
  /** Whole names with tags. */
  readonly names: readonly string[];
  /** At least one. */
  readonly images: readonly ArchivedImage[];
  /** The index, and the documents of the attestations in it. */
  readonly index: {
    readonly bytes: Uint8Array;
    readonly documents: readonly ArchivedBlob[];
  } | null;
}

/**
 * An index in the archive is read before Docker's list, which knows one platform of it only.
 * @param platform whose images are meant; null: all
 */
export async function entriesIn(
  archive: ImageArchive,
  platform: Platform | null = null,
): Promise<ArchivedEntry[]> {
  const layout = archive.has("index.json") ? parseIndex(archive.document("index.json")) : null;
  const hasIndexes = layout?.manifests.some(({ mediaType }) => isIndexType(mediaType)) ?? false;
  if (archive.has("manifest.json") && !hasIndexes) return await dockerImages(archive, platform);
  if (layout) return await layoutEntries(archive, layout, platform);
  throw invalid("unrecognized image format");
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
): Promise<ArchivedEntry[]> {
  const entries: ArchivedEntry[] = [];
  const listed = dockerEntries(archive.document("manifest.json"));
  for (const entry of listed) {
    const configBytes = archive.document(entry.Config);
    const config = parseImageConfig(configBytes);
    if (platform !== null && platformRank(platform, config) === null) continue;
    const layers: ArchivedLayer[] = [];
    for (const name of entry.Layers) layers.push(await archive.layer(name));
    checkLayers(config, layers);
    const names = entry.RepoTags.map((tag) => formatReference(withDefaultTag(parseReference(tag))));
    entries.push({ names, images: [{ configBytes, config, manifest: null }], index: null });
  }
  if (platform !== null && entries.length === 0 && listed.length > 0) throw isFiltered(platform);
  return entries;
}

const isFiltered = (platform: Platform): Error =>
  notFound(
    `requested platform (${formatPlatform(platform)}) not found: image might be filtered out`,
  );

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

async function layoutEntries(
  archive: ImageArchive,
  layout: Index,
  platform: Platform | null,
): Promise<ArchivedEntry[]> {
  const entries = new Map<Digest, ArchivedEntry>();
  for (const descriptor of layout.manifests) {
    const names = namesOf(descriptor);
    const before = entries.get(descriptor.digest);
    if (before) {
      entries.set(descriptor.digest, { ...before, names: [...before.names, ...names] });
      continue;
    }
    if (isPseudo(descriptor)) continue;
    const entry = await entryOf(archive, descriptor, platform);
    if (entry) {
      const all = [...new Set([...names, ...entry.names])];
      entries.set(descriptor.digest, { ...entry, names: all });
    }
  }
  if (entries.size === 0 && platform !== null) throw isFiltered(platform);
  return [...entries.values()];
}

/** null for what is no image, or none for the platform. */
async function entryOf(
  archive: ImageArchive,
  descriptor: Descriptor,
  platform: Platform | null,
): Promise<ArchivedEntry | null> {
  const { mediaType, digest } = descriptor;
  if (!isIndexType(mediaType)) {
    const image = isManifestType(mediaType) ? await imageOf(archive, descriptor) : null;
    const images = image ? meantBy(platform, [image]) : [];
    return images.length === 0 ? null : { names: [], images, index: null };
  }
  const found = manifestsUnder(archive, descriptor);
  const whole: { found: Found; image: ArchivedImage }[] = [];
  for (const one of found) {
    if (isPseudo(one.descriptor) || attestedBy(one.descriptor) !== null) continue;
    const image = await imageOf(archive, one.descriptor);
    if (image) whole.push({ found: one, image });
  }
  const images = meantBy(
    platform,
    whole.map(({ image }) => image),
  );
  if (images.length === 0) return null;
  const kept = new Set(
    whole.flatMap(({ found: one, image }) => (images.includes(image) ? one.descriptor.digest : [])),
  );
  const documents = found.flatMap((one) => {
    const subject = attestedBy(one.descriptor);
    return subject !== null && kept.has(subject) ? documentsIn(archive, one.descriptor) : [];
  });
  const names = found.flatMap((one) => (kept.has(one.descriptor.digest) ? one.names : []));
  return { names, images, index: { bytes: archive.documentOf(digest), documents } };
}

/** All, or what suits a platform best. */
function meantBy(platform: Platform | null, images: ArchivedImage[]): ArchivedImage[] {
  if (platform === null) return images;
  const best = bestFor(platform, images);
  return best ? [best] : [];
}

/** All documents of an attestation; none when one is missing. */
function documentsIn(archive: ImageArchive, descriptor: Descriptor): ArchivedBlob[] {
  try {
    const bytes = archive.documentOf(descriptor.digest);
    const document = parseManifestDocument(bytes, descriptor.mediaType);
    if (document.kind !== "manifest") return [];
    const parts = documentsOf(document.manifest);
    const manifest: ArchivedBlob = { kind: "document", bytes };
    return [manifest, ...parts.map(({ digest }) => archive.blobOf(digest))];
  } catch (thrown) {
    if (kindOf(thrown) === "notFound" || kindOf(thrown) === "invalid") return [];
    throw thrown;
  }
}

/** A manifest somewhere under an index, and what the indexes call it. */
interface Found {
  readonly descriptor: Descriptor;
  readonly names: readonly string[];
}

/** The manifests under an index that are in the archive, through indexes in it; each document is read once. */
function manifestsUnder(archive: ImageArchive, top: Descriptor): Found[] {
  const found = new Map<Digest, Found>();
  const seen = new Set<Digest>();
  const walk = ({ digest }: Descriptor, depth: number): void => {
    if (depth > INDEX_DEPTH_LIMIT) throw invalid("invalid index: nested too deeply");
    if (seen.has(digest)) return;
    seen.add(digest);
    for (const entry of parseIndex(archive.documentOf(digest)).manifests) {
      if (!archive.has(`blobs/sha256/${entry.digest.slice("sha256:".length)}`)) continue;
      if (isIndexType(entry.mediaType)) walk(entry, depth + 1);
      if (!isManifestType(entry.mediaType) || found.has(entry.digest)) continue;
      found.set(entry.digest, { descriptor: entry, names: namesOf(entry) });
      if (found.size > IMAGES_LIMIT) throw invalid("invalid index: too many manifests");
    }
  };
  walk(top, 1);
  return [...found.values()];
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

/** null when a part of it is not in the archive, as with the platforms that were not saved. */
async function imageOf(
  archive: ImageArchive,
  descriptor: Descriptor,
): Promise<ArchivedImage | null> {
  try {
    return await wholeImage(archive, descriptor);
  } catch (thrown) {
    if (kindOf(thrown) === "notFound") return null;
    throw thrown;
  }
}

async function wholeImage(archive: ImageArchive, descriptor: Descriptor): Promise<ArchivedImage> {
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
  return { configBytes, config, manifest: bytes };
}
