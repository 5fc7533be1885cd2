/**
 * Deletes what removed containers leave on disk, after whoever removed them has been answered. It keeps no list of
 * its own: a folder that no record names is left over, so a crash loses nothing and start-up sweeps again.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";

import { isId, sentenceOf } from "#base";
import type { SnapshotStore } from "#engine/snapshot";

import type { ContainerPaths, Log } from "./context.ts";
import { namesIn } from "./read-if-there.ts";
import { sharedMemoryFolder, unmountIfMounted } from "./shared-memory.ts";

/** Deletions at a time: enough to hide latency, few enough to leave the disk to others. */
const PARALLEL = 2;

export class Sweeper {
  readonly #paths: ContainerPaths;
  readonly #snapshots: Pick<SnapshotStore, "list" | "remove">;
  readonly #log: Log;
  #waiting: (() => Promise<void>)[] = [];
  #running = 0;
  #idle: PromiseWithResolvers<void> | null = null;

  constructor(request: {
    paths: ContainerPaths;
    snapshots: Pick<SnapshotStore, "list" | "remove">;
    log: Log;
  }) {
    this.#paths = request.paths;
    this.#snapshots = request.snapshots;
    this.#log = request.log;
  }

  /** A container whose record is gone. */
  sweepContainer(id: string): void {
    this.#add(`snapshot of ${id}`, () => this.#snapshots.remove(id));
    this.sweepFiles(id);
  }

  /** Only the folder: what the engine wrote for a process. */
  sweepFiles(id: string): void {
    this.#add(`files of ${id}`, () => this.#deleteFolder(id));
  }

  /** Everything of containers on disk that no record names. */
  sweepLeftovers(known: { isContainer: (id: string) => boolean }): void {
    for (const id of this.#snapshots.list()) {
      if (!known.isContainer(id) && isId(id)) {
        this.#add(`snapshot of ${id}`, () => this.#snapshots.remove(id));
      }
    }
    for (const id of namesIn(this.#paths.containers)) {
      if (!isId(id) || known.isContainer(id)) continue;
      this.#add(`files of ${id}`, () => this.#deleteFolder(id));
    }
  }

  /** Resolves when nothing is left to delete. */
  idle(): Promise<void> {
    if (this.#running === 0 && this.#waiting.length === 0) return Promise.resolve();
    this.#idle ??= Promise.withResolvers();
    return this.#idle.promise;
  }

  #deleteFolder(id: string): Promise<void> {
    const folder = join(this.#paths.containers, id);
    unmountIfMounted(sharedMemoryFolder(folder));
    return this.#delete(folder);
  }

  #delete(path: string): Promise<void> {
    // A name as /…/<id>: nothing above it can be a stranger's link.
    return rm(path, { recursive: true, force: true });
  }

  #add(what: string, work: () => Promise<void>): void {
    this.#waiting.push(async () => {
      try {
        await work();
      } catch (cause) {
        const error = sentenceOf(cause);
        this.#log.warn(`could not delete the ${what}: the next start tries again`, { error });
      }
    });
    // The answer to whoever removed it goes out first.
    setImmediate(() => this.#work());
  }

  #work(): void {
    while (this.#running < PARALLEL) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      this.#running += 1;
      void next().finally(() => {
        this.#running -= 1;
        this.#work();
      });
    }
    if (this.#running > 0 || this.#waiting.length > 0) return;
    this.#idle?.resolve();
    this.#idle = null;
  }
}
