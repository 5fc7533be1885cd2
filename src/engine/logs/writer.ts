/**
 * The writing end of a log in files. Lives in the supervisor, one per container, so it holds little: a descriptor,
 * a clock and the unfinished line of each stream. The buffer in which lines are made is shared by all.
 *
 * Promise: `write` never throws and never waits. What the disk refuses (ENOSPC, EIO) is counted and dropped, whole
 * lines only, and the next write tries again: a full disk stops the log, never the container.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";

import { ENTRY_LIMIT_BYTES, type LogFileOptions, type LogStream } from "./entry.ts";
import { appendLine, FRAME_BYTES, middleOf, WORST_GROWTH } from "./json-line.ts";
import { appendRawLine, rawMiddleOf } from "./raw-line.ts";
import {
  compressOldest,
  createNext,
  removeUnfinished,
  rotationOf,
  shiftFiles,
} from "./rotation.ts";
import { EntryClock } from "./timestamp.ts";

export interface LogWriter {
  /** Takes what one stream printed; an unfinished line waits for its end. */
  write(stream: LogStream, bytes: Uint8Array): void;
  /** No more will come from this stream: its unfinished line is written as it is. */
  end(stream: LogStream): void;
  /** The beginning of a line that has no end yet: a successor writes it first. */
  unfinished(stream: LogStream): Uint8Array;
  /** Where the next entry will be written; null while the file cannot be opened. Only of logs in one file. */
  position?(): LogPosition | null;
  /** Ends both streams and gives the file back. */
  close(): void;
  /** Entries lost because the disk refused them. */
  readonly droppedEntries: number;
  /** The container should print no more until `onRoom` is called: only of logs that a server must take first. */
  readonly mustWait?: boolean;
  onRoom?: () => void;
}

export interface LogPosition {
  readonly inode: number;
  readonly sizeBytes: number;
}

/** For who must know what is on disk. */
export interface LogFileHooks {
  /** So many bytes more, the last entry of which has this time. */
  wrote(bytes: number, time: string): void;
  /** False puts a rotation off, and the file grows on. */
  mayRotate(sizeBytes: number): boolean;
}

const NEWLINE = 0x0a;
const LOG_MODE = 0o640;
const MAX_ATTRIBUTES_BYTES = 64 * 1024;
const OUT_BYTES = 256 * 1024;
const nothing = new Uint8Array(0);
const decoder = new TextDecoder();

/** Shared by every writer of the process: filled and written within one synchronous call. */
const out = new Uint8Array(OUT_BYTES);
/** A line that arrived in pieces is put together here. */
const joined = new Uint8Array(ENTRY_LIMIT_BYTES);

/** Keeps nothing: the "none" driver. */
export const discardingLogWriter = (): LogWriter => ({
  write: () => undefined,
  end: () => undefined,
  unfinished: () => nothing,
  close: () => undefined,
  droppedEntries: 0,
});

/** Opens (or creates) a log for appending; a line that a crash cut off is closed first. Never throws. */
export const openLogWriter = (
  options: LogFileOptions,
  hooks: LogFileHooks | null = null,
): LogWriter => new FileLogWriter(options, hooks);

interface StreamState {
  readonly middle: Uint8Array;
  unfinished: Uint8Array;
}

class FileLogWriter implements LogWriter {
  droppedEntries = 0;
  readonly #options: LogFileOptions;
  readonly #hooks: LogFileHooks | null;
  readonly #streams: Record<LogStream, StreamState>;
  readonly #append: typeof appendLine;
  readonly #clock = new EntryClock();
  /** Room that one more entry may need in `out`. */
  readonly #entryBytes: number;
  #descriptor = -1;
  /** Rotations before the file in use, as far as this writer knows. */
  #rotation = 0;
  /** The file in use is still to be made; otherwise the one that is there goes on. */
  #isNext = false;
  #inode = 0;
  #sizeBytes = 0;
  #isCompressing = false;
  #closed = false;
  #used = 0;
  #pendingEntries = 0;

  constructor(options: LogFileOptions, hooks: LogFileHooks | null) {
    this.#options = options;
    this.#hooks = hooks;
    // Measured as they are written: escapes and other scripts make them longer than their text.
    const isRaw = options.format === "raw";
    this.#append = isRaw ? appendRawLine : appendLine;
    const middle = isRaw ? rawMiddleOf : middleOf;
    const { length } = middle("stdout", options.attributes);
    const attributes = length > MAX_ATTRIBUTES_BYTES ? {} : options.attributes;
    const stdout = middle("stdout", attributes);
    this.#entryBytes = ENTRY_LIMIT_BYTES * WORST_GROWTH + stdout.length + FRAME_BYTES;
    this.#streams = {
      stdout: { middle: stdout, unfinished: nothing },
      stderr: { middle: middle("stderr", attributes), unfinished: nothing },
    };
    this.#open();
  }

  write(stream: LogStream, bytes: Uint8Array): void {
    if (bytes.length === 0 || this.#closed) return;
    const state = this.#streams[stream];
    this.#clock.read();
    let start = 0;
    while (start < bytes.length) {
      const room = ENTRY_LIMIT_BYTES - state.unfinished.length;
      const newline = bytes.indexOf(NEWLINE, start);
      const hasNewline = newline !== -1 && newline - start < room;
      // Docker's buffer counts the newline to the next piece: 16384 bytes without one are a piece.
      const end = hasNewline ? newline + 1 : Math.min(start + room, bytes.length);
      const isWhole = hasNewline || end - start === room;
      if (!isWhole) break;
      this.#take(state, bytes, start, end);
      start = end;
    }
    if (start < bytes.length) state.unfinished = concat(state.unfinished, bytes, start);
    this.#flush();
  }

  end(stream: LogStream): void {
    const state = this.#streams[stream];
    if (this.#closed || state.unfinished.length === 0) return;
    this.#clock.read();
    this.#take(state, nothing, 0, 0);
    this.#flush();
  }

  unfinished(stream: LogStream): Uint8Array {
    return this.#streams[stream].unfinished;
  }

  position(): LogPosition | null {
    return this.#descriptor === -1 ? null : { inode: this.#inode, sizeBytes: this.#sizeBytes };
  }

  close(): void {
    this.end("stdout");
    this.end("stderr");
    this.#closed = true;
    if (this.#descriptor !== -1) closeSync(this.#descriptor);
    this.#descriptor = -1;
  }

  #take(state: StreamState, bytes: Uint8Array, start: number, end: number): void {
    let piece = { text: bytes, start, end };
    const { unfinished } = state;
    if (unfinished.length > 0) {
      joined.set(unfinished);
      for (let index = start; index < end; index += 1) {
        joined[unfinished.length + index - start] = bytes[index] as number;
      }
      piece = { text: joined, start: 0, end: unfinished.length + end - start };
      state.unfinished = nothing;
    }
    if (this.#used + this.#entryBytes > out.length) this.#flush();
    this.#clock.next();
    const before = this.#used;
    const entry = { ...piece, middle: state.middle, time: this.#clock.bytes };
    this.#used = this.#append(out, before, entry);
    this.#pendingEntries += 1;
    if (this.#isFull()) this.#rotateBefore(before);
  }

  #isFull(): boolean {
    const { maxSizeBytes } = this.#options;
    return maxSizeBytes !== null && this.#sizeBytes + this.#used > maxSizeBytes;
  }

  /** The entry at `before` starts a new file, unless the file holds nothing yet. */
  #rotateBefore(before: number): void {
    if (this.#sizeBytes + before === 0) return;
    if (this.#hooks?.mayRotate(this.#sizeBytes) === false) return;
    const length = this.#used - before;
    this.#used = before;
    this.#pendingEntries -= 1;
    this.#flush();
    this.#rotate();
    out.copyWithin(0, before, before + length);
    this.#used = length;
    this.#pendingEntries = 1;
  }

  #rotate(): void {
    const { path, maxFiles, compress } = this.#options;
    const rotation = this.#descriptor === -1 ? 0 : rotationOf(this.#descriptor);
    this.#rotation = Math.max(this.#rotation, rotation) + 1;
    try {
      shiftFiles(path, maxFiles);
    } catch {
      this.#rotation -= 1;
      return; // the file in use grows on: an entry in a large file is worth more than none
    }
    if (this.#descriptor !== -1) closeSync(this.#descriptor);
    this.#descriptor = -1;
    this.#isNext = true;
    this.#open();
    if (compress && maxFiles > 1) this.#compress();
  }

  /** One file at a time, for as long as there are any: the log goes on and rotates meanwhile. */
  #compress(): void {
    if (this.#isCompressing) return;
    this.#isCompressing = true;
    const again = (isDone: boolean) => {
      this.#isCompressing = false;
      if (isDone) this.#compress();
    };
    compressOldest(this.#options.path).then(again, () => again(false));
  }

  #open(): void {
    const { path, format } = this.#options;
    try {
      // json-file's folder is the container's own and is there; the other files have one of theirs.
      if (format === "raw") mkdirSync(dirname(path), { recursive: true, mode: 0o710 });
      if (this.#isNext) {
        this.#descriptor = createNext(path, LOG_MODE, this.#rotation);
        this.#isNext = false;
        this.#inode = fstatSync(this.#descriptor).ino;
        this.#sizeBytes = 0;
        return;
      }
      const flags =
        constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
      this.#descriptor = openSync(path, flags, LOG_MODE);
      const { ino, size } = fstatSync(this.#descriptor);
      this.#inode = ino;
      this.#sizeBytes = size;
      if (this.#sizeBytes === 0) return;
      removeUnfinished(path);
      const last = new Uint8Array(1);
      readSync(this.#descriptor, last, 0, 1, this.#sizeBytes - 1);
      if (last[0] !== NEWLINE) this.#sizeBytes += writeSync(this.#descriptor, "\n");
    } catch {
      // No descriptor: each flush tries to open again.
    }
  }

  /** One write for everything made so far. */
  #flush(): void {
    if (this.#used === 0) return;
    if (this.#descriptor === -1) this.#open();
    const written = this.#writeAll();
    if (!written) this.droppedEntries += this.#pendingEntries;
    this.#used = 0;
    this.#pendingEntries = 0;
  }

  #writeAll(): boolean {
    if (this.#descriptor === -1) return false;
    let written = 0;
    try {
      while (written < this.#used) {
        written += writeSync(this.#descriptor, out, written, this.#used - written);
      }
      this.#sizeBytes += written;
      this.#hooks?.wrote(written, decoder.decode(this.#clock.bytes));
      return true;
    } catch {
      this.#cutBack();
      return false;
    }
  }

  /** A full disk takes part of a batch: no half line may stay, or the next one would be unreadable. */
  #cutBack(): void {
    try {
      ftruncateSync(this.#descriptor, this.#sizeBytes);
    } catch {
      closeSync(this.#descriptor);
      this.#descriptor = -1; // opening again closes a half line
    }
  }
}

function concat(head: Uint8Array, bytes: Uint8Array, start: number): Uint8Array {
  const whole = new Uint8Array(head.length + bytes.length - start);
  whole.set(head);
  whole.set(bytes.subarray(start), head.length);
  return whole;
}
