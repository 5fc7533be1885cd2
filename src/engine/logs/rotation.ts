/**
 * The files of one log, newest last written: `<path>`, `<path>.1`, … `<path>.<n>`, or `.gz` for a compressed one.
 * Each but the first carries how many rotations there were before it, in an attribute of its own: a reader that comes
 * from an older file knows by it whether others came between and are gone. A name could not tell, nor could a time.
 */
import {
  closeSync,
  constants,
  createReadStream,
  createWriteStream,
  fstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

import { getXattr, setXattr } from "#linux/xattr";

/** Compressed files that are not complete yet; a leftover of a crash is removed at the next open. */
const UNFINISHED = ".gz.tmp";

/** The next file, before it has its name. */
const NEXT = ".next";
const ROTATION = "user.naru.rotation";

/** How many rotations of its log a file has before it; 0 where nothing tells. */
export function rotationOf(descriptor: number): number {
  try {
    const value = getXattr(descriptor, ROTATION);
    return value === null ? 0 : Number(Buffer.from(value).toString()) || 0;
  } catch {
    return 0; // no file system of ours
  }
}

function mark(file: string | number, rotation: number): void {
  if (rotation === 0) return;
  try {
    setXattr(file, ROTATION, Buffer.from(String(rotation)));
  } catch {
    // Readers that fall behind are not told then: the log goes on.
  }
}

/** Makes the file that follows on a rotation; whoever sees its name sees its number. @returns open for appending */
export function createNext(path: string, mode: number, rotation: number): number {
  const { O_RDWR, O_APPEND, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  const next = path + NEXT;
  const descriptor = openSync(next, O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_NOFOLLOW, mode);
  try {
    mark(descriptor, rotation);
    renameSync(next, path);
    return descriptor;
  } catch (thrown) {
    closeSync(descriptor);
    throw thrown;
  }
}

export interface RotatedFile {
  readonly path: string;
  readonly number: number;
  readonly compressed: boolean;
}

/** The rotated files that exist, newest (lowest number) first; a plain one that is being compressed counts once. */
export function listRotated(path: string): RotatedFile[] {
  const name = basename(path);
  const found: RotatedFile[] = [];
  for (const entry of readdirSync(dirname(path))) {
    if (!entry.startsWith(`${name}.`)) continue;
    const match = /^(\d{1,6})(\.gz)?$/.exec(entry.slice(name.length + 1));
    if (match === null) continue;
    const compressed = match[2] !== undefined;
    found.push({ path: join(dirname(path), entry), number: Number(match[1]), compressed });
  }
  const plain = new Set(found.filter((file) => !file.compressed).map((file) => file.number));
  return found
    .filter((file) => !file.compressed || !plain.has(file.number))
    .sort((a, b) => a.number - b.number);
}

/**
 * Makes room for a new `path`: every number grows by one, what exceeds `maxFiles` goes. With one file the old one
 * is unlinked and not truncated, so that a reader who has it open still reads it to its end.
 */
export function shiftFiles(path: string, maxFiles: number): void {
  const files = listRotated(path).reverse();
  for (const file of files) {
    if (file.number >= maxFiles - 1) rmSync(file.path, { force: true });
    else renameSync(file.path, `${path}.${file.number + 1}${file.compressed ? ".gz" : ""}`);
  }
  if (maxFiles > 1) renameSync(path, `${path}.1`);
  else rmSync(path, { force: true });
}

/**
 * Replaces the oldest plain rotated file by its gzip. The log may rotate on meanwhile: the file is known by its inode
 * and not by its number, which changes. @returns false when there was none
 */
export async function compressOldest(path: string): Promise<boolean> {
  const file = listRotated(path).findLast((each) => !each.compressed);
  if (file === undefined) return false;
  const { createGzip } = await import("node:zlib");
  const { pipeline } = await import("node:stream/promises");
  const descriptor = openSync(file.path, constants.O_RDONLY | constants.O_NOFOLLOW);
  const { ino } = fstatSync(descriptor);
  const rotation = rotationOf(descriptor);
  const temporary = path + UNFINISHED;
  try {
    const source = createReadStream("", { fd: descriptor }); // closes it
    const target = createWriteStream(temporary, { mode: 0o640 });
    await pipeline(source, createGzip({ level: 1 }), target);
    mark(temporary, rotation);
    const now = listRotated(path).find((each) => statSync(each.path).ino === ino);
    if (now === undefined) rmSync(temporary, { force: true }); // rotated out of what is kept
    else {
      renameSync(temporary, `${now.path}.gz`);
      rmSync(now.path, { force: true });
    }
    return true;
  } catch (thrown) {
    rmSync(temporary, { force: true });
    throw thrown;
  }
}

/** Removes what a crash in the middle of compressing left. */
export function removeUnfinished(path: string): void {
  const name = basename(path);
  const entries = new Set(readdirSync(dirname(path)));
  for (const entry of entries) {
    if (!entry.startsWith(`${name}.`)) continue;
    const isCompressed = /\.\d{1,6}$/.test(entry) && entries.has(`${entry}.gz`);
    if (isCompressed || entry.endsWith(UNFINISHED) || entry === name + NEXT) {
      rmSync(join(dirname(path), entry), { force: true });
    }
  }
}
