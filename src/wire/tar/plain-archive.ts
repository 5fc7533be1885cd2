/** What arriving bytes are, by their beginning, without losing it. */
import { invalid, joinBytes, sentenceOf } from "#base";
import { bunzip2, unxz } from "#linux/compression";

/** Enough for a tar's header block. */
const PEEK_BYTES = 512;

export type StreamKind = "gzip" | "zstd" | "bzip2" | "xz" | "tar" | "json" | "other";

export interface Peeked {
  readonly kind: StreamKind;
  /** How many bytes were looked at: fewer than a tar's block where there are no more. */
  readonly sizeBytes: number;
  /** The same bytes from the start. */
  readonly stream: ReadableStream<Uint8Array>;
}

/** Reads up to 512 bytes and gives them back in front of the rest. */
export async function peek(stream: ReadableStream<Uint8Array>): Promise<Peeked> {
  const reader = stream.getReader();
  const chunks: Uint8Array[] = [];
  let size = 0;
  let ended = false;
  while (size < PEEK_BYTES && !ended) {
    const { done, value } = await reader.read();
    ended = done;
    if (!value) continue;
    chunks.push(value);
    size += value.length;
  }
  const head = joinBytes(chunks);
  const rest = new ReadableStream<Uint8Array>(
    {
      start: (controller) => {
        if (head.length > 0) controller.enqueue(head);
        if (ended) controller.close();
      },
      pull: async (controller) => {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
  return { kind: kindOf(head), sizeBytes: head.length, stream: rest };
}

const MAGIC: readonly (readonly [StreamKind, readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["bzip2", [0x42, 0x5a, 0x68]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
];

function kindOf(head: Uint8Array): StreamKind {
  for (const [kind, magic] of MAGIC) {
    if (magic.every((byte, index) => head[index] === byte)) return kind;
  }
  if (isTarBlock(head.subarray(0, PEEK_BYTES))) return "tar";
  const first = new TextDecoder().decode(head.subarray(0, 64)).trimStart()[0];
  return first === "{" || first === "[" ? "json" : "other";
}

/** A header with a good checksum, or the zeros of an empty archive. */
function isTarBlock(block: Uint8Array): boolean {
  if (block.length < PEEK_BYTES) return false;
  let sum = 0;
  for (const [index, byte] of block.entries()) sum += index >= 148 && index < 156 ? 0x20 : byte;
  if (sum === 8 * 0x20) return true;
  const stated = new TextDecoder("latin1").decode(block.subarray(148, 156)).replace(/[\0 ]+$/, "");
  return /^ *[0-7]+$/.test(stated) && Number.parseInt(stated, 8) === sum;
}

/**
 * An archive as plain tar, whatever it came as; decompressed off the main thread.
 * @throws EngineError "invalid" for what is no archive, "notImplemented" where a format's library is missing
 */
export async function plainArchive(
  archive: ReadableStream<Uint8Array>,
): Promise<ReadableStream<Uint8Array>> {
  const { kind, sizeBytes, stream } = await peek(archive);
  // Nothing at all is an archive without entries, as for Docker.
  if (sizeBytes === 0) return stream;
  switch (kind) {
    case "tar":
      return stream;
    case "gzip":
      return inflated(stream, "gzip");
    case "zstd":
      return inflated(stream, "zstd");
    case "bzip2":
      return bunzip2(stream);
    case "xz":
      return unxz(stream);
    case "json":
    case "other":
      await stream.cancel();
      throw invalid(sizeBytes < PEEK_BYTES ? "unexpected EOF" : "archive/tar: invalid tar header");
  }
}

/** A damaged archive is its sender's mistake; a source that breaks off is not, and fails as it is. */
function inflated(
  stream: ReadableStream<Uint8Array>,
  format: "gzip" | "zstd",
): ReadableStream<Uint8Array> {
  let broken: { readonly cause: unknown } | null = null;
  const source = translated(stream, (cause) => {
    broken = { cause };
    return cause;
  });
  return translated(source.pipeThrough(decompressor(format)), (cause) =>
    broken === null ? invalid(`${format}: ${sentenceOf(cause)}`, { cause }) : broken.cause,
  );
}

/** The same stream, its failure told otherwise. */
function translated(
  stream: ReadableStream<Uint8Array>,
  translate: (cause: unknown) => unknown,
): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (cause) {
          throw translate(cause);
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/** Bun knows zstd too, its types do not. */
const decompressor = (format: "gzip" | "zstd"): ReadableWritablePair<Uint8Array, Uint8Array> =>
  new DecompressionStream(format) as unknown as ReadableWritablePair<Uint8Array, Uint8Array>;
