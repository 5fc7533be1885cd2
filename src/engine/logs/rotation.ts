/**
 * The files of one log, newest last written: `<path>`, `<path>.1`, … `<path>.<n>`, or `.gz` for a compressed one.
 */
import { createReadStream, createWriteStream, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";

/** Compressed files that are not complete yet; a leftover of a crash is removed at the next open. */
const UNFINISHED = ".gz.tmp";

export interface RotatedFile {
  readonly path: string;
  readonly number: number;
  readonly compressed: boolean;
}

/** The rotated files that exist, newest (lowest number) first. */
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
  return found.sort((a, b) => a.number - b.number);
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

/** Replaces a rotated file by its gzip; a failure leaves the plain file. */
export async function compressFile(path: string): Promise<void> {
  const temporary = path + UNFINISHED;
  try {
    const { createGzip } = await import("node:zlib");
    const target = createWriteStream(temporary, { mode: 0o640 });
    await pipeline(createReadStream(path), createGzip({ level: 1 }), target);
    renameSync(temporary, `${path}.gz`);
    rmSync(path, { force: true });
  } catch (thrown) {
    rmSync(temporary, { force: true });
    throw thrown;
  }
}

/** Removes what a crash in the middle of compressing left. */
export function removeUnfinished(path: string): void {
  const name = basename(path);
  for (const entry of readdirSync(dirname(path))) {
    if (entry.startsWith(`${name}.`) && entry.endsWith(UNFINISHED)) {
      rmSync(join(dirname(path), entry), { force: true });
    }
  }
}
