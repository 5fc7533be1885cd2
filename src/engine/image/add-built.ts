/** An image that a build made: its layers are here, its config and its names are not yet. */
import { type Digest, digestOf, type ImageConfig } from "#oci";

import { announce, type ImageContext, sizeOfLayers } from "./context.ts";

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
