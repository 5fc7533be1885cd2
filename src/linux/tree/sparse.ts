/**
 * A file's holes in an archive: GNU tar's format 1.0, which Go, GNU tar, bsdtar and Python read. The map stands in
 * front of the data: the count, then offset and length of each piece, one decimal number a line.
 */
import { attempt } from "#linux/ffi";
import { paddingOf, type SparseSegment } from "#wire/tar";

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** With less to leave out, a plain file is understood by more readers. */
const WORTHWHILE_BYTES = 1024 * 1024;
/** A file in more pieces is written whole: its map would have to stay in memory. */
const SEGMENT_LIMIT = 8192;

/** The pieces of a file that holds something; null when it is better written whole. */
export function dataSegments(fd: number, sizeBytes: number): SparseSegment[] | null {
  const segments: SparseSegment[] = [];
  let stored = 0;
  for (let at = 0; at < sizeBytes;) {
    const offset = attempt("lseek", fd, at, SEEK_DATA);
    // ENXIO: nothing but a hole follows.
    if (offset < 0) break;
    const hole = attempt("lseek", fd, offset, SEEK_HOLE);
    const end = Math.min(hole < 0 ? sizeBytes : hole, sizeBytes);
    if (end <= offset) break;
    segments.push({ offset, sizeBytes: end - offset });
    if (segments.length > SEGMENT_LIMIT) return null;
    stored += end - offset;
    at = end;
  }
  return sizeBytes - stored < WORTHWHILE_BYTES ? null : segments;
}

/** The map as it stands before the data, padded to a whole block. */
export function encodeSparseMap(segments: readonly SparseSegment[]): Buffer {
  const numbers = segments.flatMap(({ offset, sizeBytes }) => [offset, sizeBytes]);
  const text = Buffer.from([segments.length, ...numbers].map((number) => `${number}\n`).join(""));
  return Buffer.concat([text, Buffer.alloc(paddingOf(text.length))]);
}
