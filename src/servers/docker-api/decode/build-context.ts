/** What `POST /build/context` says: one array for each thing of a folder. */
import { invalid } from "#base";
import type { OfferedEntry } from "#engine/build";

const types: Readonly<Record<string, OfferedEntry["type"]>> = {
  f: "file",
  d: "directory",
  l: "symlink",
  c: "character",
  b: "block",
  p: "fifo",
};

const isCount = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

/** @throws EngineError "invalid" */
export function decodeOffer(body: unknown): OfferedEntry[] {
  if (!Array.isArray(body)) throw invalid("invalid context: no list");
  // In its place: a list of a large folder is not held twice.
  const entries: unknown[] = body;
  for (const [index, value] of entries.entries()) entries[index] = decodeEntry(value);
  return entries as OfferedEntry[];
}

function decodeEntry(value: unknown): OfferedEntry {
  const fields: readonly unknown[] = Array.isArray(value) ? value : [];
  const [letter, path, mode, mtimeSec, sizeBytes, stamp, ...more] = fields;
  const [link = "", devMajor = 0, devMinor = 0] = more;
  const type = types[String(letter)];
  const isText = typeof path === "string" && typeof stamp === "string" && typeof link === "string";
  const isGood =
    isText &&
    isCount(mode) &&
    isCount(sizeBytes) &&
    isCount(devMajor) &&
    isCount(devMinor) &&
    Number.isSafeInteger(mtimeSec);
  if (type === undefined || !isGood) throw invalid("invalid context: an entry is none");
  const shape = { type, path, mode: mode & 0o7777, mtimeSec: Number(mtimeSec), sizeBytes };
  return { ...shape, stamp, link, devMajor, devMinor };
}
