/**
 * A tar of entries whose data lies elsewhere: in another archive, below the root of an image, or in memory. This is
 * how COPY becomes a layer: one read and one write, no file is made on the way.
 */
import { readSync } from "node:fs";

import { internal } from "#base";
import { FileDescriptor, O_NONBLOCK, O_RDONLY, openPath, openWithoutLinks } from "#linux/path";
import {
  bytesOf,
  encodeRawTarHeader,
  paddingOf,
  type SparseSegment,
  tarPadding,
  type TarEntryType,
} from "#wire/tar";

/** Where a file's bytes are. */
export type EntryData =
  /** In a file of ours; with `sparse` only these segments are stored, one after the other. */
  | {
      readonly kind: "file";
      readonly path: string;
      readonly offset: number;
      readonly sparse: readonly SparseSegment[] | null;
    }
  /** A file below a directory that nobody can change meanwhile; no link is followed. */
  | { readonly kind: "root"; readonly rootFd: number; readonly path: string }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array };

/** One entry, in words that can be sent to a Worker. Names and links are byte strings. */
export interface LayerEntry {
  readonly name: string;
  readonly type: TarEntryType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly mtimeSec: number;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly link: string | null;
  readonly xattrs: ReadonlyMap<string, Uint8Array> | null;
  readonly data: EntryData | null;
}

type Pieces = Generator<Uint8Array, void, void>;

const PIECE_BYTES = 1024 * 1024;
/** Smaller files are read together with their neighbours. */
const SMALL_BYTES = 64 * 1024;
const READ_BYTES = 4096;

/** The tar's pieces, without its end. */
export class EntriesTar implements Disposable {
  readonly #files = new OpenFiles();

  /** In the order given; each piece is to be used before the next is asked for. @throws SyscallError */
  *of(entries: Iterable<LayerEntry>): Pieces {
    for (const entry of entries) {
      const { data, link, name, ...attributes } = entry;
      yield encodeRawTarHeader({ ...attributes, rawName: name, rawLink: link ?? "" });
      if (data === null || entry.sizeBytes === 0) continue;
      yield* contentOf(this.#files, data, entry.sizeBytes);
      if (paddingOf(entry.sizeBytes) > 0) yield tarPadding(entry.sizeBytes);
    }
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }
}

function* contentOf(files: OpenFiles, data: EntryData, sizeBytes: number): Pieces {
  switch (data.kind) {
    case "bytes":
      yield data.bytes;
      return;
    case "root": {
      using file = openBelow(data.rootFd, data.path);
      yield* pieces(file.fd, 0, sizeBytes);
      return;
    }
    case "file": {
      if (data.sparse === null && sizeBytes <= SMALL_BYTES) {
        yield files.read(data.path, data.offset, sizeBytes);
        return;
      }
      const fd = files.open(data.path);
      if (data.sparse === null) yield* pieces(fd, data.offset, sizeBytes);
      else yield* filled(fd, data.offset, { segments: data.sparse, sizeBytes });
    }
  }
}

function openBelow(rootFd: number, path: string): FileDescriptor {
  const flags = O_RDONLY | O_NONBLOCK;
  return new FileDescriptor(openWithoutLinks({ rootFd, path: bytesOf(path), flags }));
}

/** A file with its holes as zeros. */
function* filled(
  fd: number,
  offset: number,
  { segments, sizeBytes }: { segments: readonly SparseSegment[]; sizeBytes: number },
): Pieces {
  let position = 0;
  let stored = offset;
  for (const segment of segments) {
    yield* zeros(segment.offset - position);
    yield* pieces(fd, stored, segment.sizeBytes);
    stored += segment.sizeBytes;
    position = segment.offset + segment.sizeBytes;
  }
  yield* zeros(sizeBytes - position);
}

function* zeros(sizeBytes: number): Pieces {
  for (let left = sizeBytes; left > 0; left -= PIECE_BYTES) {
    yield new Uint8Array(Math.min(left, PIECE_BYTES));
  }
}

const SHORT = "a file that is being copied is shorter than it was";

function* pieces(fd: number, offset: number, sizeBytes: number): Pieces {
  const buffer = Buffer.allocUnsafe(Math.min(sizeBytes, PIECE_BYTES));
  for (let done = 0; done < sizeBytes;) {
    const size = Math.min(sizeBytes - done, buffer.length);
    const read = readSync(fd, buffer, 0, size, offset + done);
    if (read === 0) throw internal(SHORT);
    done += read;
    yield buffer.subarray(0, read);
  }
}

/** The last file that was read from, and a part of it: an archive is read many times in a row. */
class OpenFiles implements Disposable {
  #path = "";
  #file: FileDescriptor | null = null;
  #window: Buffer | null = null;
  #from = 0;
  #filled = 0;
  #ahead = READ_BYTES;

  /** A part of at most `SMALL_BYTES`. */
  read(path: string, offset: number, sizeBytes: number): Uint8Array {
    const fd = this.open(path);
    const end = this.#from + this.#filled;
    if (offset < this.#from || offset + sizeBytes > end) {
      this.#window ??= Buffer.allocUnsafe(PIECE_BYTES);
      // Who goes on where the last one ended will go on further; who jumps about gets no more than asked for.
      const goesOn = offset >= this.#from && offset <= end + READ_BYTES;
      this.#ahead = goesOn ? Math.min(2 * this.#ahead, PIECE_BYTES) : READ_BYTES;
      this.#from = offset;
      const length = Math.max(this.#ahead, sizeBytes);
      this.#filled = readSync(fd, this.#window, 0, length, offset);
      if (this.#filled < sizeBytes) throw internal(SHORT);
    }
    const start = offset - this.#from;
    return this.#window?.subarray(start, start + sizeBytes) ?? new Uint8Array(0);
  }

  open(path: string): number {
    if (this.#file === null || path !== this.#path) {
      this.#file?.[Symbol.dispose]();
      this.#file = new FileDescriptor(openPath(path, O_RDONLY));
      this.#path = path;
      this.#filled = 0;
    }
    return this.#file.fd;
  }

  [Symbol.dispose](): void {
    this.#file?.[Symbol.dispose]();
  }
}
