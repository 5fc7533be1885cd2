/** Archives that ADD unpacks: recognised by their bytes, never by their names. */
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";

import { EngineError, newId } from "#base";
import type { ArchiveTree, Found, SourceTree } from "#engine/build/source";
import { FileDescriptor, O_NONBLOCK, O_RDONLY, openWithoutLinks } from "#linux/path";
import { bytesOf, peek, plainArchive } from "#wire/tar";

import { spool } from "./arrival.ts";

/** The archive in a file as a tree of its own; null when it is none. @throws EngineError "invalid" for a broken one */
export async function archiveIn(
  _tree: SourceTree,
  { node }: Found,
  { scratch, signal }: { scratch: string; signal: AbortSignal },
): Promise<ArchiveTree | null> {
  const stream = bytesIn(node);
  if (stream === null) return null;
  const { kind, stream: whole } = await peek(stream);
  if (kind === "other" || kind === "json") {
    await whole.cancel();
    return null;
  }
  const path = join(scratch, `${newId()}.tar`);
  try {
    return await spool(await plainArchive(whole), path, signal);
  } catch (cause) {
    // A compressed file that holds no archive is copied as it is.
    const isFile = kind !== "tar" && cause instanceof EngineError && cause.kind === "invalid";
    if (isFile) return null;
    throw cause;
  }
}

function bytesIn({ data, sizeBytes }: Found["node"]): ReadableStream<Uint8Array> | null {
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
