/** The pieces of an archive gathered: most are shorter than a page, and each costs whoever takes it a call. */
const CHUNK_BYTES = 256 * 1024;
/** A piece of this size is worth its own call: it is handed on as it is. */
const LARGE_BYTES = 32 * 1024;

/** The same bytes in few pieces. One that was gathered belongs to whoever took it; a large one is the source's own. */
export function* tarChunks(pieces: Iterable<Uint8Array>): Generator<Uint8Array, void, void> {
  let chunk: Buffer | null = null;
  let used = 0;
  for (const piece of pieces) {
    const isLarge = piece.length >= LARGE_BYTES;
    if (chunk !== null && (isLarge || used + piece.length > chunk.length)) {
      yield chunk.subarray(0, used);
      chunk = null;
      used = 0;
    }
    if (isLarge) yield piece;
    else {
      chunk ??= Buffer.allocUnsafeSlow(CHUNK_BYTES);
      chunk.set(piece, used);
      used += piece.length;
    }
  }
  if (chunk !== null) yield chunk.subarray(0, used);
}
