/** Reads an archive into a file and a tree. The file is the caller's to delete. */
import { type ArchiveTree, ArchiveWriter } from "#engine/build/source";

export async function spool(
  stream: ReadableStream<Uint8Array>,
  path: string,
  signal: AbortSignal,
): Promise<ArchiveTree> {
  const writer = new ArchiveWriter(path);
  let ended = false;
  try {
    for await (const chunk of stream) {
      signal.throwIfAborted();
      writer.push(chunk);
    }
    const tree = writer.end();
    ended = true;
    return tree;
  } finally {
    if (!ended) writer.close();
  }
}
