/**
 * Syncs of SQLite's write-ahead log beside the event loop, one for all who wait. What is in it when a sync begins is on
 * the disk when that has ended: whoever wrote later gets the next one. No lock is on the log, so that another descriptor
 * of it takes none away.
 */
import { closeSync, fdatasync, fsync, openSync } from "node:fs";
import { dirname } from "node:path";

/** Of a file or a folder, by its descriptor. */
export type Sync = (descriptor: number, what: "data" | "folder") => Promise<void>;

export const syncApart: Sync = (descriptor, what) =>
  new Promise((resolve, reject) => {
    const done = (error: Error | null) => {
      if (error === null) resolve();
      else reject(error);
    };
    if (what === "data") fdatasync(descriptor, done);
    else fsync(descriptor, done);
  });

interface Round extends PromiseWithResolvers<void> {
  /** What is in the log up to here is on the disk when it has ended. */
  version: number;
}

export class LogSync implements Disposable {
  readonly #path: string;
  readonly #sync: Sync;
  #descriptor: number | null = null;
  #version = 0;
  #syncedVersion = 0;
  /** The sync that is under way, and the one after it. */
  #current: Round | null = null;
  #next: Round | null = null;
  #isClosed = false;

  constructor(path: string, sync: Sync) {
    this.#path = path;
    this.#sync = sync;
  }

  /** Something is in the log that nobody may be told of yet. */
  written(): void {
    this.#version += 1;
  }

  synced(): Promise<void> | null {
    if (this.#syncedVersion === this.#version) return null;
    if (this.#current?.version === this.#version) return this.#current.promise;
    const round = (this.#next ??= { version: 0, ...Promise.withResolvers<void>() });
    if (this.#current === null) void this.#run();
    return round.promise;
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    if (this.#current === null) this.#close();
  }

  async #run(): Promise<void> {
    for (let round = this.#next; round !== null; round = this.#next) {
      [this.#current, this.#next] = [round, null];
      round.version = this.#version;
      try {
        await this.#syncLog();
        this.#syncedVersion = round.version;
        round.resolve();
      } catch (cause) {
        round.reject(cause);
      }
    }
    this.#current = null;
    if (this.#isClosed) this.#close();
  }

  async #syncLog(): Promise<void> {
    if (this.#descriptor === null) {
      const log = openSync(this.#path, "r");
      const folder = openSync(dirname(this.#path), "r");
      try {
        // The log is a file that SQLite made, perhaps just now.
        await this.#sync(folder, "folder");
      } finally {
        closeSync(folder);
      }
      this.#descriptor = log;
    }
    await this.#sync(this.#descriptor, "data");
  }

  #close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }
}
