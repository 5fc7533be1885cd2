/** Archives that ADD unpacks: recognised by their bytes, never by their names. */
import { join } from "node:path";

import { EngineError, newId } from "#base";
import type { ArchiveTree, Found, SourceTree } from "#engine/build/source";
import { peek, plainArchive } from "#wire/tar";

import { bytesIn } from "./file-bytes.ts";
import { spool } from "./spool.ts";

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
