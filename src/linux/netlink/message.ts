/**
 * Netlink messages as bytes: header, a family's fixed part, attributes (type-length-value, padded to 4).
 * Everything is in the machine's byte order, which is little-endian on every architecture we run on.
 * Source: include/uapi/linux/netlink.h.
 */
import { allocate } from "#linux/ffi";

export const HEADER_BYTES = 16;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const NLA_HEADER_BYTES = 4;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const aligned = (length: number): number => (length + 3) & ~3;

/** Several messages one after the other in one buffer, so that they go out in one system call. */
export class MessageWriter {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #length = 0;
  #start = 0;

  constructor(capacityBytes: number) {
    this.#bytes = allocate(capacityBytes);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** The buffer itself: only the first `length` bytes are messages. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes;
  }

  get length(): number {
    return this.#length;
  }

  clear(): void {
    this.#bytes.fill(0, 0, this.#length);
    this.#length = 0;
  }

  /** One whole message; `write` fills in what follows the header. */
  message(
    header: { type: number; flags: number; sequence: number },
    write: (writer: this) => void,
  ): void {
    this.#start = this.#length;
    this.#length += HEADER_BYTES;
    write(this);
    this.#view.setUint32(this.#start, this.#length - this.#start, true);
    this.#view.setUint16(this.#start + 4, header.type, true);
    this.#view.setUint16(this.#start + 6, header.flags, true);
    this.#view.setUint32(this.#start + 8, header.sequence, true);
  }

  /** The fixed part of a family: struct ifinfomsg, ifaddrmsg, rtmsg. */
  fixed(part: Uint8Array): this {
    this.#bytes.set(part, this.#length);
    this.#length += aligned(part.length);
    return this;
  }

  attribute(type: number, payload: Uint8Array): this {
    this.#attributeHeader(type, payload.length);
    this.#bytes.set(payload, this.#length);
    this.#length += aligned(payload.length);
    return this;
  }

  u8(type: number, value: number): this {
    this.#attributeHeader(type, 1);
    this.#view.setUint8(this.#length, value);
    this.#length += 4;
    return this;
  }

  u16(type: number, value: number): this {
    this.#attributeHeader(type, 2);
    this.#view.setUint16(this.#length, value, true);
    this.#length += 4;
    return this;
  }

  u32(type: number, value: number): this {
    this.#attributeHeader(type, 4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
    return this;
  }

  text(type: number, value: string): this {
    return this.attribute(type, encoder.encode(`${value}\0`));
  }

  nest(type: number, write: (writer: this) => void): this {
    const start = this.#length;
    this.#length += NLA_HEADER_BYTES;
    write(this);
    this.#view.setUint16(start, this.#length - start, true);
    this.#view.setUint16(start + 2, type, true);
    return this;
  }

  #attributeHeader(type: number, payloadBytes: number): void {
    this.#view.setUint16(this.#length, NLA_HEADER_BYTES + payloadBytes, true);
    this.#view.setUint16(this.#length + 2, type, true);
    this.#length += NLA_HEADER_BYTES;
  }
}

/** One received message: its header's fields, and its body (fixed part and attributes). */
export interface ReceivedMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

/** The messages of one datagram; a length that does not fit ends the walk. */
export function* messagesIn(datagram: Uint8Array): Generator<ReceivedMessage> {
  const view = viewOf(datagram);
  let offset = 0;
  while (offset + HEADER_BYTES <= datagram.length) {
    const length = view.getUint32(offset, true);
    if (length < HEADER_BYTES || offset + length > datagram.length) return;
    yield {
      type: view.getUint16(offset + 4, true),
      flags: view.getUint16(offset + 6, true),
      sequence: view.getUint32(offset + 8, true),
      body: datagram.subarray(offset + HEADER_BYTES, offset + length),
    };
    offset += aligned(length);
  }
}

/** The attributes of a body, by type; of a repeated one the last. */
export function attributesIn(body: Uint8Array, fixedBytes: number): Map<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  const view = viewOf(body);
  let offset = aligned(fixedBytes);
  while (offset + NLA_HEADER_BYTES <= body.length) {
    const length = view.getUint16(offset, true);
    if (length < NLA_HEADER_BYTES || offset + length > body.length) break;
    const type = view.getUint16(offset + 2, true) & NLA_TYPE_MASK;
    attributes.set(type, body.subarray(offset + NLA_HEADER_BYTES, offset + length));
    offset += aligned(length);
  }
  return attributes;
}

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export const readU32 = (payload: Uint8Array | undefined): number | null =>
  payload && payload.length >= 4 ? viewOf(payload).getUint32(0, true) : null;

/** A NUL-terminated text. */
export function readText(payload: Uint8Array | undefined): string | null {
  if (!payload) return null;
  const end = payload.indexOf(0);
  return decoder.decode(end < 0 ? payload : payload.subarray(0, end));
}
