/** A generator of pieces as a stream: small pieces together, and everyone else gets a turn between two chunks. */

import { type Patience, StallGuard } from "./stall.ts";

const CHUNK_BYTES = 256 * 1024;

/** @param owner disposed of when the stream has ended, failed, was cancelled, or its reader stalls while others wait */
export function piecesStream(
  pieces: Generator<Uint8Array, void, void>,
  owner: Disposable & Patience,
): ReadableStream<Uint8Array> {
  let open = true;
  let guard: StallGuard | null = null;
  const close = () => {
    if (!open) return;
    open = false;
    guard?.[Symbol.dispose]();
    // Closes what the walk has open.
    pieces.return();
    owner[Symbol.dispose]();
  };
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        guard = new StallGuard(owner, (error) => {
          close();
          controller.error(error);
        });
      },
      async pull(controller) {
        guard?.moved();
        await new Promise((resolve) => setImmediate(resolve));
        try {
          const chunk = open ? gather(pieces) : null;
          guard?.moved();
          if (chunk !== null) return controller.enqueue(chunk);
          close();
          controller.close();
        } catch (error) {
          close();
          throw error;
        }
      },
      cancel: close,
    },
    { highWaterMark: 0 },
  );
}

/** About one chunk; null at the end. */
function gather(pieces: Generator<Uint8Array, void, void>): Uint8Array | null {
  const gathered: Uint8Array[] = [];
  let size = 0;
  while (size < CHUNK_BYTES) {
    const { done, value } = pieces.next();
    if (done === true) break;
    gathered.push(value);
    size += value.length;
  }
  const [only] = gathered;
  if (only === undefined) return null;
  return gathered.length === 1 ? only : Buffer.concat(gathered, size);
}
