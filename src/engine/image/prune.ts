/** `docker image prune`: images that nothing needs, each removed as `rmi` would, and passed over where it would refuse. */
import { conflict, EngineError, othersFirst } from "#base";
import type { Digest } from "#oci";

import type { ImageContext } from "./context.ts";
import type { DeletedImage, Image, ImageService } from "./image-service.ts";
import { createdMs, hasLabels, isPlatformOnly } from "./list.ts";
import { chainOf } from "./records.ts";
import { removeImage } from "./remove.ts";

type PruneRequest = Parameters<ImageService["prune"]>[0];
type PruneAnswer = Awaited<ReturnType<ImageService["prune"]>>;

const running = new WeakSet<ImageContext>();

/** @throws EngineError "conflict" while another runs */
export async function pruneImages(
  context: ImageContext,
  request: PruneRequest,
): Promise<PruneAnswer> {
  if (running.has(context)) throw conflict("a prune operation is already running");
  running.add(context);
  try {
    const sizes = chainSizes(context);
    const deleted: DeletedImage[] = [];
    for (const id of context.records.ids()) {
      request.signal.throwIfAborted();
      const image = context.records.getReadable(id);
      if (image === null || !isMeant(context, image, request)) continue;
      const { references, repoDigests } = image;
      const names = [...references, ...repoDigests];
      for (const name of names.length === 0 ? [id] : names) {
        deleted.push(...removed(context, name));
      }
      // Everyone else gets a turn: every removal is a transaction.
      await othersFirst();
    }
    const reclaimedBytes = deleted.reduce(
      (sum, item) => sum + (item.deleted === undefined ? 0 : (sizes.get(item.deleted) ?? 0)),
      0,
    );
    context.records.forgetLostLayers((diffId) => context.layers.has(diffId));
    const attributes = { reclaimed: String(reclaimedBytes) };
    context.events.publish({ type: "image", action: "prune", actorId: "", attributes });
    return { deleted, reclaimedBytes };
  } finally {
    running.delete(context);
  }
}

function removed(context: ImageContext, name: string): DeletedImage[] {
  try {
    return removeImage(context, { name, force: false, prune: true });
  } catch (error) {
    const isRefusal =
      error instanceof EngineError && (error.kind === "conflict" || error.kind === "notFound");
    if (isRefusal) return [];
    throw error;
  }
}

/** What each stack of layers adds to the one below it. */
function chainSizes({ records, layers }: ImageContext): Map<Digest, number> {
  const sizes = new Map<Digest, number>();
  for (const id of records.ids()) {
    for (const { diffId, chainId } of chainOf(records.factsOf(id).diffIds)) {
      sizes.set(chainId, layers.info(diffId)?.contentSizeBytes ?? 0);
    }
  }
  return sizes;
}

function isMeant({ records }: ImageContext, image: Image, request: PruneRequest): boolean {
  const { danglingOnly, until, labels, withoutLabels } = request;
  const isUnnamed = image.references.length + image.repoDigests.length === 0;
  if (isUnnamed && records.children(image.id).length > 0) return false;
  // A platform of an index goes with the index's names.
  if (isUnnamed && isPlatformOnly(records, image)) return false;
  if (danglingOnly && image.references.length > 0) return false;
  if (until !== null && createdMs(image.config) > until.getTime()) return false;
  if (!hasLabels(image.config, labels)) return false;
  return withoutLabels.length === 0 || !hasLabels(image.config, withoutLabels);
}
