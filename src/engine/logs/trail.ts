/**
 * The files of a log one after the other, for a reader that follows it. What a rotation brings is opened as soon as it is
 * seen, also while the reader is busy with an older file: so nothing is lost to a reader that is as fast as the writer,
 * only not at every moment. How far that goes is bounded, since what is open stays on the disk; a reader that is slower
 * than that misses files, and is told how many.
 */
import { statSync } from "node:fs";

import { type LogFile, type LogFiles, openLogFiles, openPlainAfter } from "./log-file.ts";

/** What may be open ahead of the reader. */
const AHEAD_FILES = 64;
const AHEAD_BYTES = 64 * 1024 * 1024;

export class Trail implements Disposable {
  readonly #log: LogFiles;
  readonly #ahead: LogFile[];
  #current: LogFile | null;
  /** How many of those ahead were there from the beginning. */
  #known: number;
  #isOpening = false;

  /** @param files oldest first; owned from here on */
  constructor(log: LogFiles, files: readonly LogFile[]) {
    this.#log = log;
    const [first = null, ...rest] = files;
    this.#current = first;
    this.#ahead = rest;
    this.#known = rest.length;
  }

  /** null: the log does not exist yet. */
  get current(): LogFile | null {
    return this.#current;
  }

  /** True when there is another file after the current one: nobody writes to that any more. */
  get hasNext(): boolean {
    return (
      this.#ahead.length > 0 || this.#current === null || isReplaced(this.#log.path, this.#current)
    );
  }

  /** Opens what has come since. Costs little when nothing has. */
  lookAhead(): void {
    const newest = this.#ahead.at(-1) ?? this.#current;
    if (newest === null || this.#isOpening || !isReplaced(this.#log.path, newest)) return;
    const come = this.#ahead.slice(this.#known);
    const bytes = come.reduce((sum, file) => sum + file.sizeBytes(), 0);
    if (come.length >= AHEAD_FILES || bytes >= AHEAD_BYTES) return;
    this.#ahead.push(...openPlainAfter(this.#log, newest));
  }

  /**
   * Goes on to the next file, also to one that is not open yet.
   * @param lastTime of the last entry that was read
   * @returns how many files came between and are gone; null when there is no next file
   */
  async advance(lastTime: string): Promise<number | null> {
    if (this.#ahead.length === 0) await this.#open(this.#current, lastTime);
    return this.next();
  }

  /** The same, among those that are open. */
  next(): number | null {
    const before = this.#current;
    const next = this.#ahead.shift();
    if (next === undefined) return null;
    this.#known = Math.max(this.#known - 1, 0);
    this.#current = next;
    before?.close();
    // The first file of a log has no number: what follows on nothing is that.
    return Math.max(next.rotation - (before === null ? 0 : before.rotation + 1), 0);
  }

  async #open(before: LogFile | null, lastTime: string): Promise<void> {
    this.#isOpening = true;
    try {
      // A compressed or deleted file is not found by its inode: then its number tells, or the times of its entries.
      const isLater = async (file: LogFile) =>
        before === null ||
        (file.rotation > 0 ? file.rotation > before.rotation : await startsAfter(file, lastTime));
      this.#ahead.push(...(await openLogFiles(this.#log, isLater, before?.inode ?? null)));
    } finally {
      this.#isOpening = false;
    }
  }

  [Symbol.dispose](): void {
    this.#current?.close();
    for (const file of this.#ahead) file.close();
  }
}

/** True when the log's name belongs to another file than the one that is read. */
function isReplaced(path: string, file: LogFile): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat !== undefined && stat.ino !== file.inode;
}

/** Whether a file's entries are later than this time; an empty file's are. */
export async function startsAfter(file: LogFile, time: string): Promise<boolean> {
  const first = (await file.readEntries())?.[0];
  file.seekTo(0);
  return first === undefined || first.time > time;
}
