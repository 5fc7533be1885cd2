/** `docker import`: a file tree becomes an image of one layer. */
import { invalid } from "#base";
import {
  type Digest,
  digestOf,
  familiarReference,
  formatReference,
  hostPlatform,
  type ImageConfig,
  parseReference,
  type Platform,
  withDefaultTag,
} from "#oci";

import { announce, type ImageContext, requireLayers, sizeOfLayers } from "./context.ts";
import type { ImageService } from "./image-service.ts";
import { plainArchive } from "#wire/tar";

type ImportRequest = Parameters<ImageService["importTar"]>[0];

export async function importTar(context: ImageContext, request: ImportRequest): Promise<Digest> {
  const { layers, content, records, clock } = context;
  const name = request.reference === undefined ? null : nameOf(request.reference);
  // Not a hold: a client may take days to send, and what others remove meanwhile is to go.
  const lease = context.gc.lease();
  const arrived: Digest[] = [];
  try {
    const { diffId } = await layers.write({
      source: await plainArchive(request.archive),
      signal: request.signal,
    });
    arrived.push(diffId);
    lease.keep({ layers: arrived });
    requireLayers(context, arrived);
    const config = configOf({ ...request, diffId, now: clock.now() });
    const bytes = new TextEncoder().encode(JSON.stringify(config));
    const id = digestOf(bytes);
    lease.keep({ blobs: [id] });
    await content.writeDocument(bytes);
    records.transact(() => {
      const sizeBytes = sizeOfLayers(context, [diffId]);
      records.add({ id, diffIds: [diffId], sizeBytes, parent: null, manifest: null });
      if (name !== null) records.setName(name, id, clock.now());
    });
    if (name !== null) {
      const shown = familiarReference(parseReference(name));
      announce(context, { action: "tag", actorId: id, name: shown, imageId: id });
    }
    announce(context, { action: "import", actorId: id, name: id, imageId: id });
    return id;
  } finally {
    // Kept if the image was made, gone if it was not.
    lease[Symbol.dispose]();
    context.gc.release({ layers: arrived });
  }
}

function nameOf(text: string): string {
  const reference = parseReference(text);
  if (reference.digest !== null) throw invalid("cannot import digest reference");
  return formatReference(withDefaultTag(reference));
}

function configOf(request: {
  diffId: Digest;
  now: Date;
  message?: string;
  changes: ImportRequest["changes"];
  platform?: Platform;
}): ImageConfig {
  const { diffId, now, message, changes, platform = hostPlatform() } = request;
  const created = now.toISOString();
  return {
    created,
    architecture: platform.architecture,
    ...(platform.variant === undefined ? {} : { variant: platform.variant }),
    os: platform.os,
    config: changes,
    rootfs: { type: "layers", diff_ids: [diffId] },
    history: [{ created, comment: message || "Imported from -" }],
  };
}
