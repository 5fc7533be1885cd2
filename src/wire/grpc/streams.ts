/** Streams of HTTP/2, both ways no faster than the slower side. */
import type { Http2Stream } from "node:http2";

/** @returns false when nobody listens any more */
export function written(stream: Http2Stream, bytes: Uint8Array): Promise<boolean> | boolean {
  if (stream.destroyed || stream.closed) return false;
  if (stream.write(bytes)) return true;
  return new Promise((resolve) => {
    const done = () => {
      stream.off("drain", done);
      stream.off("close", done);
      resolve(!stream.destroyed);
    };
    stream.once("drain", done);
    stream.once("close", done);
  });
}

/** What is read ahead, give or take one chunk. */
const AHEAD_BYTES = 1024 * 1024;

/**
 * What arrives until the other side has said its last, or the stream is gone. Not the stream's own iterator: that one
 * takes an end before our own for an error, and a server may end a call early.
 */
export async function* arriving(stream: Http2Stream): AsyncGenerator<Uint8Array> {
  let chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  let isOver = stream.destroyed || stream.closed;
  let woken = Promise.withResolvers<void>();
  const take = (chunk: Uint8Array) => {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes >= AHEAD_BYTES) stream.pause();
    woken.resolve();
  };
  const end = () => {
    isOver = true;
    woken.resolve();
  };
  stream.on("data", take);
  for (const event of ["end", "close", "error"]) stream.once(event, end);
  if (isOver) woken.resolve();
  try {
    for (;;) {
      await woken.promise;
      woken = Promise.withResolvers();
      const taken = chunks;
      [chunks, sizeBytes] = [[], 0];
      yield* taken;
      if (chunks.length > 0) woken.resolve();
      else if (isOver) return;
      else if (stream.isPaused()) stream.resume();
    }
  } finally {
    stream.off("data", take);
    for (const event of ["end", "close", "error"]) stream.off(event, end);
  }
}
