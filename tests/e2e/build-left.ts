/** What builds use while they run and must not leave, and waiting until it is gone: told by the kernel, not looked for. */
import { existsSync, type FSWatcher, readdirSync, watch } from "node:fs";
import { join } from "node:path";

import type { Engine } from "./engine.ts";

const below = (path: string): string[] =>
  existsSync(path) ? readdirSync(path).filter((name) => !name.startsWith(".")) : [];

const folders = (engine: Engine): string[] => [
  join(engine.dataRoot, "snapshots"),
  join(engine.dataRoot, "layers/ingest"),
  join(engine.dataRoot, "build/contexts"),
  join(engine.dataRoot, "build/scratch"),
  join(engine.execRoot, "build"),
];

/** Folders of steps, contexts that arrived, layers half written. */
export const leftByBuilds = (engine: Engine): string[] =>
  folders(engine).flatMap((folder) => below(folder).map((name) => join(folder, name)));

/** Resolves when builds have left nothing. The test's own time is the limit. */
export async function untilNothingLeft(engine: Engine): Promise<void> {
  await untilChanged(folders(engine), () => leftByBuilds(engine).length === 0);
}

/** Resolves when something holds that changes with what is in folders. */
export async function untilChanged(paths: readonly string[], holds: () => boolean): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const watchers: FSWatcher[] = [];
  const look = () => {
    if (holds()) resolve();
  };
  // A folder that is made meanwhile is not watched.
  const sometimes = setInterval(look, 500);
  try {
    for (const path of paths) if (existsSync(path)) watchers.push(watch(path, look));
    // What changed before it was watched.
    look();
    await promise;
  } finally {
    clearInterval(sometimes);
    for (const watcher of watchers) watcher.close();
  }
}
