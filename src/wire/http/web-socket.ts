/**
 * WebSocket on a socket that is already ours, server side: the handshake's answer and the frames.
 * Fragments are handed on as they come, since the stream of a process has no messages. No extensions.
 * Spec: RFC 6455.
 */
import { invalid } from "#base";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** What one client frame may claim. */
const FRAME_LIMIT_BYTES = 1024 * 1024;
const CONTROL_LIMIT_BYTES = 125;

export const WEB_SOCKET_OPCODES = {
  continuation: 0,
  text: 1,
  binary: 2,
  close: 8,
  ping: 9,
  pong: 10,
};

/** `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key`. */
export const webSocketAccept = (key: string): string =>
  new Bun.CryptoHasher("sha1").update(key.trim() + GUID).digest("base64");

/** One unmasked frame, as servers send them. */
export function webSocketFrame(opcode: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const { length } = payload;
  const extra = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const frame = new Uint8Array(2 + extra + length);
  const view = new DataView(frame.buffer);
  frame[0] = 0x80 | opcode;
  frame[1] = extra === 0 ? length : extra === 2 ? 126 : 127;
  if (extra === 2) view.setUint16(2, length);
  if (extra === 8) view.setBigUint64(2, BigInt(length));
  frame.set(payload, 2 + extra);
  return frame;
}

interface FrameHead {
  readonly opcode: number;
  readonly length: number;
  readonly mask: Uint8Array;
  readonly size: number;
}

/** Reads a client's masked frames from chunks cut anywhere; a payload is whole and unmasked. */
export class WebSocketDecoder {
  readonly #onFrame: (opcode: number, payload: Uint8Array) => void;
  #pending: Uint8Array = new Uint8Array(0);

  constructor(onFrame: (opcode: number, payload: Uint8Array) => void) {
    this.#onFrame = onFrame;
  }

  /** @throws EngineError "invalid" when the client breaks the protocol */
  push(chunk: Uint8Array): void {
    let bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    for (;;) {
      const head = readHead(bytes);
      if (head === null || bytes.length < head.size + head.length) break;
      const payload = bytes.slice(head.size, head.size + head.length);
      for (let at = 0; at < payload.length; at += 1) {
        payload[at] = (payload[at] ?? 0) ^ (head.mask[at & 3] ?? 0);
      }
      this.#onFrame(head.opcode, payload);
      bytes = bytes.subarray(head.size + head.length);
    }
    this.#pending = bytes.slice();
  }
}

/** null while the head itself is not complete. */
function readHead(bytes: Uint8Array): FrameHead | null {
  const [first, second] = bytes;
  if (first === undefined || second === undefined) return null;
  if ((first & 0x70) !== 0) throw invalid("websocket: reserved bits are set");
  if ((second & 0x80) === 0) throw invalid("websocket: a client's frame must be masked");
  const opcode = first & 0x0f;
  const short = second & 0x7f;
  const extra = short === 126 ? 2 : short === 127 ? 8 : 0;
  const size = 2 + extra + 4;
  if (bytes.length < size) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length =
    extra === 0 ? short : extra === 2 ? view.getUint16(2) : Number(view.getBigUint64(2));
  const limit = opcode >= 8 ? CONTROL_LIMIT_BYTES : FRAME_LIMIT_BYTES;
  if (length > limit) throw invalid(`websocket: a frame of ${length} bytes is too large`);
  return {
    opcode,
    length,
    mask: bytes.slice(size - 4, size),
    size,
  };
}
