/** An image that a build made: its layers are here, its config and its names are not yet. */
import {
  type Descriptor,
  type Digest,
  digestOf,
  type ImageConfig,
  parseManifestDocument,
} from "#oci";

import { announce, type ImageContext, sizeOfLayers } from "./context.ts";
import type { ImageService } from "./image-service.ts";

/** One transaction; the layers are held by the caller's lease until then. @returns the image's id */
export async function addBuilt(
  context: ImageContext,
  { config, references }: { config: ImageConfig; references: readonly string[] },
): Promise<Digest> {
  const { content, records, clock } = context;
  const hold = context.gc.hold();
  try {
    const bytes = new TextEncoder().encode(JSON.stringify(config));
    const id = digestOf(bytes);
    const isNew = !records.has(id);
    if (isNew) await content.writeDocument(bytes);
    const diffIds = config.rootfs.diff_ids;
    const unnamed = references.filter((name) => records.idOfName(name) !== id);
    if (isNew || unnamed.length > 0) {
      records.transact(() => {
        const sizeBytes = sizeOfLayers(context, diffIds);
        if (isNew) records.add({ id, diffIds, sizeBytes, parent: null, manifest: null });
        for (const name of references) records.setName(name, id, clock.now());
      });
    }
    for (const name of references) {
      announce(context, { action: "tag", actorId: id, name, imageId: id });
    }
    return id;
  } finally {
    hold[Symbol.dispose]();
  }
}

/**
 * The same for an index: its images, what is said about them, and its names. Without a name its images stay, each by
 * itself, since an index lives by its names.
 */
export async function addBuiltIndex(
  context: ImageContext,
  { target, images, documents, references }: Parameters<ImageService["addBuiltIndex"]>[0],
): Promise<void> {
  const { content, records, clock } = context;
  const hold = context.gc.hold();
  try {
    for (const bytes of documents.values()) await content.writeDocument(bytes);
    records.transact(() => {
      for (const { config, manifest } of images) {
        const diffIds = config.rootfs.diff_ids;
        const sizeBytes = sizeOfLayers(context, diffIds);
        const id = configOf(manifest, documents);
        records.add({ id, diffIds, sizeBytes, parent: null, manifest: manifest.digest });
      }
      const members = images.map(({ manifest }) => ({
        manifest: manifest.digest,
        imageId: configOf(manifest, documents),
      }));
      const [first] = members;
      const index = first?.manifest === target.digest ? null : target.digest;
      if (first === undefined || references.length === 0) return;
      for (const name of references) {
        const before = records.meantBy(name)?.index ?? null;
        records.setName(name, first.imageId, clock.now(), index);
        if (before !== null && before !== index && isSame(context, before, members)) {
          // The same images again, about which only something else is said: the old words go.
          records.indexes.unhide(before);
          records.forgetUnnamedIndex(before);
        }
      }
      if (index === null) return;
      const own = new Set<Digest>([target.digest, ...members.flatMap((one) => Object.values(one))]);
      const blobs = [...documents.keys()].filter((digest) => !own.has(digest));
      records.addToIndex(target.digest, { members, blobs });
    });
    for (const name of references) {
      const imageId = records.idOfName(name) ?? target.digest;
      announce(context, { action: "tag", actorId: imageId, name, imageId });
    }
  } finally {
    hold[Symbol.dispose]();
  }
}

function isSame(
  { records }: ImageContext,
  index: Digest,
  members: readonly { readonly imageId: Digest }[],
): boolean {
  const before = new Set(records.indexes.members(index).map(({ imageId }) => imageId));
  return before.size === members.length && members.every(({ imageId }) => before.has(imageId));
}

/** The image's id: what its manifest says its config is. */
function configOf(
  { digest }: Descriptor,
  documents: ReadonlyMap<Digest, Uint8Array<ArrayBuffer>>,
): Digest {
  const bytes = documents.get(digest);
  const document = bytes === undefined ? null : parseManifestDocument(bytes);
  if (document?.kind !== "manifest") throw new Error(`broken invariant: ${digest} is a manifest`);
  return document.manifest.config.digest;
}
