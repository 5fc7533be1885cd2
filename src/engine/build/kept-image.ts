/** What builds made becomes images here: one by itself, or several and what is said about them as an index. */
import { unpackedLayer } from "#engine/image";
import { type Descriptor, type Digest, digestOf } from "#oci";

import type { BuildService, ImageRequest } from "./build-service.ts";
import type { Context } from "./context.ts";
import { type BuiltImage, configBytes, documentImage } from "./image-documents.ts";

/** @returns the index, or the only manifest. Layers are named as they lie here: plain */
export async function keepImage(
  { images: store, layers }: Context,
  request: ImageRequest,
): ReturnType<BuildService["keepImage"]> {
  const { images, names } = request;
  const plain = ({ config }: BuiltImage): Descriptor[] =>
    config.rootfs.diff_ids.map((digest) =>
      unpackedLayer(digest, layers.info(digest)?.tarSizeBytes ?? 0),
    );
  const { target, manifests, documents } = documentImage(images, plain, {
    ...request,
    isOci: true,
  });
  const members = images.flatMap(({ config }, index) => {
    const manifest = manifests[index];
    return manifest === undefined ? [] : [{ config, manifest }];
  });
  await store.addBuiltIndex({ target, images: members, documents, references: names });
  return { target, manifests, documents };
}

export const imageIdOf = ({ config }: Pick<BuiltImage, "config">): Digest =>
  digestOf(configBytes(config));
