/**
 * Docker's multiplexed stream: stdout and stderr of a process without a terminal, on one connection.
 *
 *   stream (0 stdin, 1 stdout, 2 stderr, 3 the daemon's own error) | 0 0 0 | length, 4 bytes big-endian | bytes
 *
 * `naru-exec` is this engine's addition: a client that offers it as an `Upgrade` with the request that creates an
 * exec gets the exec started on that very connection, in frames, and last a frame of stream 4: the exit code, 4 bytes
 * big-endian. One exchange instead of three. Whoever does not know the offer answers as if there were none.
 */
import { EngineError } from "#base";

const FRAME_HEADER_BYTES = 8;
const EXIT_BYTES = 4;
/** What one frame may claim: a longer one is a broken or hostile peer, not output. */
export const FRAME_LIMIT_BYTES = 16 * 1024 * 1024;

const FRAME_STREAMS = ["stdin", "stdout", "stderr", "systemerr", "exit"] as const;
export type FrameStream = (typeof FRAME_STREAMS)[number];

/** The protocol of an exec in one exchange. */
export const EXEC_UPGRADE = "naru-exec";
/** Header of its answer's head: the exec's id. */
export const EXEC_ID_HEADER = "Naru-Exec-Id";

/** Content types that tell a client how to read a hijacked or log stream. */
export const RAW_STREAM = "application/vnd.docker.raw-stream";
export const MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream";

/** One whole frame. */
export function encodeFrame(stream: FrameStream, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  frame[0] = FRAME_STREAMS.indexOf(stream);
  new DataView(frame.buffer).setUint32(4, payload.length);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

/** The last frame of an exec in one exchange. */
export function encodeExit(exitCode: number): Uint8Array<ArrayBuffer> {
  const payload = new Uint8Array(EXIT_BYTES);
  new DataView(payload.buffer).setUint32(0, exitCode);
  return encodeFrame("exit", payload);
}

/**
 * Reads frames from chunks cut anywhere. Payloads are handed on as they arrive, without waiting for a frame to be
 * complete and without copying: each is a view into the chunk, valid until the callback returns unless copied.
 */
export class FrameDecoder {
  readonly #onPayload: (stream: FrameStream, payload: Uint8Array) => void;
  readonly #onExit: ((exitCode: number) => void) | null;
  readonly #exit: number[] = [];
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerLength = 0;
  #stream: FrameStream = "stdout";
  #remaining = 0;

  /** @param onExit of an exec in one exchange; without it an exit code is no frame */
  constructor(
    onPayload: (stream: FrameStream, payload: Uint8Array) => void,
    onExit: ((exitCode: number) => void) | null = null,
  ) {
    this.#onPayload = onPayload;
    this.#onExit = onExit;
  }

  /** @throws EngineError "invalid" when the bytes are not frames */
  push(chunk: Uint8Array): void {
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#remaining === 0) {
        offset = this.#readHeader(chunk, offset);
        continue;
      }
      const end = Math.min(chunk.length, offset + this.#remaining);
      this.#remaining -= end - offset;
      const payload = chunk.subarray(offset, end);
      if (this.#stream === "exit") this.#takeExit(payload);
      else this.#onPayload(this.#stream, payload);
      offset = end;
    }
  }

  #takeExit(payload: Uint8Array): void {
    this.#exit.push(...payload);
    if (this.#remaining > 0) return;
    const bytes = new Uint8Array(this.#exit.splice(0));
    this.#onExit?.(new DataView(bytes.buffer).getUint32(0));
  }

  /** @throws EngineError "invalid" when the stream stopped inside a frame */
  end(): void {
    if (this.#headerLength > 0 || this.#remaining > 0) {
      throw new EngineError("invalid", "unexpected EOF");
    }
  }

  #readHeader(chunk: Uint8Array, offset: number): number {
    const taken = Math.min(FRAME_HEADER_BYTES - this.#headerLength, chunk.length - offset);
    this.#header.set(chunk.subarray(offset, offset + taken), this.#headerLength);
    this.#headerLength += taken;
    if (this.#headerLength < FRAME_HEADER_BYTES) return offset + taken;
    this.#headerLength = 0;
    const [type = 255] = this.#header;
    const stream = FRAME_STREAMS[type];
    if (stream === undefined || (stream === "exit" && this.#onExit === null))
      throw new EngineError("invalid", `Unrecognized input header: ${type}`);
    const length = new DataView(this.#header.buffer).getUint32(4);
    if (stream === "exit" && length !== EXIT_BYTES) {
      throw new EngineError("invalid", `an exit code of ${length} bytes`);
    }
    if (length > FRAME_LIMIT_BYTES) {
      throw new EngineError("invalid", `stream frame of ${length} bytes is too large`);
    }
    this.#stream = stream;
    this.#remaining = length;
    return offset + taken;
  }
}
