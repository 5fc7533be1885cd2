/** A decoder between two streams: it asks for input when it has none, and makes output when it is asked. */
import { type Codec, openBzip2, openXz } from "./codec.ts";

const OUTPUT_BYTES = 128 * 1024;
const INPUT_BYTES = 64 * 1024;
const NOTHING = new Uint8Array(0);

/** @throws EngineError "notImplemented" without the library; the stream fails with "invalid" for damaged data */
export const bunzip2 = (source: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> =>
  decoded(source, openBzip2());

/** As `bunzip2`, for xz. */
export const unxz = (source: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> =>
  decoded(source, openXz());

function decoded(source: ReadableStream<Uint8Array>, codec: Codec): ReadableStream<Uint8Array> {
  const reader = source.getReader();
  const input = new Uint8Array(new ArrayBuffer(INPUT_BYTES));
  let rest: Uint8Array = NOTHING;
  let last = false;
  let open = true;
  const close = () => {
    if (open) codec.close();
    open = false;
  };
  const next = async (): Promise<Uint8Array | null> => {
    const output = new Uint8Array(new ArrayBuffer(OUTPUT_BYTES));
    for (;;) {
      if (rest.length === 0 && !last) {
        const { done, value } = await reader.read();
        last = done;
        rest = value ?? NOTHING;
      }
      // Copied: an arriving piece may share its memory, and a library is given an address.
      const size = Math.min(rest.length, INPUT_BYTES);
      input.set(rest.subarray(0, size));
      const atEnd = last && rest.length === size;
      const { taken, made, ended } = codec.step(input, size, output, atEnd);
      rest = rest.subarray(taken);
      if (made > 0) return output.subarray(0, made);
      if (ended) return null;
    }
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        // Decoding is work: everyone else gets a turn between two pieces.
        await new Promise((resolve) => setImmediate(resolve));
        try {
          const piece = await next();
          if (piece !== null) return controller.enqueue(piece);
          close();
          controller.close();
        } catch (error) {
          close();
          await reader.cancel(error).catch(() => undefined);
          throw error;
        }
      },
      async cancel(reason) {
        close();
        await reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
