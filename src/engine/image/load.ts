/** `docker load`. */
import { notFound, shortId } from "#base";
import { type Digest, digestHex, digestOf, familiarReference, parseReference } from "#oci";

import { type ArchivedImage, imagesIn } from "./archive-images.ts";
import { readArchive } from "./archive.ts";
import { announce, type ImageContext, sizeOfLayers } from "./context.ts";
import type { ImageService, OnProgress } from "./image-service.ts";
import { layerProgress } from "./progress.ts";

type LoadRequest = Parameters<ImageService["load"]>[0];

export async function load(context: ImageContext, request: LoadRequest): Promise<void> {
  const { signal, quiet, onProgress } = request;
  // Layers come before the documents that name them: no sweep may run in between.
  const hold = context.gc.hold();
  const arrived: Digest[] = [];
  try {
    const archive = await readArchive({
      archive: request.archive,
      layers: context.layers,
      signal,
      onLayer: (name, sizeBytes) => {
        if (quiet) return () => undefined;
        const progress = layerProgress(onProgress, layerLabel(name));
        return (doneBytes) => progress.bar("Loading layer", doneBytes, sizeBytes);
      },
      onWritten: (diffId) => arrived.push(diffId),
    });
    const images = await imagesIn(archive, request.platform ?? null);
    if (images.length === 0) throw notFound("no image in the archive");
    for (const image of images) await keep(context, image, onProgress);
  } finally {
    // What no image came to need goes when the hold ends.
    context.gc.release({ layers: arrived });
    hold[Symbol.dispose]();
  }
}

/** `<id>/layer.tar` and `blobs/sha256/<hex>` both show twelve digits. */
const layerLabel = (name: string): string =>
  shortId(/[a-f0-9]{64}/.exec(name)?.[0] ?? name.replaceAll(/[^\w.-]/g, "").slice(-64));

async function keep(
  context: ImageContext,
  image: ArchivedImage,
  onProgress: OnProgress,
): Promise<void> {
  const { records, content, clock } = context;
  const { config, configBytes, names, manifest } = image;
  const id = digestOf(configBytes);
  await content.writeDocument(configBytes);
  const manifestDigest = manifest ? (await content.writeDocument(manifest)).digest : null;
  const renamed = names.flatMap((name) => {
    const before = records.idOfName(name);
    return before && before !== id ? [{ name, before }] : [];
  });
  records.transact(() => {
    const diffIds = config.rootfs.diff_ids;
    const sizeBytes = sizeOfLayers(context, diffIds);
    records.add({ id, diffIds, sizeBytes, parent: null, manifest: manifestDigest });
    for (const name of names) records.setName(name, id, clock.now());
  });
  for (const { name, before } of renamed) {
    onProgress({
      stream: `The image ${familiarReference(parseReference(name))} already exists, renaming the old one with ID ${digestHex(before)} to empty string\n`,
    });
  }
  for (const name of names) {
    onProgress({ stream: `Loaded image: ${familiarReference(parseReference(name))}\n` });
  }
  if (names.length === 0) onProgress({ stream: `Loaded image ID: ${id}\n` });
  announce(context, { action: "load", actorId: id, name: id, imageId: id });
}
