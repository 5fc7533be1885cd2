/** `docker commit`'s half of the image room: a container's upper directory becomes a layer, its image a child. */
import { invalid } from "#base";
import {
  type Digest,
  digestOf,
  familiarReference,
  formatReference,
  type ImageConfig,
  parseReference,
  withDefaultTag,
} from "#oci";

import { announce, type ImageContext, sizeOfLayers } from "./context.ts";
import type { ImageCommitRequest } from "./image-service.ts";

/** The tar without entries: a commit without changes adds no layer, only history. */
const EMPTY_TAR: Digest = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

export async function commitImage(
  context: ImageContext,
  request: ImageCommitRequest,
): Promise<Digest> {
  const { layers, content, records, clock } = context;
  const { upper, skip, signal, parent } = request;
  const name = request.reference === undefined ? null : nameOf(request.reference);
  // Asked before the work: an image that is gone has no history to go on from.
  const base = records.get(parent).config;
  const hold = context.gc.hold();
  const written: Digest[] = [];
  try {
    const { diffId } = await layers.writeUpper({ upper, skip, signal });
    written.push(diffId);
    const isEmpty = diffId === EMPTY_TAR;
    const diffIds = [...base.rootfs.diff_ids, ...(isEmpty ? [] : [diffId])];
    const config = childOf(base, { request, diffIds, isEmpty, now: clock.now() });
    const bytes = new TextEncoder().encode(JSON.stringify(config));
    const id = digestOf(bytes);
    await content.writeDocument(bytes);
    records.transact(() => {
      const sizeBytes = sizeOfLayers(context, diffIds);
      records.add({ id, diffIds, sizeBytes, parent, manifest: null });
      if (name !== null) records.setName(name, id, clock.now());
    });
    announce(context, { action: "create", actorId: id, name: id, imageId: id });
    if (name !== null) {
      const shown = familiarReference(parseReference(name));
      announce(context, { action: "tag", actorId: id, name: shown, imageId: id });
    }
    return id;
  } finally {
    // Kept if the image was made, gone if it was not.
    context.gc.release({ layers: written });
    hold[Symbol.dispose]();
  }
}

function nameOf(text: string): string {
  const reference = parseReference(text);
  if (reference.digest !== null) throw invalid(`unexpected repository name: ${text}`);
  return formatReference(withDefaultTag(reference));
}

function childOf(
  base: ImageConfig,
  made: {
    request: ImageCommitRequest;
    diffIds: readonly Digest[];
    isEmpty: boolean;
    now: Date;
  },
): ImageConfig {
  const { request, diffIds, isEmpty, now } = made;
  const { author, comment, createdBy } = request;
  const created = now.toISOString();
  return {
    ...base,
    created,
    author,
    config: request.config,
    rootfs: { type: "layers", diff_ids: [...diffIds] },
    history: [
      ...(base.history ?? []),
      {
        created,
        ...(author === "" ? {} : { author }),
        created_by: createdBy,
        ...(comment === "" ? {} : { comment }),
        ...(isEmpty ? { empty_layer: true } : {}),
      },
    ],
  };
}
