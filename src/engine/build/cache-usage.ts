/** What the build cache holds, and taking it away: `docker builder prune`, `docker system df`. */
import { statfsSync } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";

import { newId } from "#base";
import { removeTree, usageOf } from "#engine/snapshot";
import type { Digest } from "#oci";

import type { BuildCacheItem, BuildPruneRequest, PruneLimits } from "./build-service.ts";
import type { Context } from "./context.ts";

/** Steps that only change a config are no things on disk: they go with the others, and are not shown. */
export async function cacheUsage(context: Context): Promise<BuildCacheItem[]> {
  const { cache, inUse } = context;
  const shared = layersOfImages(context);
  const all = cache.steps();
  const makers = new Map<string | null, string>(all.map(({ layer, key }) => [layer, shownId(key)]));
  const steps = all.flatMap((step): BuildCacheItem[] => {
    if (step.layer === null) return [];
    return [
      {
        id: shownId(step.key),
        // What stands on an image only has none here.
        parent: makers.get(step.parent) ?? null,
        kind: "regular",
        description: step.description,
        isInUse: context.doing.has(step.key),
        isShared: shared.has(step.layer),
        sizeBytes: step.sizeBytes,
        createdAt: new Date(step.createdMs),
        lastUsedAt: new Date(step.usedMs),
        uses: step.uses,
      },
    ];
  });
  const folders = await Promise.all(
    cache.folders().map(async (folder): Promise<BuildCacheItem> => {
      const { id, name, createdMs, usedMs, uses } = folder;
      return {
        id: shownId(id),
        parent: null,
        kind: "exec.cachemount",
        description: `cached mount ${name}`,
        isInUse: (inUse.folders.get(id) ?? 0) > 0,
        isShared: false,
        sizeBytes: await usageOf(folderOf(context, id)).catch(() => 0),
        createdAt: new Date(createdMs),
        lastUsedAt: new Date(usedMs),
        uses,
      };
    }),
  );
  const kept = context.kept.list().map((one): BuildCacheItem => {
    const { key, createdMs, usedMs, uses, sizeBytes } = one;
    return {
      id: shownId(key),
      parent: null,
      kind: "source.local",
      description: "local source for context",
      isInUse: one.isInUse,
      isShared: false,
      sizeBytes,
      createdAt: new Date(createdMs),
      lastUsedAt: new Date(usedMs),
      uses,
    };
  });
  return [...steps, ...folders, ...kept];
}

/** As long as BuildKit's. */
const shownId = (key: string): string => key.slice(0, 25);

const folderOf = ({ paths }: Context, id: string): string => join(paths.data, "caches", id);

function layersOfImages({ images }: Context): Set<Digest> {
  return new Set(images.list({}, { all: true }).flatMap(({ config }) => config.rootfs.diff_ids));
}

/**
 * What may stay: the smaller of what the cache may use and what leaves the disk its free space, but never less than
 * what is reserved for it. Pure.
 */
export function bytesToKeep(
  { reservedBytes, maxUsedBytes, minFreeBytes }: PruneLimits,
  { usedBytes, freeBytes }: { usedBytes: number; freeBytes: number },
): number {
  const limits = [
    ...(maxUsedBytes > 0 ? [maxUsedBytes] : []),
    ...(minFreeBytes > 0 ? [Math.max(0, usedBytes - Math.max(0, minFreeBytes - freeBytes))] : []),
  ];
  return Math.max(limits.length === 0 ? 0 : Math.min(...limits), reservedBytes);
}

/** Oldest use first, until no more is left than the limits say. */
export async function pruneCache(
  context: Context,
  request: BuildPruneRequest,
): Promise<{ deleted: string[]; reclaimedBytes: number }> {
  const items = await cacheUsage(context);
  const byAge = items.toSorted((a, b) => a.lastUsedAt.getTime() - b.lastUsedAt.getTime());
  let left = items.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const { bavail, bsize } = statfsSync(context.paths.data);
  const { limits } = request;
  const keepBytes = bytesToKeep(limits, { usedBytes: left, freeBytes: bavail * bsize });
  const isLimited = limits.reservedBytes + limits.maxUsedBytes + limits.minFreeBytes > 0;
  const chosen = byAge.filter((item) => {
    if (!isWanted(item, request)) return false;
    if (isLimited && left <= keepBytes) return false;
    left -= item.sizeBytes;
    return true;
  });
  const ids = new Set(chosen.map(({ id }) => id));
  const steps = context.cache.steps();
  const gone = steps.filter(({ key, layer }) => layer !== null && ids.has(shownId(key)));
  const isEverything = request.matches === null && request.until === null;
  const notes = isEverything && !isLimited ? steps.filter(({ layer }) => layer === null) : [];
  context.cache.delete([...gone, ...notes].map(({ key }) => key));
  if (isEverything && !isLimited) context.cache.deleteInputs();
  context.gc.release({ layers: gone.flatMap(({ layer }) => (layer === null ? [] : [layer])) });
  if (gone.length > 0) context.images.forgetLostLayers();
  await dropFolders(context, ids);
  dropKept(context, ids);
  const reclaimedBytes = chosen
    .filter(({ isShared }) => !isShared)
    .reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return { deleted: [...ids], reclaimedBytes };
}

function isWanted(item: BuildCacheItem, request: BuildPruneRequest): boolean {
  const { all, until, matches } = request;
  if (item.isInUse || (item.isShared && !all)) return false;
  if (until !== null && item.lastUsedAt >= until) return false;
  return matches === null || matches(item);
}

function dropKept({ kept }: Context, ids: ReadonlySet<string>): void {
  for (const { key } of kept.list()) if (ids.has(shownId(key))) kept.remove(key);
}

async function dropFolders(context: Context, ids: ReadonlySet<string>): Promise<void> {
  for (const { id } of context.cache.folders()) {
    if (!ids.has(shownId(id))) continue;
    context.cache.deleteFolder(id);
    const trash = join(context.paths.data, "scratch", newId());
    try {
      await rename(folderOf(context, id), trash);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw cause;
    }
    await removeTree(trash);
  }
}
