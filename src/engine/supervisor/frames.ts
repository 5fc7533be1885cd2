/** Control frames: a 4-byte big-endian length and that many bytes of JSON. */
import { assert, invalid } from "#base";

/** A birth carries a whole runtime spec; nothing real comes near this. */
export const FRAME_LIMIT_BYTES = 8 * 1024 * 1024;
const HEAD_BYTES = 4;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function encodeFrame(value: unknown): Uint8Array<ArrayBuffer> {
  const json = encoder.encode(JSON.stringify(value));
  assert(json.length <= FRAME_LIMIT_BYTES, `a frame of ${json.length} bytes`);
  const frame = new Uint8Array(HEAD_BYTES + json.length);
  new DataView(frame.buffer).setUint32(0, json.length);
  frame.set(json, HEAD_BYTES);
  return frame;
}

/** Puts frames together from whatever pieces the socket delivers. */
export class FrameReader {
  #chunks: Uint8Array[] = [];
  #sizeBytes = 0;
  /** The size of the frame that is arriving, once its head is known. */
  #neededBytes = 0;

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks.push(bytes.slice()); // the socket uses its buffer again
    this.#sizeBytes += bytes.length;
  }

  /** The next whole frame, decoded; undefined when it has not arrived. @throws EngineError "invalid" */
  next(): unknown {
    if (this.#sizeBytes < HEAD_BYTES || this.#sizeBytes < this.#neededBytes) return undefined;
    const head = this.#join();
    const length = new DataView(head.buffer, head.byteOffset).getUint32(0);
    if (length > FRAME_LIMIT_BYTES) throw invalid(`a frame of ${length} bytes is too large`);
    this.#neededBytes = HEAD_BYTES + length;
    if (this.#sizeBytes < this.#neededBytes) return undefined;
    this.#neededBytes = 0;
    const whole = this.takeRest();
    this.#restore(whole.subarray(HEAD_BYTES + length));
    try {
      return JSON.parse(decoder.decode(whole.subarray(HEAD_BYTES, HEAD_BYTES + length)));
    } catch (cause) {
      throw invalid("a frame is not JSON", { cause });
    }
  }

  /** Whatever came after the frames read so far: the beginning of a raw stream. */
  takeRest(): Uint8Array {
    const whole = this.#join();
    this.#chunks = [];
    this.#sizeBytes = 0;
    return whole;
  }

  #restore(rest: Uint8Array): void {
    if (rest.length === 0) return;
    this.#chunks = [rest];
    this.#sizeBytes = rest.length;
  }

  #join(): Uint8Array {
    const [first] = this.#chunks;
    if (this.#chunks.length === 1 && first !== undefined) return first;
    const whole = new Uint8Array(this.#sizeBytes);
    let offset = 0;
    for (const chunk of this.#chunks) {
      whole.set(chunk, offset);
      offset += chunk.length;
    }
    this.#chunks = this.#sizeBytes === 0 ? [] : [whole];
    return whole;
  }
}
