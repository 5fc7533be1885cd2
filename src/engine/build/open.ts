/** Opens the build room over the rooms below it. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { type Clock, systemClock } from "#base";
import { removeTree } from "#engine/snapshot";
import type { Store } from "#engine/store";
import { MNT_DETACH, readMountInfo, unmount } from "#linux/mount";

import type { BuildService } from "./build-service.ts";
import { BuildCache } from "./cache.ts";
import { exportCaches } from "./cache-export.ts";
import { cacheUsage, pruneCache } from "./cache-usage.ts";
import type { BuildLog, BuildPaths, BuildRooms, Context } from "./context.ts";
import type { Entitlement } from "./entitlements.ts";
import { describe } from "./describe.ts";
import { keepImage } from "./kept-image.ts";
import { KeptContexts } from "./kept-contexts.ts";
import { packImage } from "./pack.ts";
import { solve } from "./solver.ts";
import { openHistory } from "./stored-history.ts";

export interface OpenBuildRequest extends BuildRooms {
  /** Opened with `buildMigrations`. */
  readonly store: Store;
  readonly paths: BuildPaths;
  readonly log: BuildLog;
  readonly clock?: Clock;
  /** Docker's default: the host's network, and nothing else. */
  readonly entitlements?: ReadonlySet<Entitlement>;
}

/** @param request.gc opened with "build" among its owners */
export function openBuildService(request: OpenBuildRequest): BuildService {
  const { store, paths, gc } = request;
  clearAway(paths);
  const cache = new BuildCache(store);
  gc.addRoots("build", () => ({ layers: cache.layers() }));
  const context: Context = {
    ...request,
    entitlements: request.entitlements ?? new Set(["network.host"]),
    cache,
    kept: new KeptContexts(join(paths.data, "kept")),
    clock: request.clock ?? systemClock,
    doing: new Map(),
    inUse: { folders: new Map() },
    filling: new Map(),
    locks: new Map(),
  };
  return {
    history: openHistory(store),
    build: async (asked) => {
      using solved = await solve(context, asked);
      return { id: (await solved?.keep(asked.tags)) ?? null };
    },
    solve: (asked) => solve(context, asked),
    describe: (asked) => describe(context, asked),
    keepImage: (asked) => keepImage(context, asked),
    packImage: (asked) => packImage(context, asked),
    exportCaches: (builds, asked) => exportCaches(context, builds, asked),
    offerContext: (key, entries) => context.kept.offer(key, entries),
    cacheUsage: () => cacheUsage(context),
    prune: (asked) => pruneCache(context, asked),
  };
}

/** What builds were using when the last daemon died. */
function clearAway({ data, run }: BuildPaths): void {
  const mounts = readMountInfo().filter(({ target }) => target.startsWith(`${run}/`));
  for (const { target } of mounts.toReversed()) unmount(target, MNT_DETACH);
  rmSync(run, { recursive: true, force: true });
  mkdirSync(run, { recursive: true, mode: 0o700 });
  rmSync(join(data, "contexts"), { recursive: true, force: true });
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const scratch = join(data, "scratch");
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  // What cannot be deleted now is tried again at the next start.
  for (const name of readdirSync(scratch)) removeTree(join(scratch, name)).catch(() => undefined);
}
