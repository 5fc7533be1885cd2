/** What images take on disk. A layer is stored once, however many images stand on it. */
import { MEDIA_TYPE, type Descriptor, type Digest, digestOf } from "#oci";

import type { ImageContext } from "./context.ts";
import type { Image, ImageUsage } from "./image-service.ts";
import { chainOf } from "./records.ts";

/** @returns the layers' sum, and of each image what it shares with others */
export function usageOfImages({ records, layers }: ImageContext): {
  layersSizeBytes: number;
  sharedSizeBytes: ReadonlyMap<Digest, number>;
} {
  const users = new Map<Digest, number>();
  const stacks = new Map(records.ids().map((id) => [id, chainOf(records.factsOf(id).diffIds)]));
  for (const stack of stacks.values()) {
    for (const { chainId } of stack) users.set(chainId, (users.get(chainId) ?? 0) + 1);
  }
  const sizeOf = (diffId: Digest) => layers.info(diffId)?.contentSizeBytes ?? 0;
  const used = new Set([...stacks.values()].flatMap((stack) => stack.map(({ diffId }) => diffId)));
  let layersSizeBytes = 0;
  for (const diffId of used) layersSizeBytes += sizeOf(diffId);
  const sharedSizeBytes = new Map<Digest, number>();
  for (const [id, stack] of stacks) {
    const shared = stack.filter(({ chainId }) => (users.get(chainId) ?? 0) > 1);
    sharedSizeBytes.set(
      id,
      shared.reduce((sum, { diffId }) => sum + sizeOf(diffId), 0),
    );
  }
  return { layersSizeBytes, sharedSizeBytes };
}

/** The manifest an image came by, or the one that `save` writes for it. */
export function manifestOf(context: ImageContext, image: Image): ImageUsage {
  const { records, content, layers, users } = context;
  const { manifest } = records.factsOf(image.id);
  const known = manifest === null ? null : content.sizeOf(manifest);
  const configSize = content.sizeOf(image.id) ?? 0;
  const blobs = image.config.rootfs.diff_ids.map((diffId): Descriptor => {
    const size = layers.info(diffId)?.tarSizeBytes ?? 0;
    return { mediaType: MEDIA_TYPE.ociLayer, digest: diffId, size };
  });
  const bytes = encodeManifest(image.id, configSize, blobs);
  const descriptor: Descriptor =
    manifest !== null && known !== null
      ? { mediaType: MEDIA_TYPE.ociManifest, digest: manifest, size: known }
      : { mediaType: MEDIA_TYPE.ociManifest, digest: digestOf(bytes), size: bytes.length };
  return {
    descriptor,
    contentBytes: configSize + descriptor.size,
    containerIds: users.usersOf(image.id).map((user) => user.id),
  };
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
