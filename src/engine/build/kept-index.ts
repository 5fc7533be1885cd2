/**
 * What is kept of a client's folder, on disk: a line for each file, so that neither reading nor writing it ever holds
 * the whole text, nor two copies of what it says.
 *
 *   ["<boot id>"]
 *   ["<path>", "<stamp>", <offset>, <size>, "<sha256 in hex>", [["<attribute>", "<base64>"], …] | null]
 *
 * Names are byte strings. It appears whole, by renaming, and is synced by nobody: one of another boot is not believed.
 */
import { closeSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";

export interface Kept {
  readonly stamp: string;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly digest: string;
  /** Names as byte strings, values in base64; null for none. */
  readonly xattrs: readonly (readonly [string, string])[] | null;
}

type Line = [path: string, ...fields: [string, number, number, string, Kept["xattrs"]]];

/** Lines that are gathered for one write. */
const GATHERED_LINES = 2048;

/** What was kept in this boot, by path. @throws Error, SyntaxError where there is none, or none that can be read */
export function readKeptIndex(path: string, boot: string): Map<string, Kept> {
  const bytes = readFileSync(path);
  const files = new Map<string, Kept>();
  let isFirst = true;
  for (let start = 0, end = 0; start < bytes.length; start = end + 1) {
    end = bytes.indexOf(10, start);
    if (end < 0) throw new SyntaxError("the index was cut off");
    const line = JSON.parse(bytes.toString("utf8", start, end)) as Line;
    if (isFirst) {
      if (line[0] !== boot) return files;
      isFirst = false;
      continue;
    }
    const [name, stamp, offset, sizeBytes, digest, xattrs] = line;
    files.set(name, { stamp, offset, sizeBytes, digest, xattrs });
  }
  return files;
}

export function writeKeptIndex(
  path: string,
  { boot, files }: { readonly boot: string; readonly files: ReadonlyMap<string, Kept> },
): void {
  const fd = openSync(`${path}.new`, "w", 0o600);
  try {
    let lines = [JSON.stringify([boot])];
    const flush = () => {
      writeSync(fd, `${lines.join("\n")}\n`);
      lines = [];
    };
    for (const [name, { stamp, offset, sizeBytes, digest, xattrs }] of files) {
      lines.push(JSON.stringify([name, stamp, offset, sizeBytes, digest, xattrs] satisfies Line));
      if (lines.length >= GATHERED_LINES) flush();
    }
    if (lines.length > 0) flush();
  } finally {
    closeSync(fd);
  }
  renameSync(`${path}.new`, path);
}
