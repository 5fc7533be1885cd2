/**
 * One open file of a log, read forward in blocks or searched from its end. A file stays readable after it was
 * renamed, compressed or unlinked, because the descriptor does.
 */
import {
  closeSync,
  constants,
  fstatSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readApart } from "#base";

import type { LogEntry, LogFormat } from "./entry.ts";
import { decodeJsonLine } from "./json-line.ts";
import { decodeRawLine } from "./raw-line.ts";
import { listRotated, rotationOf } from "./rotation.ts";

const BLOCK_BYTES = 256 * 1024;
/** Looking for newlines takes less than reading entries. */
const SEARCHED_BYTES = 1024 * 1024;
/** A line that was longer than this was not written by us, nor by Docker. */
const LINE_LIMIT_BYTES = 1024 * 1024;
const NEWLINE = 0x0a;

export class LogFile {
  readonly descriptor: number;
  readonly inode: number;
  /** Rotations before it was made; 0 where nothing tells. */
  readonly rotation: number;
  /** Where the next block begins. */
  offset = 0;
  readonly #format: LogFormat;
  #unfinished: Uint8Array = new Uint8Array(0);

  constructor(descriptor: number, format: LogFormat, rotation = rotationOf(descriptor)) {
    this.descriptor = descriptor;
    this.#format = format;
    this.inode = fstatSync(descriptor).ino;
    this.rotation = rotation;
  }

  close(): void {
    closeSync(this.descriptor);
  }

  /** Where the first entry that was not handed out begins. */
  get position(): number {
    return this.offset - this.#unfinished.length;
  }

  sizeBytes(): number {
    return fstatSync(this.descriptor).size;
  }

  modifiedAtMs(): number {
    return fstatSync(this.descriptor).mtimeMs;
  }

  /** The next whole lines; null at the end of what is written so far. Call again when more was written. */
  async readEntries(): Promise<LogEntry[] | null> {
    for (;;) {
      const { size } = fstatSync(this.descriptor);
      // After a full disk the writer cuts off half a line that we may have seen already.
      if (size < this.offset) this.#restart();
      const block = new Uint8Array(BLOCK_BYTES);
      // A whole block may lie on a disk, and comes with many others: the loop does not wait for it.
      const count =
        size - this.offset < BLOCK_BYTES
          ? readSync(this.descriptor, block, 0, BLOCK_BYTES, this.offset)
          : await readApart(this.descriptor, block, this.offset);
      if (count === 0) return null;
      this.offset += count;
      const bytes = this.#joined(block.subarray(0, count));
      const end = bytes.lastIndexOf(NEWLINE) + 1;
      const rest = bytes.subarray(end);
      this.#unfinished = rest.length > LINE_LIMIT_BYTES ? new Uint8Array(0) : rest;
      if (end > 0) return decodeLines(bytes.subarray(0, end), this.#format);
    }
  }

  /** Moves to the `count`-th last line. @returns how many lines there are from there to the end */
  async seekTail(count: number): Promise<number> {
    const { size } = fstatSync(this.descriptor);
    const block = Buffer.allocUnsafe(SEARCHED_BYTES);
    let found = 0;
    // The newline that ends the last line is not one between lines.
    let end = size - 1;
    while (end > 0) {
      const start = Math.max(end - SEARCHED_BYTES, 0);
      const length = await readApart(this.descriptor, block.subarray(0, end - start), start);
      let at = length;
      while (at > 0 && (at = block.lastIndexOf(NEWLINE, at - 1)) >= 0) {
        found += 1;
        if (found === count) return this.#seek(start + at + 1, count);
      }
      end = start;
    }
    return this.#seek(0, size > 0 ? found + 1 : 0);
  }

  seekTo(offset: number): void {
    this.#seek(offset, 0);
  }

  seekEnd(): void {
    this.#seek(fstatSync(this.descriptor).size, 0);
  }

  #seek(offset: number, lines: number): number {
    this.offset = offset;
    this.#unfinished = new Uint8Array(0);
    return lines;
  }

  #restart(): void {
    this.offset = Math.max(this.offset - this.#unfinished.length, 0);
    this.#unfinished = new Uint8Array(0);
    const { size } = fstatSync(this.descriptor);
    if (size < this.offset) this.offset = 0;
  }

  #joined(bytes: Uint8Array): Uint8Array {
    if (this.#unfinished.length === 0) return bytes;
    const whole = new Uint8Array(this.#unfinished.length + bytes.length);
    whole.set(this.#unfinished);
    whole.set(bytes, this.#unfinished.length);
    return whole;
  }
}

/** A log's name on disk and how its lines are to be read. */
export interface LogFiles {
  readonly path: string;
  readonly format: LogFormat;
}

/** Of a log that rotates without pause; then what was seen last is read. */
const SNAPSHOT_TRIES = 2000;

interface OpenedFile {
  readonly path: string;
  readonly compressed: boolean;
  readonly descriptor: number;
  readonly inode: number;
}

/**
 * Every file of a log that exists now, oldest first; compressed ones as a plain temporary file. All are opened at
 * one moment between two rotations: names move on while they are opened one by one.
 * @param wanted asked newest first; the first that is not wanted ends the search
 * @param after only what was written after the file of this inode; where it is there, `wanted` is not asked
 */
export async function openLogFiles(
  { path, format }: LogFiles,
  wanted: (file: LogFile) => boolean | Promise<boolean> = () => true,
  after: number | null = null,
): Promise<LogFile[]> {
  const opened = snapshot(path);
  const files: LogFile[] = [];
  try {
    const end = opened.findIndex((one) => one.inode === after);
    if (end >= 0) for (const one of opened.splice(end)) closeSync(one.descriptor);
    for (let one = opened.shift(); one !== undefined; one = opened.shift()) {
      const file = one.compressed
        ? await openCompressed(one.descriptor, format)
        : new LogFile(one.descriptor, format);
      files.unshift(file);
      if (end >= 0 || (await wanted(file))) continue;
      files.shift();
      file.close();
      break;
    }
    return files;
  } catch (thrown) {
    for (const file of files) file.close();
    throw thrown;
  } finally {
    for (const { descriptor } of opened) closeSync(descriptor);
  }
}

/**
 * The files that are later than one, oldest first, as far as they are there uncompressed; none where nothing tells which
 * those are.
 */
export function openPlainAfter({ path, format }: LogFiles, before: LogFile): LogFile[] {
  const opened = snapshot(path);
  const later: LogFile[] = [];
  for (let one = opened.shift(); one !== undefined; one = opened.shift()) {
    const file = new LogFile(one.descriptor, format);
    const isLater = one.inode !== before.inode && file.rotation > before.rotation;
    if (isLater && !one.compressed) {
      later.unshift(file);
      continue;
    }
    file.close();
    if (isLater) for (const each of later.splice(0)) each.close();
    break;
  }
  for (const { descriptor } of opened) closeSync(descriptor);
  return later;
}

/** Opens every file, newest first, until no name has changed meanwhile. */
function snapshot(path: string): OpenedFile[] {
  for (let tries = 1; ; tries += 1) {
    const names = namesOf(path);
    const opened: OpenedFile[] = [];
    for (const name of names) {
      const descriptor = openIfThere(name.path);
      if (descriptor === null) continue;
      opened.push({ ...name, descriptor, inode: fstatSync(descriptor).ino });
    }
    const then = opened.map((one) => `${one.path} ${one.inode}`);
    const now = namesOf(path).flatMap((name) => {
      const stat = statSync(name.path, { throwIfNoEntry: false });
      return stat === undefined ? [] : [`${name.path} ${stat.ino}`];
    });
    if (Bun.deepEquals(then, now) || tries === SNAPSHOT_TRIES) return opened;
    for (const { descriptor } of opened) closeSync(descriptor);
  }
}

const namesOf = (path: string): { path: string; compressed: boolean }[] => [
  { path, compressed: false },
  ...listRotatedIfThere(path).map((file) => ({ path: file.path, compressed: file.compressed })),
];

function openIfThere(path: string): number | null {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw thrown;
  }
}

function listRotatedIfThere(path: string) {
  try {
    return listRotated(path);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw thrown;
  }
}

/** Closes the descriptor. */
async function openCompressed(descriptor: number, format: LogFormat): Promise<LogFile> {
  const folder = mkdtempSync(join(tmpdir(), "naru-log-"));
  const rotation = rotationOf(descriptor);
  try {
    const plain = join(folder, "plain");
    const { createReadStream, createWriteStream } = await import("node:fs");
    const { createGunzip } = await import("node:zlib");
    const { pipeline } = await import("node:stream/promises");
    const target = createWriteStream(plain, { mode: 0o600 });
    await pipeline(createReadStream("", { fd: descriptor }), createGunzip(), target);
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
    return new LogFile(openSync(plain, flags), format, rotation);
  } finally {
    rmSync(folder, { recursive: true, force: true }); // the open descriptor keeps the bytes
  }
}

/** A line that is no entry (a crash, a foreign hand) is left out: one bad line must not hide the rest. */
function decodeLines(lines: Uint8Array, format: LogFormat): LogEntry[] {
  const decode = format === "raw" ? decodeRawLine : decodeJsonLine;
  const entries: LogEntry[] = [];
  let start = 0;
  while (start < lines.length) {
    const end = lines.indexOf(NEWLINE, start);
    const entry = decode(lines.subarray(start, end));
    if (entry !== null) entries.push(entry);
    start = end + 1;
  }
  return entries;
}
