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
  const whole = await archiveFrom(stream);
  return whole && (await spool(whole, join(scratch, `${newId()}.tar`), signal));
}

/**
 * What begins as an archive is one, and has to be a whole one; a compressed file that holds something else is copied
 * as it is, and so is one that cannot be read at all.
 */
async function archiveFrom(
  stream: ReadableStream<Uint8Array>,
): Promise<ReadableStream<Uint8Array> | null> {
  const { kind, stream: whole } = await peek(stream);
  if (kind === "tar") return whole;
  if (kind === "other" || kind === "json") {
    await whole.cancel();
    return null;
  }
  try {
    const inside = await peek(await plainArchive(whole));
    if (inside.kind === "tar") return inside.stream;
    await inside.stream.cancel();
    return null;
  } catch (cause) {
    if (cause instanceof EngineError && cause.kind === "invalid") return null;
    throw cause;
  }
}
