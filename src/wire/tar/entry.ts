/**
 * The tar codec of the engine, file by file:
 *
 *   entry.ts    what an entry is (this file)
 *   header.ts   one 512-byte header block, pax records
 *   sparse.ts   the four ways of GNU tar to store a file with holes
 *   parser.ts   `TarParser`: bytes in, entries and data out, synchronously (the layer indexer's hot loop)
 *   reader.ts   `readTarEntries(stream)`: the same as an async iterator, each entry with its body
 *   writer.ts   `TarWriter`, `tarStream`: entries in, tar out
 *
 * Names in a tar are bytes. Inside the codec they are *byte strings*: one character (U+0000 to U+00FF) a byte,
 * which JavaScript keeps as one byte each and sorts as the kernel would. `entry.name` is the text.
 * Sources: POSIX pax (ustar interchange format), GNU tar manual "Tar Internals", Go's archive/tar for what
 * Docker accepts.
 */

export type TarEntryType =
  | "file"
  | "hardlink"
  | "symlink"
  | "character"
  | "block"
  | "directory"
  | "fifo";

/** Where a piece of a sparse file belongs: `sizeBytes` of stored data at `offset` of the file. */
export interface SparseSegment {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Everything an entry says about itself but its names. */
export interface TarAttributes {
  readonly type: TarEntryType;
  /** Permission bits, 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** What a reader of the file sees; for sparse files more than is stored. 0 for all but files. */
  readonly sizeBytes: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  readonly devMajor: number;
  readonly devMinor: number;
  /** From SCHILY.xattr and LIBARCHIVE.xattr records; null for none. Names are byte strings. */
  readonly xattrs: ReadonlyMap<string, Uint8Array> | null;
}

/** One entry of an archive that is being read. */
export interface TarHeader extends TarAttributes {
  /** The name as a byte string, exactly as the archive has it. */
  readonly rawName: string;
  /** The target of a hard or symbolic link as a byte string. */
  readonly rawLink: string;
  /** Position of the stored data in the archive: always a multiple of 512. */
  readonly dataOffset: number;
  /** Bytes stored there, without the padding to 512. */
  readonly storedBytes: number;
  /** The stored data's places when the file has holes, in order; null when it has none. */
  readonly sparse: readonly SparseSegment[] | null;
}

export const TAR_BLOCK = 512;

/** Bytes up to the next multiple of 512. */
export const paddingOf = (sizeBytes: number): number =>
  (TAR_BLOCK - (sizeBytes % TAR_BLOCK)) % TAR_BLOCK;

const decoder = new TextDecoder();

/** The text of a byte string (UTF-8; broken sequences become U+FFFD). */
export function textOf(raw: string): string {
  // oxlint-disable-next-line no-control-regex
  if (/^[\0-\x7f]*$/.test(raw)) return raw;
  return decoder.decode(Buffer.from(raw, "latin1"));
}

/** The byte string of a text (UTF-8) or of bytes. */
export const rawOf = (name: string | Uint8Array): string =>
  typeof name === "string"
    ? Buffer.from(name, "utf8").toString("latin1")
    : Buffer.from(name.buffer, name.byteOffset, name.length).toString("latin1");

/** The bytes of a byte string. */
export const bytesOf = (raw: string): Buffer => Buffer.from(raw, "latin1");
