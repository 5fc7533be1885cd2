/** One image on its way to a registry: its layers, its config, and a manifest that names them. */
import { IMAGE_CONFIG_LIMIT_BYTES } from "#base";
import type { Repository } from "#engine/registry-client";
import {
  type Descriptor,
  type Digest,
  digestOf,
  isConfigType,
  type Manifest,
  MEDIA_TYPE,
  type Reference,
} from "#oci";

import type { ImageContext } from "./context.ts";
import type { Image, OnProgress } from "./image-service.ts";
import { uploadLayers, type UploadRequest } from "./layer-uploads.ts";
import { readManifest, type StoredManifest } from "./manifests.ts";

export interface ImagePush {
  readonly repository: Repository;
  readonly reference: Reference;
  readonly image: Image;
  readonly compression: NonNullable<UploadRequest["compression"]> | null;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

/** A manifest of what has arrived at the registry; itself it is not there yet. */
export interface PushedManifest {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly descriptor: Descriptor;
}

/**
 * Sends layers and config.
 * @param wanted the manifest it is known by, sent again if it still says the truth
 */
export async function pushImage(
  context: ImageContext,
  request: ImagePush,
  wanted: Digest | null,
): Promise<PushedManifest> {
  const { diff_ids: diffIds } = request.image.config.rootfs;
  const kept = wanted === null ? null : keptManifest(context, wanted);
  const meant = kept?.manifest.layers.filter((layer) => !isUnpacked(layer));
  const preferred = new Map(meant?.map((layer) => [layer.digest, layer]));
  const layers = await uploadLayers(context, { ...request, diffIds, preferred });
  const config = await sendConfig(context, request);
  // It still says the truth unless a layer had to be packed anew.
  const named = kept?.manifest.layers;
  const isTrue =
    named?.length === layers.length &&
    layers.every(({ digest }, index) => digest === named[index]?.digest);
  const { bytes, mediaType } =
    kept === null ? newManifest(config, layers) : isTrue ? kept : withLayers(kept, layers);
  return { bytes, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length } };
}

async function sendConfig(
  { content }: ImageContext,
  { repository, image, signal }: ImagePush,
): Promise<Descriptor> {
  const bytes = content.readDocument(image.id, IMAGE_CONFIG_LIMIT_BYTES);
  if ((await repository.blobSize(image.id, signal)) === null) {
    const open = () => new Blob([bytes]).stream();
    await repository.upload({ open, signal });
  }
  return { mediaType: MEDIA_TYPE.dockerConfig, digest: image.id, size: bytes.length };
}

interface Encoded {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly mediaType: string;
}

/** The manifest as it was, over layers that had to be packed anew; an OCI one names them in OCI's words. */
function withLayers(
  { manifest, mediaType }: StoredManifest,
  layers: readonly Descriptor[],
): Encoded {
  const isOci = mediaType === MEDIA_TYPE.ociManifest;
  const packed = layers.map(({ digest, size, mediaType: type }) => ({
    mediaType: isOci ? (OCI_LAYERS.get(type) ?? type) : type,
    digest,
    size,
  }));
  if (!isOci && packed.some((layer) => layer.mediaType.startsWith("application/vnd.oci."))) {
    return newManifest(manifest.config, layers);
  }
  const written = { ...manifest, layers: packed };
  return { bytes: new TextEncoder().encode(JSON.stringify(written)), mediaType };
}

/** Of a manifest that was written here over layers as they lie: a push packs them, as it packs those of any image. */
const UNPACKED = "dev.naru.layer.unpacked";

export const unpackedLayer = (digest: Digest, size: number): Descriptor => ({
  mediaType: MEDIA_TYPE.ociLayer,
  digest,
  size,
  annotations: { [UNPACKED]: "true" },
});

const isUnpacked = ({ annotations }: Descriptor): boolean => annotations?.[UNPACKED] === "true";

const OCI_LAYERS: ReadonlyMap<string, string> = new Map([
  [MEDIA_TYPE.dockerLayerGzip, MEDIA_TYPE.ociLayerGzip],
  [MEDIA_TYPE.dockerLayer, MEDIA_TYPE.ociLayer],
]);

/** In Docker's form, as Docker pushes. */
function newManifest(config: Descriptor, layers: readonly Descriptor[]): Encoded {
  const isOci = layers.some(({ mediaType }) => mediaType.startsWith("application/vnd.oci."));
  const mediaType = isOci ? MEDIA_TYPE.ociManifest : MEDIA_TYPE.dockerManifest;
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType,
    config: isOci ? { ...config, mediaType: MEDIA_TYPE.ociConfig } : config,
    layers: layers.map(({ digest, size, mediaType }) => ({ mediaType, size, digest })),
  };
  return { bytes: new TextEncoder().encode(JSON.stringify(manifest, null, 3)), mediaType };
}

/** The manifest the image came by. */
function keptManifest({ content }: ImageContext, digest: Digest): StoredManifest | null {
  const kept = readManifest(content, digest);
  return kept !== null && isConfigType(kept.manifest.config.mediaType) ? kept : null;
}
