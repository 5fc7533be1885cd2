/** Frames of HTTP/2: nine bytes, then as many as they say. Source: RFC 9113, section 4 and 6. */

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  promise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

export const SETTING = { enablePush: 2, calls: 3, initialWindow: 4, frameSize: 5 } as const;

export const ERROR_CODE = {
  none: 0,
  protocol: 1,
  flowControl: 3,
  frameSize: 6,
  cancel: 8,
} as const;

export const FRAME_HEAD_BYTES = 9;
/** What either side may send before it has heard anything. */
export const FIRST_FRAME_LIMIT = 16_384;
export const FIRST_WINDOW = 65_535;
export const WINDOW_LIMIT = 2 ** 31 - 1;

export interface FrameHead {
  readonly type: number;
  readonly flags: number;
  /** 0: the connection itself. */
  readonly stream: number;
  readonly length: number;
}

/** The other side breaks the protocol: the connection ends. */
export class Http2Error extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export function writeFrameHead(
  target: Uint8Array,
  at: number,
  { type, flags, stream, length }: FrameHead,
): void {
  target[at] = length >>> 16;
  target[at + 1] = length >>> 8;
  target[at + 2] = length;
  target[at + 3] = type;
  target[at + 4] = flags;
  target[at + 5] = stream >>> 24;
  target[at + 6] = stream >>> 16;
  target[at + 7] = stream >>> 8;
  target[at + 8] = stream;
}

/** A small frame whole. */
export function encodeFrame(head: Omit<FrameHead, "length">, body: Uint8Array): Buffer {
  const frame = Buffer.alloc(FRAME_HEAD_BYTES + body.length);
  writeFrameHead(frame, 0, { ...head, length: body.length });
  frame.set(body, FRAME_HEAD_BYTES);
  return frame;
}

/** Numbers of four bytes, one behind the other. */
export function numbers(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, 4 * index);
  return bytes;
}

/** The bytes of a frame that belong to it, of those that may be made longer to hide its length. */
export function withoutPadding({ flags, type }: FrameHead, body: Uint8Array): Uint8Array {
  const padding = (flags & FLAG.padded) === 0 ? -1 : (body[0] ?? 0);
  const hasPriority = type === FRAME.headers && (flags & FLAG.priority) !== 0;
  const start = (padding < 0 ? 0 : 1) + (hasPriority ? 5 : 0);
  const end = body.length - Math.max(padding, 0);
  if (end < start) throw new Http2Error(ERROR_CODE.protocol, "more padding than a frame has room");
  return body.subarray(start, end);
}

export interface FrameSink {
  /** A frame that is whole; of data only where it is padded. */
  frame(head: FrameHead, body: Uint8Array): void;
  /** Some bytes of a frame of data. @param isLast of this frame */
  data(head: FrameHead, bytes: Uint8Array, isLast: boolean): void;
}

/** Cuts what arrives into frames. Data is handed on as it comes: it is most of all, and nothing here copies it. */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #limitBytes: number;
  #rest: Uint8Array = new Uint8Array(0);
  /** A frame of data that has begun, and how much of it is to come. */
  #open: { readonly head: FrameHead; left: number } | null = null;

  /** @param limitBytes no frame may be longer */
  constructor(sink: FrameSink, limitBytes: number) {
    this.#sink = sink;
    this.#limitBytes = limitBytes;
  }

  /** @throws Http2Error */
  push(chunk: Uint8Array): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (at < bytes.length) {
      if (this.#open !== null) {
        at = this.#pass(this.#open, bytes, at);
        continue;
      }
      if (bytes.length - at < FRAME_HEAD_BYTES) break;
      const head = readHead(bytes, at);
      if (head.length > this.#limitBytes) {
        throw new Http2Error(ERROR_CODE.frameSize, "a frame is too long");
      }
      const isPassed = head.type === FRAME.data && (head.flags & FLAG.padded) === 0;
      if (isPassed && head.length > 0) {
        this.#open = { head, left: head.length };
        at += FRAME_HEAD_BYTES;
        continue;
      }
      const end = at + FRAME_HEAD_BYTES + head.length;
      if (end > bytes.length) break;
      this.#sink.frame(head, bytes.subarray(at + FRAME_HEAD_BYTES, end));
      at = end;
    }
    this.#rest = bytes.subarray(at);
  }

  #pass(open: { readonly head: FrameHead; left: number }, bytes: Uint8Array, at: number): number {
    const end = Math.min(at + open.left, bytes.length);
    open.left -= end - at;
    if (open.left === 0) this.#open = null;
    this.#sink.data(open.head, bytes.subarray(at, end), open.left === 0);
    return end;
  }
}

const readHead = (bytes: Uint8Array, at: number): FrameHead => {
  const byte = (index: number) => bytes[at + index] ?? 0;
  return {
    length: byte(0) * 0x10000 + (byte(1) << 8) + byte(2),
    type: byte(3),
    flags: byte(4),
    stream: (byte(5) & 0x7f) * 0x1000000 + (byte(6) << 16) + (byte(7) << 8) + byte(8),
  };
};
