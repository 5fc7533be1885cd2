/** `docker load`. */
import { notFound, shortId } from "#base";
import type { Lease } from "#engine/gc";
import { type Digest, digestOf, familiarReference, parseReference } from "#oci";

import { type ArchivedEntry, entriesIn } from "./archive-images.ts";
import { type ArchivedBlob, readArchive } from "./archive.ts";
import { announce, type ImageContext, requireLayers, sizeOfLayers } from "./context.ts";
import type { ImageService, OnProgress } from "./image-service.ts";
import type { IndexMember } from "./index-records.ts";
import { layerProgress } from "./progress.ts";

type LoadRequest = Parameters<ImageService["load"]>[0];

export async function load(
  context: ImageContext,
  request: LoadRequest,
): Promise<readonly Digest[]> {
  const { signal, quiet, onProgress } = request;
  // Layers come before the documents that name them. Not a hold: a client may take days to send.
  const lease = context.gc.lease();
  const arrived: Digest[] = [];
  const stored: Digest[] = [];
  try {
    const archive = await readArchive({
      archive: request.archive,
      layers: context.layers,
      content: context.content,
      signal,
      onLayer: (name, sizeBytes) => {
        if (quiet) return () => undefined;
        const progress = layerProgress(onProgress, layerLabel(name));
        return (doneBytes) => progress.bar("Loading layer", doneBytes, sizeBytes);
      },
      onLayerHere: (diffId) => {
        lease.keep({ layers: [diffId] });
        arrived.push(diffId);
      },
      onStored: (digest) => {
        lease.keep({ blobs: [digest] });
        stored.push(digest);
      },
    });
    const entries = await entriesIn(archive, request.platform ?? null);
    if (entries.length === 0) throw notFound("no image in the archive");
    const ids: Digest[] = [];
    for (const entry of entries) ids.push(...(await keep(context, { entry, lease, onProgress })));
    return ids;
  } finally {
    // What no image came to need goes.
    lease[Symbol.dispose]();
    context.gc.release({ layers: arrived, blobs: stored });
  }
}

/** `<id>/layer.tar` and `blobs/sha256/<hex>` both show twelve digits. */
const layerLabel = (name: string): string =>
  shortId(/[a-f0-9]{64}/.exec(name)?.[0] ?? name.replaceAll(/[^\w.-]/g, "").slice(-64));

async function keep(
  context: ImageContext,
  request: { entry: ArchivedEntry; lease: Lease; onProgress: OnProgress },
): Promise<readonly Digest[]> {
  const { records, content, clock } = context;
  const { lease, onProgress } = request;
  const { names, images, index } = request.entry;
  for (const { config } of images) requireLayers(context, config.rootfs.diff_ids);
  lease.keep({ blobs: documentsOf(request.entry) });
  const members: IndexMember[] = [];
  for (const { configBytes, manifest } of images) {
    const imageId = (await content.writeDocument(configBytes)).digest;
    if (manifest)
      members.push({ manifest: (await content.writeDocument(manifest)).digest, imageId });
  }
  const keepBlob = async (blob: ArchivedBlob): Promise<Digest> =>
    blob.kind === "stored" ? blob.digest : (await content.writeDocument(blob.bytes)).digest;
  const blobs = await Promise.all(index?.documents.map(keepBlob) ?? []);
  const indexDigest = index ? (await content.writeDocument(index.bytes)).digest : null;
  const ids = images.map(({ configBytes }) => digestOf(configBytes));
  const renamed = names.flatMap((name) => {
    const before = records.idOfName(name);
    const isSame = before === null || ids.includes(before) || isOf(context, name, indexDigest);
    return isSame ? [] : [{ name, before }];
  });
  records.transact(() => {
    for (const [position, { config, manifest }] of images.entries()) {
      const id = ids[position];
      const diffIds = config.rootfs.diff_ids;
      const sizeBytes = sizeOfLayers(context, diffIds);
      const manifestDigest = manifest ? digestOf(manifest) : null;
      if (id) records.add({ id, diffIds, sizeBytes, parent: null, manifest: manifestDigest });
    }
    const [first] = ids;
    if (!first) return;
    for (const name of names) records.setName(name, first, clock.now(), indexDigest);
    if (!indexDigest) return;
    // One image of several platforms all the same.
    if (names.length === 0) records.hideIndex(indexDigest, first);
    records.addToIndex(indexDigest, { members, blobs });
  });
  for (const { name, before } of renamed) {
    onProgress({
      stream: `The image ${familiarReference(parseReference(name))} already exists, renaming the old one with ID ${before} to empty string\n`,
    });
  }
  for (const name of names) {
    onProgress({ stream: `Loaded image: ${familiarReference(parseReference(name))}\n` });
  }
  const shown = indexDigest ? records.indexes.imageOfDigest(indexDigest)?.imageId : ids[0];
  if (names.length === 0) onProgress({ stream: `Loaded image ID: ${shown ?? ids[0]}\n` });
  for (const id of ids) {
    announce(context, { action: "load", actorId: id, name: id, imageId: id });
  }
  return ids;
}

/** Everything of an entry that is written as a document. */
const documentsOf = ({ images, index }: ArchivedEntry): Digest[] =>
  [
    ...images.flatMap(({ configBytes, manifest }) => [
      configBytes,
      ...(manifest ? [manifest] : []),
    ]),
    ...(index ? [index.bytes] : []),
    ...(index?.documents.flatMap((one) => (one.kind === "document" ? [one.bytes] : [])) ?? []),
  ].map((bytes) => digestOf(bytes));

const isOf = ({ records }: ImageContext, name: string, index: Digest | null): boolean =>
  index !== null && records.indexes.indexOfName(name) === index;
