/** One call on a connection of ours: what is to be sent of it waits here for room, what arrives for its reader. */
import { WINDOW_LIMIT } from "./http2-frames.ts";
import type { HeaderField } from "./hpack.ts";

/** What may be on its way to us on one call before the other side waits. */
export const CALL_WINDOW_BYTES = 4 * 1024 * 1024;
/** What waits to be sent before whoever sends has to wait. */
const AHEAD_BYTES = 256 * 1024;
/** The other side tells of its room in small pieces; larger ones than this are worth a frame whatever it has. */
const WORTHWHILE_BYTES = 64 * 1024;

/** What a call needs of its connection. */
export interface CallLink {
  /** Something is to be sent. */
  wake(call: Http2Call): void;
  /** So many more bytes may be sent to us. */
  allow(call: Http2Call, bytes: number): void;
  /** Nobody here wants it any more. */
  cancel(call: Http2Call): void;
}

/** How much may be sent before the other side says more, on a call or on the connection. */
export class SendWindow {
  bytes: number;
  #largest: number;

  constructor(bytes: number) {
    this.bytes = bytes;
    this.#largest = bytes;
  }

  /** @returns false when it would be larger than any may be */
  grow(bytes: number): boolean {
    this.bytes += bytes;
    this.#largest = Math.max(this.#largest, this.bytes);
    return this.bytes <= WINDOW_LIMIT;
  }

  /**
   * Whether so few bytes are worth a frame while more is to be sent. Who tells of room after every few kilobytes would
   * get frames of that size; with three quarters of the room used nobody keeps silent about what he has read.
   */
  isWorth(bytes: number): boolean {
    return bytes >= Math.max(1, Math.min(WORTHWHILE_BYTES, this.#largest / 4));
  }
}

export class Http2Call {
  readonly id: number;
  readonly sending: SendWindow;
  readonly #link: CallLink;
  readonly #onFields: (fields: readonly HeaderField[]) => void;
  #outgoing: Uint8Array[] = [];
  #outgoingBytes = 0;
  #isEnding = false;
  #hasEnded = false;
  #room: PromiseWithResolvers<boolean> | null = null;
  #inbox: Uint8Array[] = [];
  #arrived = Promise.withResolvers<void>();
  /** Arrived, and the other side does not know yet that it was read. */
  #readBytes = 0;
  #allowedBytes = CALL_WINDOW_BYTES;
  /** Nothing more will arrive. */
  #isAnswered = false;
  /** Nothing more goes in either direction. */
  #isOver = false;

  /** @param onFields told of fields as they arrive, the trailers too */
  constructor(
    id: number,
    windowBytes: number,
    { link, onFields }: { link: CallLink; onFields: (fields: readonly HeaderField[]) => void },
  ) {
    this.id = id;
    this.sending = new SendWindow(windowBytes);
    this.#link = link;
    this.#onFields = onFields;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** The bytes are the call's from now on. @returns false when nobody listens any more; waits for room */
  write(pieces: readonly Uint8Array[]): boolean | Promise<boolean> {
    if (this.#isOver || this.#isAnswered || this.#isEnding) return false;
    for (const piece of pieces) {
      if (piece.length === 0) continue;
      this.#outgoing.push(piece);
      this.#outgoingBytes += piece.length;
    }
    this.#link.wake(this);
    if (this.#outgoingBytes < AHEAD_BYTES) return true;
    return (this.#room ??= Promise.withResolvers<boolean>()).promise;
  }

  end(): void {
    if (this.#isOver || this.#isEnding) return;
    this.#isEnding = true;
    this.#link.wake(this);
  }

  cancel(): void {
    if (!this.#isOver) this.#link.cancel(this);
  }

  /**
   * What arrives, as many pieces at once as there are, until the other side has said its last or the call is over.
   * Bytes belong to the reader.
   */
  async *arriving(): AsyncGenerator<Uint8Array[]> {
    for (;;) {
      await this.#arrived.promise;
      const taken = this.#inbox;
      this.#inbox = [];
      if (!this.#isAnswered && !this.#isOver) this.#arrived = Promise.withResolvers();
      if (taken.length > 0) yield taken;
      this.#read(taken.reduce((sum, { length }) => sum + length, 0));
      if ((this.#isAnswered || this.#isOver) && this.#inbox.length === 0) return;
    }
  }

  #read(bytes: number): void {
    this.#readBytes += bytes;
    if (this.#readBytes < CALL_WINDOW_BYTES / 2 || this.#isAnswered || this.#isOver) return;
    this.#allowedBytes += this.#readBytes;
    this.#link.allow(this, this.#readBytes);
    this.#readBytes = 0;
  }

  // What the connection does with it.

  get outgoingBytes(): number {
    return this.#outgoingBytes;
  }

  /** What waits to be sent is all, and nobody has been told so. */
  get isEnding(): boolean {
    return this.#isEnding && !this.#hasEnded;
  }

  /** All was sent. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  sentLast(): void {
    this.#hasEnded = true;
  }

  /** Exactly so many bytes of what waits. */
  take(count: number): Uint8Array[] {
    const taken: Uint8Array[] = [];
    this.#outgoingBytes -= count;
    for (let left = count; left > 0;) {
      const first = this.#outgoing[0] ?? new Uint8Array(left);
      if (first.length <= left) this.#outgoing.shift();
      else this.#outgoing[0] = first.subarray(left);
      taken.push(first.length <= left ? first : first.subarray(0, left));
      left -= Math.min(left, first.length);
    }
    if (this.#outgoingBytes < AHEAD_BYTES) this.#hasRoom(true);
    return taken;
  }

  /** @returns false when the other side sent more than it may */
  receive(bytes: Uint8Array, countedBytes: number): boolean {
    this.#allowedBytes -= countedBytes;
    if (this.#allowedBytes < 0) return false;
    // Padding is read by nobody.
    this.#readBytes += countedBytes - bytes.length;
    if (bytes.length > 0) this.#inbox.push(bytes);
    if (bytes.length > 0) this.#arrived.resolve();
    return true;
  }

  fields(fields: readonly HeaderField[]): void {
    this.#onFields(fields);
  }

  /** The other side has said its last, and reads nothing more. */
  answered(): void {
    this.#isAnswered = true;
    this.#giveUp();
  }

  /** It is over in both directions, whatever still waits. */
  close(): void {
    this.#isOver = true;
    this.#giveUp();
  }

  #giveUp(): void {
    this.#outgoing = [];
    this.#outgoingBytes = 0;
    this.#hasRoom(false);
    this.#arrived.resolve();
  }

  #hasRoom(isListening: boolean): void {
    this.#room?.resolve(isListening);
    this.#room = null;
  }
}
