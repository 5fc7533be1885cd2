/** A generator of pieces as a stream: small pieces together, and everyone else gets a turn between two chunks. */

const CHUNK_BYTES = 256 * 1024;

/** @param owner disposed of when the stream has ended, failed or was cancelled */
export function piecesStream(
  pieces: Generator<Uint8Array, void, void>,
  owner: Disposable,
): ReadableStream<Uint8Array> {
  let open = true;
  const close = () => {
    if (!open) return;
    open = false;
    // Closes what the walk has open.
    pieces.return();
    owner[Symbol.dispose]();
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        await new Promise((resolve) => setImmediate(resolve));
        try {
          const chunk = open ? gather(pieces) : null;
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
