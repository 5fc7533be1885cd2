/** The manifests an image consists of: its own, or all those of its index, whether they are here or not. */
import { EngineError, MANIFEST_LIMIT_BYTES } from "#base";
import type { ContentStore } from "#engine/content";
import {
  type Descriptor,
  type Digest,
  digestOf,
  type Index,
  type Manifest,
  MEDIA_TYPE,
  parseManifestDocument,
} from "#oci";

import { attestationHere, attestedBy, isPseudo } from "./attestations.ts";
import type { ImageContext } from "./context.ts";
import type { Image, ImageUsage, ManifestSummary } from "./image-service.ts";
import { resolveNamed } from "./resolve.ts";

/** An index that is here, as it came. */
export interface StoredIndex {
  readonly descriptor: Descriptor;
  readonly index: Index;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** null when its document is gone or damaged: its images are used without it. */
export function readIndex(
  { content }: Pick<ImageContext, "content">,
  digest: Digest,
): StoredIndex | null {
  try {
    const bytes = content.readDocument(digest, MANIFEST_LIMIT_BYTES);
    const document = parseManifestDocument(bytes);
    if (document.kind !== "index") return null;
    const { index, mediaType } = document;
    return { descriptor: { mediaType, digest, size: bytes.length }, index, bytes };
  } catch (thrown) {
    if (thrown instanceof EngineError) return null;
    throw thrown;
  }
}

/** @param name what the image was asked by: it says which index is meant, if the image is in several */
export function usageOf(context: ImageContext, image: Image, name?: string): ImageUsage {
  const meant = name === undefined ? image.indexes[0] : resolveNamed(context.records, name).index;
  const stored = meant ? readIndex(context, meant) : null;
  if (stored) return usageOfIndex(context, stored);
  const summary = summaryOf(context, image, manifestOf(context, image));
  const { descriptor, containerIds } = summary;
  return { descriptor, containerIds, manifests: [summary] };
}

/** A manifest that is here, as it came. */
export interface StoredManifest {
  readonly mediaType: string;
  readonly manifest: Manifest;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** null when it is gone, damaged or none: an image is told and sent without it. */
export function readManifest(content: ContentStore, digest: Digest): StoredManifest | null {
  try {
    const bytes = content.readDocument(digest, MANIFEST_LIMIT_BYTES);
    const document = parseManifestDocument(bytes);
    if (document.kind !== "manifest") return null;
    return { mediaType: document.mediaType, manifest: document.manifest, bytes };
  } catch (thrown) {
    if (thrown instanceof EngineError) return null;
    throw thrown;
  }
}

function usageOfIndex(context: ImageContext, { descriptor, index }: StoredIndex): ImageUsage {
  const { records } = context;
  const members = new Map(
    records.indexes
      .members(descriptor.digest)
      .map(({ manifest, imageId }) => [manifest, imageId] as const),
  );
  const manifests = index.manifests.map((entry): ManifestSummary => {
    const imageId = members.get(entry.digest);
    const image = imageId === undefined ? null : records.getReadable(imageId);
    return image ? summaryOf(context, image, entry) : summaryOfOther(context, entry);
  });
  const containerIds = manifests.flatMap((summary) => summary.containerIds);
  return { descriptor, manifests, containerIds };
}

function summaryOf(
  { content, users }: ImageContext,
  image: Image,
  descriptor: Descriptor,
): ManifestSummary {
  const { os, architecture, variant } = image.config;
  const platform = { os, architecture, ...(variant === undefined ? {} : { variant }) };
  return {
    descriptor,
    kind: "image",
    isAvailable: true,
    contentBytes: (content.sizeOf(image.id) ?? 0) + descriptor.size,
    platform: descriptor.platform ?? platform,
    unpackedBytes: image.sizeBytes,
    containerIds: users.usersOf(image.id).map(({ id }) => id),
  };
}

/** An attestation, a platform that is not here, or something nobody knows. */
function summaryOfOther(context: ImageContext, descriptor: Descriptor): ManifestSummary {
  const nothing = { isAvailable: false, contentBytes: 0, unpackedBytes: 0, containerIds: [] };
  const attested = attestedBy(descriptor);
  if (attested !== null) {
    const here = attestationHere(context, descriptor);
    const sizes = here?.documents.map(({ size }) => size) ?? [];
    return {
      ...nothing,
      descriptor,
      kind: "attestation",
      attested,
      isAvailable: here !== null,
      contentBytes: sizes.reduce((sum, size) => sum + size, here?.bytes.length ?? 0),
    };
  }
  const { platform } = descriptor;
  if (platform === undefined || isPseudo(descriptor)) {
    return { ...nothing, descriptor, kind: "unknown" };
  }
  return { ...nothing, descriptor, kind: "image", platform };
}

/** The manifest an image came by, or the one that `save` writes for it. */
function manifestOf({ records, content, layers }: ImageContext, image: Image): Descriptor {
  const { manifest } = records.factsOf(image.id);
  const known = manifest === null ? null : readManifest(content, manifest);
  if (manifest !== null && known !== null) {
    const { mediaType, bytes } = known;
    return { mediaType, digest: manifest, size: bytes.length };
  }
  const blobs = image.config.rootfs.diff_ids.map((diffId): Descriptor => {
    const size = layers.info(diffId)?.tarSizeBytes ?? 0;
    return { mediaType: MEDIA_TYPE.ociLayer, digest: diffId, size };
  });
  const bytes = encodeManifest(image.id, content.sizeOf(image.id) ?? 0, blobs);
  return { mediaType: MEDIA_TYPE.ociManifest, digest: digestOf(bytes), size: bytes.length };
}

/** An OCI manifest over plain layers. */
export const encodeManifest = (
  id: Digest,
  configSize: number,
  layers: readonly Descriptor[],
): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociManifest,
      config: { mediaType: MEDIA_TYPE.ociConfig, digest: id, size: configSize },
      layers,
    }),
  );
