/**
 * The files of a small zip archive that is in memory. Spec: PKWARE's APPNOTE 6.3; stored and deflated entries, no
 * encryption, no zip64: what Go and every usual tool write for some kilobytes.
 */
import { inflateRawSync } from "node:zlib";

import { invalid } from "#base";

const END_SIGNATURE = 0x06054b50;
const CENTRAL_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
const END_BYTES = 22;
const COMMENT_LIMIT_BYTES = 0xffff;
const CENTRAL_BYTES = 46;
const LOCAL_BYTES = 30;
const ENTRY_LIMIT = 1000;
const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 1;

/** Go's archive/zip, which docker shows. */
const notZip = () => invalid("zip: not a valid zip file");

export interface ZipEntry {
  readonly name: string;
  /** What it holds. @throws EngineError when that is larger than the limit, or broken */
  readonly bytes: (limitBytes: number, tooLarge: () => Error) => Buffer;
}

export const isZip = (archive: Buffer): boolean =>
  archive.length >= 4 && archive.readUInt32LE(0) === LOCAL_SIGNATURE;

/** The files of an archive, without its directories. @throws EngineError "invalid" */
export function zipEntries(archive: Buffer): ZipEntry[] {
  try {
    return entriesOf(archive);
  } catch (cause) {
    // A number that points outside.
    if (cause instanceof RangeError) throw notZip();
    throw cause;
  }
}

function entriesOf(archive: Buffer): ZipEntry[] {
  const end = endOf(archive);
  const count = archive.readUInt16LE(end + 10);
  if (count > ENTRY_LIMIT) throw notZip();
  const entries: ZipEntry[] = [];
  let at = archive.readUInt32LE(end + 16);
  for (let index = 0; index < count; index += 1) {
    if (archive.readUInt32LE(at) !== CENTRAL_SIGNATURE) throw notZip();
    const nameBytes = archive.readUInt16LE(at + 28);
    const name = archive.toString("utf8", at + CENTRAL_BYTES, at + CENTRAL_BYTES + nameBytes);
    if (!name.endsWith("/")) entries.push(entryOf(archive, at, name));
    at += CENTRAL_BYTES + nameBytes + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
  }
  return entries;
}

/** Where the end record is: behind it there is at most a comment. */
function endOf(archive: Buffer): number {
  const first = Math.max(0, archive.length - END_BYTES - COMMENT_LIMIT_BYTES);
  for (let at = archive.length - END_BYTES; at >= first; at -= 1) {
    if (archive.readUInt32LE(at) === END_SIGNATURE) return at;
  }
  throw notZip();
}

function entryOf(archive: Buffer, at: number, name: string): ZipEntry {
  const flags = archive.readUInt16LE(at + 8);
  const method = archive.readUInt16LE(at + 10);
  const checksum = archive.readUInt32LE(at + 16);
  const storedBytes = archive.readUInt32LE(at + 20);
  const local = archive.readUInt32LE(at + 42);
  return {
    name,
    bytes(limitBytes, tooLarge) {
      if ((flags & ENCRYPTED) !== 0 || (method !== STORED && method !== DEFLATED)) {
        throw invalid("zip: unsupported compression algorithm");
      }
      const start = startOf(archive, local);
      const stored = archive.subarray(start, start + storedBytes);
      if (stored.length !== storedBytes) throw notZip();
      const bytes = method === STORED ? stored : inflated(stored, limitBytes, tooLarge);
      if (bytes.length > limitBytes) throw tooLarge();
      if (Bun.hash.crc32(bytes) !== checksum) throw invalid("zip: checksum error");
      return bytes;
    },
  };
}

function startOf(archive: Buffer, local: number): number {
  if (local + LOCAL_BYTES > archive.length) throw notZip();
  if (archive.readUInt32LE(local) !== LOCAL_SIGNATURE) throw notZip();
  return local + LOCAL_BYTES + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
}

function inflated(stored: Buffer, limitBytes: number, tooLarge: () => Error): Buffer {
  try {
    return inflateRawSync(stored, { maxOutputLength: Math.max(1, limitBytes) });
  } catch (cause) {
    if (cause instanceof RangeError) throw tooLarge();
    throw invalid("zip: broken data", { cause });
  }
}
