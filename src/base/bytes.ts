/** Byte strings: joining, reading bounded streams, sizes in words. */

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"] as const;

/** A size as Docker prints it: powers of 1000, up to `digits` significant digits (`7.05MB`, `0B`). */
export function humanSize(sizeBytes: number, digits = 3): string {
  let size = sizeBytes;
  let unit = 0;
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${Number(size.toPrecision(digits))}${UNITS[unit]}`;
}

/** Many chunks as one array. */
export function joinBytes(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    joined.set(chunk, offset);
    offset += chunk.length;
  }
  return joined;
}

/**
 * Everything of a stream that must not be larger than `limitBytes`.
 * @throws the error `tooLarge()` makes, as soon as one byte more has arrived; the stream is cancelled.
 */
export async function readAll(
  stream: ReadableStream<Uint8Array>,
  { limitBytes, tooLarge }: { limitBytes: number; tooLarge: () => Error },
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > limitBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return joinBytes(chunks);
}
