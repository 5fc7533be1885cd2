/** The bytes of a file of a build, wherever they lie. */
import { createReadStream } from "node:fs";
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
    case "root": {
      const file = new FileDescriptor(
        openWithoutLinks({
          rootFd: data.rootFd,
          path: bytesOf(data.path),
          flags: O_RDONLY | O_NONBLOCK,
        }),
      );
      return streamOf(createReadStream("", { fd: file.release(), start: 0 }));
    }
  }
}

const streamOf = (source: Readable): ReadableStream<Uint8Array> => Readable.toWeb(source);
