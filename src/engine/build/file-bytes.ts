/** The bytes of a file of a build, wherever they lie. */
import { createReadStream, readSync } from "node:fs";
import { Readable } from "node:stream";

import type { SourceNode } from "#engine/build/source";
import { FileDescriptor, O_NONBLOCK, O_RDONLY, openWithoutLinks } from "#linux/path";
import { bytesOf } from "#wire/tar";

/** null for an empty file, one with holes, and for what is no file. */
export function bytesIn({ data, sizeBytes }: SourceNode): ReadableStream<Uint8Array> | null {
  if (data === null || sizeBytes === 0) return null;
  switch (data.kind) {
    case "bytes":
      return new Blob([data.bytes]).stream();
    case "file":
      if (data.sparse !== null) return null;
      return streamOf(
        createReadStream(data.path, { start: data.offset, end: data.offset + sizeBytes - 1 }),
      );
    case "root":
      return streamOf(createReadStream("", { fd: openFile(data).release(), start: 0 }));
  }
}

const openFile = ({ rootFd, path }: { rootFd: number; path: string }): FileDescriptor =>
  new FileDescriptor(
    openWithoutLinks({ rootFd, path: bytesOf(path), flags: O_RDONLY | O_NONBLOCK }),
  );

const PIECE_BYTES = 256 * 1024;

/** What a file below a root holds, holes as zeros; nothing for what is no file. A piece belongs to whoever took it. */
export function* piecesOf({ data, sizeBytes }: SourceNode): Generator<Uint8Array, void, void> {
  if (data?.kind !== "root") return;
  using file = openFile(data);
  for (let done = 0; done < sizeBytes;) {
    const piece = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, sizeBytes - done));
    const read = readSync(file.fd, piece, 0, piece.length, done);
    if (read === 0) return;
    done += read;
    yield piece.subarray(0, read);
  }
}

const streamOf = (source: Readable): ReadableStream<Uint8Array> => Readable.toWeb(source);
