/** A generator of pieces as a stream: everyone else gets a turn between two of them. */

import { type Patience, StallGuard } from "./stall.ts";

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
          const next = open ? pieces.next() : null;
          guard?.moved();
          if (next?.done === false) return controller.enqueue(next.value);
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
