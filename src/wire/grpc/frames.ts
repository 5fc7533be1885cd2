/**
 * Messages on a gRPC stream: one byte that says whether a message is compressed, four for its length, the message.
 * Nothing here compresses, and a compressed message is refused.
 */
import { grpcFailure, GRPC_STATUS } from "./status.ts";

const HEAD_BYTES = 5;

/** What stands before a message. */
export function frameHead(messageBytes: number): Uint8Array {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32BE(messageBytes, 1);
  return head;
}

/** One message with its head. */
export const encodeGrpcFrame = (message: Uint8Array): Uint8Array =>
  Buffer.concat([frameHead(message.length), message]);

/** Cuts what arrives into messages, however it was cut on the way. */
export class GrpcFrameReader {
  readonly #limitBytes: number;
  #pending: Uint8Array[] = [];
  #size = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /**
   * @param messages where those are added that are whole now. @returns the same
   * @throws GrpcFailure for one that is too large or compressed
   */
  push(chunk: Uint8Array, messages: Uint8Array[] = []): Uint8Array[] {
    this.#pending.push(chunk);
    this.#size += chunk.length;
    while (this.#size >= HEAD_BYTES) {
      const bytes = this.#joined(HEAD_BYTES);
      if (bytes[0] !== 0) throw grpcFailure(GRPC_STATUS.unimplemented, "compressed messages");
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const length = view.getUint32(1);
      if (length > this.#limitBytes) {
        const text = `received message larger than max (${length} vs. ${this.#limitBytes})`;
        throw grpcFailure(GRPC_STATUS.resourceExhausted, text);
      }
      if (this.#size < HEAD_BYTES + length) break;
      const whole = this.#joined(HEAD_BYTES + length);
      messages.push(whole.subarray(HEAD_BYTES, HEAD_BYTES + length));
      this.#pending = [whole.subarray(HEAD_BYTES + length)];
      this.#size -= HEAD_BYTES + length;
    }
    return messages;
  }

  /** True when a message has begun and not ended. */
  get isInside(): boolean {
    return this.#size > 0;
  }

  /** The first piece, made long enough: pieces of one large message are put together once, when all are there. */
  #joined(atLeast: number): Uint8Array {
    const [first] = this.#pending;
    if (first !== undefined && first.length >= atLeast) return first;
    const joined = Buffer.concat(this.#pending);
    this.#pending = [joined];
    return joined;
  }
}
