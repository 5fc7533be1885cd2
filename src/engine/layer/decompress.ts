/**
 * Decompression beside the reader: zlib inflates on a thread of its own while the last piece is hashed and written.
 * Several gzip members or zstd frames are one stream. Memory: at most `QUEUE_LIMIT_BYTES` and one piece.
 */
import { createGunzip, createZstdDecompress } from "node:zlib";

import { invalid, sentenceOf } from "#base";
import { bunzip2, unxz } from "#linux/compression";

import { type Compression, detectCompression, MAGIC_BYTES, ZstdEnd } from "./compression.ts";

const PIECE_BYTES = 1024 * 1024;
const QUEUE_LIMIT_BYTES = 8 * 1024 * 1024;
/** From this size on an archive must not be thousands of times larger than what arrived: gzip cannot exceed 1032. */
const BOMB_FLOOR_BYTES = 4 * 1024 * 1024 * 1024;
const BOMB_RATIO = 2000;

/** Arriving bytes, piece by piece; a piece stays valid until the second next one is asked for. */
export type Pieces = AsyncIterator<Uint8Array, void>;

/** What arrives, by its first bytes, and all of it from the start. */
export async function recognise(
  pieces: Pieces,
): Promise<{ compression: Compression; pieces: AsyncGenerator<Uint8Array, void> }> {
  const head: Uint8Array[] = [];
  let size = 0;
  while (size < MAGIC_BYTES) {
    const { done, value } = await pieces.next();
    if (done) break;
    // Tiny first pieces are kept longer than pieces live.
    head.push(value.length < MAGIC_BYTES ? value.slice() : value);
    size += value.length;
  }
  const magic = Buffer.concat(head.map((piece) => piece.subarray(0, MAGIC_BYTES)));
  return { compression: detectCompression(magic), pieces: chained(head, pieces) };
}

async function* chained(
  head: readonly Uint8Array[],
  rest: Pieces,
): AsyncGenerator<Uint8Array, void> {
  try {
    yield* head;
    for (;;) {
      const { done, value } = await rest.next();
      if (done) return;
      yield value;
    }
  } finally {
    await rest.return?.();
  }
}

/**
 * Feeds the plain bytes of what arrives to `take`.
 * @throws EngineError "invalid" for broken or cut streams and for decompression bombs
 */
export async function decompress({ compression, pieces, take }: DecompressRequest): Promise<void> {
  switch (compression) {
    case "plain":
      for await (const piece of pieces) await take(piece);
      return;
    case "gzip":
    case "zstd":
      return inflate({ compression, pieces, take });
    case "bzip2":
      return await decode({ pieces, take, decoder: bunzip2 });
    case "xz":
      return await decode({ pieces, take, decoder: unxz });
  }
}

interface DecompressRequest {
  readonly compression: Compression;
  readonly pieces: AsyncGenerator<Uint8Array, void>;
  readonly take: (plain: Uint8Array) => Promise<void> | void;
}

interface InflateRequest extends DecompressRequest {
  readonly compression: "gzip" | "zstd";
}

/** Plain bytes beside those that arrived. @throws EngineError "invalid" for a decompression bomb */
class Ratio {
  arrived = 0;
  #plain = 0;

  add(plainBytes: number): void {
    this.#plain += plainBytes;
    const isBomb = this.#plain > BOMB_FLOOR_BYTES && this.#plain / this.arrived > BOMB_RATIO;
    if (isBomb) throw invalid("the layer decompresses to an unreasonable size");
  }
}

/** The formats of libraries that decode where they are called: here that is a Worker of the layer store. */
async function decode(request: {
  readonly pieces: AsyncGenerator<Uint8Array, void>;
  readonly take: DecompressRequest["take"];
  readonly decoder: typeof unxz;
}): Promise<void> {
  const { pieces, take, decoder } = request;
  const ratio = new Ratio();
  const source = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const { done, value } = await pieces.next();
        if (done) return controller.close();
        ratio.arrived += value.length;
        controller.enqueue(value);
      },
      cancel: () => void pieces.return(),
    },
    // A piece does not live longer than its turn.
    { highWaterMark: 0 },
  );
  for await (const plain of decoder(source)) {
    ratio.add(plain.length);
    await take(plain);
  }
}

async function inflate({ compression, pieces, take }: InflateRequest): Promise<void> {
  const options = { chunkSize: PIECE_BYTES };
  const inflater = compression === "gzip" ? createGunzip(options) : createZstdDecompress(options);
  const zstdEnd = compression === "zstd" ? new ZstdEnd() : null;
  const ratio = new Ratio();
  const queue = new PlainQueue(inflater);

  const feed = async () => {
    let consumed: Promise<void> = Promise.resolve();
    for await (const piece of pieces) {
      ratio.arrived += piece.length;
      zstdEnd?.push(piece);
      await consumed;
      consumed = new Promise((resolve, reject) => {
        inflater.write(piece, (error) => (error ? reject(error) : resolve()));
      });
      // Whoever waits for the next piece sees the failure; until then it must not count as unhandled.
      consumed.catch(() => undefined);
    }
    await consumed;
    zstdEnd?.end();
    inflater.end();
  };
  const fed = feed().catch((error: unknown) => queue.fail(error));
  try {
    for (let plain = await queue.next(); plain !== null; plain = await queue.next()) {
      ratio.add(plain.length);
      await take(plain);
    }
    await fed;
  } catch (error) {
    throw isZlib(error) ? invalid(`${compression}: ${sentenceOf(error)}`, { cause: error }) : error;
  } finally {
    inflater.destroy();
  }
}

const isZlib = (error: unknown): boolean =>
  error instanceof Error && "code" in error && /^(Z_|ZSTD_|ERR_)/.test(String(error.code));

/** What the inflater has ready; it pauses when too much waits. */
class PlainQueue {
  readonly #inflater: ReturnType<typeof createGunzip>;
  readonly #ready: Buffer[] = [];
  #size = 0;
  #ended = false;
  #failure: { readonly error: unknown } | null = null;
  #wake: () => void = () => undefined;

  constructor(inflater: ReturnType<typeof createGunzip>) {
    this.#inflater = inflater;
    inflater.on("data", (chunk: Buffer) => {
      this.#ready.push(chunk);
      this.#size += chunk.length;
      if (this.#size > QUEUE_LIMIT_BYTES) inflater.pause();
      this.#wake();
    });
    inflater.on("end", () => {
      this.#ended = true;
      this.#wake();
    });
    inflater.on("error", (error: Error) => this.fail(error));
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake();
  }

  /** The next plain piece; null at the end. */
  async next(): Promise<Buffer | null> {
    for (;;) {
      const chunk = this.#ready.shift();
      if (chunk) {
        this.#size -= chunk.length;
        if (this.#inflater.isPaused() && this.#size < QUEUE_LIMIT_BYTES / 2)
          this.#inflater.resume();
        return chunk;
      }
      if (this.#failure) throw this.#failure.error;
      if (this.#ended) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
