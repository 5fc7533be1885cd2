/**
 * HTTP/2 on a connection that is ours already, this side as the client. In place of `node:http2`, which answers each
 * word of the other side's about its room with a frame of that size: Go's server says so after every eight kilobytes.
 * Here what waits goes out in pieces of a quarter of a megabyte, and what arrives is handed on without a copy.
 *
 * The other side is a stranger: what it may make us hold is bounded by windows, by the limits of header fields, and by
 * `CONTROL_LIMIT_BYTES` for answers that it does not take.
 * Source: RFC 9113.
 */
import type { Duplex } from "node:stream";

import { CALL_WINDOW_BYTES, type CallLink, Http2Call, SendWindow } from "./http2-call.ts";
import {
  encodeFrame,
  ERROR_CODE,
  FIRST_FRAME_LIMIT,
  FIRST_WINDOW,
  FLAG,
  FRAME,
  FRAME_HEAD_BYTES,
  type FrameHead,
  FrameReader,
  Http2Error,
  numbers,
  SETTING,
  WINDOW_LIMIT,
  withoutPadding,
  writeFrameHead,
} from "./http2-frames.ts";
import { encodeFields, FieldReader, HeaderError, type HeaderField } from "./hpack.ts";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/** What may be on its way to us on all calls; what has arrived counts on its call until it is read. */
const CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024;
/** The longest frame that we take, and that we send where the other side takes it. */
const FRAME_LIMIT_BYTES = 128 * 1024;
/** What is written to the socket at once. */
const BATCH_BYTES = 256 * 1024;
/** Header fields as they come, before they are read. */
const FIELDS_LIMIT_BYTES = 256 * 1024;
const CONTROL_LIMIT_BYTES = 1024 * 1024;
/** Numbers of calls go up by two, and end. */
const LAST_CALL = 2 ** 31 - 1;

interface OpenFields {
  readonly head: FrameHead;
  readonly parts: Uint8Array[];
  sizeBytes: number;
}

export class Http2Connection implements CallLink, Disposable {
  readonly #socket: Duplex;
  readonly #reader: FrameReader;
  readonly #fieldReader = new FieldReader();
  readonly #calls = new Map<number, Http2Call>();
  /** Calls that have something to send, in the order of their turns. */
  readonly #waiting = new Set<Http2Call>();
  readonly #sending = new SendWindow(FIRST_WINDOW);
  #control: Uint8Array[] = [];
  #controlBytes = 0;
  #nextCall = 1;
  #firstWindow = FIRST_WINDOW;
  #frameLimit = FIRST_FRAME_LIMIT;
  #callLimit = Infinity;
  #allowedBytes = CONNECTION_WINDOW_BYTES;
  #arrivedBytes = 0;
  #isGreeted = false;
  #isLeaving = false;
  /** The socket has as much as it takes. */
  #isFull = false;
  #isWoken = false;
  #fields: OpenFields | null = null;
  #pings: (() => void)[] = [];

  constructor(socket: Duplex) {
    this.#socket = socket;
    this.#reader = new FrameReader(
      {
        frame: (head, body) => this.#frame(head, body),
        data: (head, bytes, isLast) => this.#data(head, bytes, { counted: bytes.length, isLast }),
      },
      FRAME_LIMIT_BYTES,
    );
    socket.on("data", (chunk: Uint8Array) => this.#take(chunk));
    socket.on("drain", () => {
      this.#isFull = false;
      this.#wake();
    });
    socket.on("error", () => socket.destroy());
    socket.once("close", () => this.#closeCalls());
    this.#greet();
  }

  /** Nothing more can be asked. */
  get isOver(): boolean {
    return this.#isLeaving || this.#socket.destroyed;
  }

  /** @returns null when no call can be begun now */
  open(
    fields: readonly HeaderField[],
    onFields: (fields: readonly HeaderField[]) => void,
  ): Http2Call | null {
    const id = this.#nextCall;
    if (this.isOver || id > LAST_CALL || this.#calls.size >= this.#callLimit) return null;
    this.#nextCall += 2;
    const call = new Http2Call(id, this.#firstWindow, { link: this, onFields });
    this.#calls.set(id, call);
    this.#sendFields(id, encodeFields(fields));
    return call;
  }

  /** Asks whether anybody is there. @returns false when it cannot be asked */
  ping(onAnswer: () => void): boolean {
    if (this.isOver) return false;
    this.#pings.push(onAnswer);
    this.#say({ type: FRAME.ping, flags: 0, stream: 0 }, numbers(0, this.#pings.length));
    return true;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
    this.#closeCalls();
  }

  // What a call needs.

  wake(call: Http2Call): void {
    this.#waiting.add(call);
    this.#wake();
  }

  allow({ id }: Http2Call, bytes: number): void {
    this.#say({ type: FRAME.windowUpdate, flags: 0, stream: id }, numbers(bytes));
  }

  cancel(call: Http2Call): void {
    this.#say({ type: FRAME.reset, flags: 0, stream: call.id }, numbers(ERROR_CODE.cancel));
    this.#close(call);
  }

  // What is sent.

  #greet(): void {
    const settings: [id: number, value: number][] = [
      [SETTING.enablePush, 0],
      [SETTING.initialWindow, CALL_WINDOW_BYTES],
      [SETTING.frameSize, FRAME_LIMIT_BYTES],
    ];
    const body = Buffer.alloc(6 * settings.length);
    for (const [index, [id, value]] of settings.entries()) {
      body.writeUInt16BE(id, 6 * index);
      body.writeUInt32BE(value, 6 * index + 2);
    }
    this.#control.push(Buffer.from(PREFACE));
    this.#say({ type: FRAME.settings, flags: 0, stream: 0 }, body);
    const more = numbers(CONNECTION_WINDOW_BYTES - FIRST_WINDOW);
    this.#say({ type: FRAME.windowUpdate, flags: 0, stream: 0 }, more);
  }

  #sendFields(stream: number, block: Uint8Array): void {
    for (let at = 0, type: number = FRAME.headers; ; type = FRAME.continuation) {
      const part = block.subarray(at, at + FIRST_FRAME_LIMIT);
      at += part.length;
      const isLast = at >= block.length;
      this.#say({ type, flags: isLast ? FLAG.endHeaders : 0, stream }, part);
      if (isLast) return;
    }
  }

  /** A frame that waits for no window. */
  #say(head: Omit<FrameHead, "length">, body: Uint8Array): void {
    const frame = encodeFrame(head, body);
    this.#control.push(frame);
    this.#controlBytes += frame.length;
    if (this.#controlBytes > CONTROL_LIMIT_BYTES) this.#socket.destroy();
    this.#wake();
  }

  /** Sends what there is when this turn is over: what comes together goes together. */
  #wake(): void {
    if (this.#isWoken) return;
    this.#isWoken = true;
    queueMicrotask(() => {
      this.#isWoken = false;
      while (!this.#isFull && !this.#socket.destroyed) {
        const batch = this.#batch();
        const [first, ...others] = batch;
        if (first === undefined) return;
        this.#isFull = !this.#socket.write(others.length === 0 ? first : Buffer.concat(batch));
      }
    });
  }

  #batch(): Uint8Array[] {
    const batch = this.#control;
    this.#control = [];
    this.#controlBytes = 0;
    let room = BATCH_BYTES;
    for (const call of this.#waiting) {
      if (room <= 0) break;
      room -= this.#sendOf(call, batch, room);
    }
    return batch;
  }

  /** As much of a call as may be sent. @returns how much that was */
  #sendOf(call: Http2Call, batch: Uint8Array[], room: number): number {
    let sent = 0;
    this.#waiting.delete(call);
    while (!call.isOver) {
      const { outgoingBytes: bytes, isEnding } = call;
      if (bytes === 0 && !isEnding) return sent;
      const mayBytes = Math.min(call.sending.bytes, this.#sending.bytes);
      const isWorth = call.sending.isWorth(mayBytes) && this.#sending.isWorth(mayBytes);
      // Its window, or the connection's, says when to go on.
      if (mayBytes < bytes && !isWorth) return sent;
      if (sent >= room) {
        this.#waiting.add(call);
        return sent;
      }
      const length = Math.min(bytes, mayBytes, this.#frameLimit);
      const isLast = isEnding && length === bytes;
      const head = Buffer.alloc(FRAME_HEAD_BYTES);
      const flags = isLast ? FLAG.endStream : 0;
      writeFrameHead(head, 0, { type: FRAME.data, flags, stream: call.id, length });
      batch.push(head, ...call.take(length));
      call.sending.bytes -= length;
      this.#sending.bytes -= length;
      sent += length;
      if (!isLast) continue;
      call.sentLast();
      return sent;
    }
    return sent;
  }

  // What arrives.

  #take(chunk: Uint8Array): void {
    try {
      this.#reader.push(chunk);
    } catch (cause) {
      if (!(cause instanceof Http2Error || cause instanceof HeaderError)) throw cause;
      const code = cause instanceof Http2Error ? cause.code : ERROR_CODE.protocol;
      const last = encodeFrame({ type: FRAME.goAway, flags: 0, stream: 0 }, numbers(0, code));
      this.#socket.write(last);
      this.#socket.destroy();
    }
  }

  #frame(head: FrameHead, body: Uint8Array): void {
    const { type } = head;
    if (!this.#isGreeted && type !== FRAME.settings) throw broken("the first frame is no settings");
    if (this.#fields !== null && type !== FRAME.continuation) throw broken("fields were cut off");
    switch (type) {
      case FRAME.data:
        this.#data(head, withoutPadding(head, body), { counted: body.length, isLast: true });
        break;
      case FRAME.headers:
        this.#fields = { head, parts: [], sizeBytes: 0 };
        this.#addFields(head, withoutPadding(head, body));
        break;
      case FRAME.continuation:
        if (this.#fields?.head.stream !== head.stream) throw broken("fields of nothing");
        this.#addFields(head, body);
        break;
      case FRAME.reset:
        this.#reset(head.stream);
        break;
      case FRAME.settings:
        this.#settings(head, body);
        break;
      case FRAME.promise:
        throw broken("nothing was to be pushed");
      case FRAME.ping:
        this.#ping(head, body);
        break;
      case FRAME.goAway:
        this.#leave(numberAt(body, 0));
        break;
      case FRAME.windowUpdate:
        this.#grow(head.stream, numberAt(body, 0));
        break;
      default: // What is not known is passed over, and so are priorities.
    }
  }

  #data(
    { stream, flags }: FrameHead,
    bytes: Uint8Array,
    { counted, isLast }: { counted: number; isLast: boolean },
  ): void {
    if (!this.#isGreeted || this.#fields !== null) throw broken("data out of its place");
    this.#allowedBytes -= counted;
    if (this.#allowedBytes < 0) throw new Http2Error(ERROR_CODE.flowControl, "too much data");
    this.#arrivedBytes += counted;
    if (this.#arrivedBytes >= CONNECTION_WINDOW_BYTES / 2) {
      const more = numbers(this.#arrivedBytes);
      this.#say({ type: FRAME.windowUpdate, flags: 0, stream: 0 }, more);
      this.#allowedBytes += this.#arrivedBytes;
      this.#arrivedBytes = 0;
    }
    const call = this.#known(stream);
    if (call === null) return;
    if (!call.receive(bytes, counted)) {
      throw new Http2Error(ERROR_CODE.flowControl, "too much data of one call");
    }
    if (isLast && (flags & FLAG.endStream) !== 0) this.#answered(call);
  }

  /** @returns null for a call that is over. @throws Http2Error for one that never was */
  #known(stream: number): Http2Call | null {
    if (stream % 2 === 0 || stream >= this.#nextCall) throw broken("no such call");
    return this.#calls.get(stream) ?? null;
  }

  #addFields({ flags }: FrameHead, part: Uint8Array): void {
    const fields = this.#fields;
    if (fields === null) return;
    fields.parts.push(part);
    // A frame without bytes costs its sender as little as it takes here.
    fields.sizeBytes += part.length + FRAME_HEAD_BYTES;
    if (fields.sizeBytes > FIELDS_LIMIT_BYTES) throw broken("too many header fields");
    if ((flags & FLAG.endHeaders) === 0) return;
    this.#fields = null;
    const read = this.#fieldReader.read(Buffer.concat(fields.parts));
    const call = this.#known(fields.head.stream);
    call?.fields(read);
    if (call !== null && (fields.head.flags & FLAG.endStream) !== 0) this.#answered(call);
  }

  #answered(call: Http2Call): void {
    call.answered();
    if (call.hasEnded) this.#close(call);
    else this.cancel(call);
  }

  #reset(stream: number): void {
    const call = this.#known(stream);
    if (call !== null) this.#close(call);
  }

  #close(call: Http2Call): void {
    this.#calls.delete(call.id);
    this.#waiting.delete(call);
    call.close();
  }

  #settings({ flags, stream }: FrameHead, body: Uint8Array): void {
    if (stream !== 0 || body.length % 6 !== 0) throw broken("settings of nothing");
    if ((flags & FLAG.ack) !== 0) return;
    this.#isGreeted = true;
    for (let at = 0; at < body.length; at += 6) {
      const unit = Buffer.from(body.subarray(at, at + 6));
      this.#set(unit.readUInt16BE(0), unit.readUInt32BE(2));
    }
    this.#say({ type: FRAME.settings, flags: FLAG.ack, stream: 0 }, new Uint8Array(0));
  }

  #set(id: number, value: number): void {
    switch (id) {
      case SETTING.calls:
        this.#callLimit = value;
        break;
      case SETTING.frameSize:
        if (value < FIRST_FRAME_LIMIT) throw broken("a limit of frames is too small");
        this.#frameLimit = Math.min(value, FRAME_LIMIT_BYTES);
        break;
      case SETTING.initialWindow:
        if (value > WINDOW_LIMIT) throw new Http2Error(ERROR_CODE.flowControl, "a window");
        for (const call of this.#calls.values()) this.#widen(call, value - this.#firstWindow);
        this.#firstWindow = value;
        break;
      default: // Tables of fields are not used by what is sent; others are not known.
    }
  }

  #widen(call: Http2Call, bytes: number): void {
    if (!call.sending.grow(bytes)) throw new Http2Error(ERROR_CODE.flowControl, "a window");
    this.wake(call);
  }

  #grow(stream: number, bytes: number): void {
    if (bytes === 0) throw broken("a window that grows by nothing");
    if (stream !== 0) {
      const call = this.#known(stream);
      if (call !== null) this.#widen(call, bytes);
      return;
    }
    if (!this.#sending.grow(bytes)) throw new Http2Error(ERROR_CODE.flowControl, "a window");
    for (const call of this.#calls.values()) this.#waiting.add(call);
    this.#wake();
  }

  #ping({ flags, stream }: FrameHead, body: Uint8Array): void {
    if (stream !== 0 || body.length !== 8) throw broken("a ping of nothing");
    if ((flags & FLAG.ack) === 0) this.#say({ type: FRAME.ping, flags: FLAG.ack, stream: 0 }, body);
    else this.#pings.shift()?.();
  }

  /** The other side begins nothing more; of calls after the last one it names it knows nothing. */
  #leave(last: number): void {
    this.#isLeaving = true;
    for (const call of this.#calls.values()) if (call.id > last) this.#close(call);
  }

  #closeCalls(): void {
    for (const call of this.#calls.values()) call.close();
    this.#calls.clear();
    this.#waiting.clear();
    this.#pings = [];
  }
}

const broken = (sentence: string): Http2Error => new Http2Error(ERROR_CODE.protocol, sentence);

/** Four bytes, without the first bit, which means nothing. @throws Http2Error where there are none */
function numberAt(body: Uint8Array, at: number): number {
  if (body.length < at + 4) throw new Http2Error(ERROR_CODE.frameSize, "a frame is too short");
  const byte = (index: number) => body[at + index] ?? 0;
  return (byte(0) & 0x7f) * 0x1000000 + (byte(1) << 16) + (byte(2) << 8) + byte(3);
}
