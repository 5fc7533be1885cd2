/**
 * fsutil's packets, decoded by hand: a folder is told in one for each of its files, and the general decoder takes ten
 * times as long. Unknown fields are skipped, as everywhere in protobuf.
 * Source: tonistiigi/fsutil, types/wire.proto and types/stat.proto; protobuf's encoding.
 */
import { grpcFailure, GRPC_STATUS } from "./status.ts";

/** What one packet says; `stat` is null in one without. */
export interface FilePacket {
  readonly type: number;
  readonly stat: FileStat | null;
  readonly id: number;
  readonly data: Uint8Array;
}

/** One thing in a folder; names are byte strings. */
export interface FileStat {
  path: string;
  /** As Go has it. */
  mode: number;
  sizeBytes: number;
  /** Nanoseconds since 1970. */
  modTime: bigint;
  link: string;
  devMajor: number;
  devMinor: number;
  /** Names as they came, in their order; null for none. */
  xattrs: Map<string, Uint8Array> | null;
}

const NOTHING: Uint8Array = new Uint8Array(0);
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** @throws GrpcFailure for what is no packet */
export function decodeFilePacket(message: Uint8Array): FilePacket {
  const reader = new Reader(message);
  let [type, id] = [0, 0];
  let stat: FileStat | null = null;
  let data: Uint8Array = NOTHING;
  while (reader.more) {
    const key = reader.number();
    switch (key) {
      case (1 << 3) | VARINT:
        type = reader.number();
        break;
      case (2 << 3) | BYTES:
        stat = decodeStat(reader.bytes());
        break;
      case (3 << 3) | VARINT:
        id = reader.number();
        break;
      case (4 << 3) | BYTES:
        data = reader.bytes();
        break;
      default:
        reader.skip(key & 7);
    }
  }
  return { type, stat, id, data };
}

function decodeStat(message: Uint8Array): FileStat {
  const reader = new Reader(message);
  const stat: FileStat = {
    path: "",
    mode: 0,
    sizeBytes: 0,
    modTime: 0n,
    link: "",
    devMajor: 0,
    devMinor: 0,
    xattrs: null,
  };
  while (reader.more) {
    const key = reader.number();
    switch (key) {
      case (1 << 3) | BYTES:
        stat.path = reader.text();
        break;
      case (2 << 3) | VARINT:
        stat.mode = reader.number() >>> 0;
        break;
      case (5 << 3) | VARINT:
        stat.sizeBytes = reader.number();
        break;
      case (6 << 3) | VARINT:
        stat.modTime = reader.bigint();
        break;
      case (7 << 3) | BYTES:
        stat.link = reader.text();
        break;
      case (8 << 3) | VARINT:
        stat.devMajor = reader.number();
        break;
      case (9 << 3) | VARINT:
        stat.devMinor = reader.number();
        break;
      case (10 << 3) | BYTES:
        addXattr((stat.xattrs ??= new Map()), reader.bytes());
        break;
      default:
        reader.skip(key & 7);
    }
  }
  return stat;
}

function addXattr(xattrs: Map<string, Uint8Array>, message: Uint8Array): void {
  const reader = new Reader(message);
  let name = "";
  let value: Uint8Array = NOTHING;
  while (reader.more) {
    const key = reader.number();
    if (key === ((1 << 3) | BYTES)) name = reader.text();
    else if (key === ((2 << 3) | BYTES)) value = reader.bytes();
    else reader.skip(key & 7);
  }
  xattrs.set(name, value);
}

class Reader {
  readonly #message: Uint8Array;
  #at = 0;

  constructor(message: Uint8Array) {
    this.#message = message;
  }

  get more(): boolean {
    return this.#at < this.#message.length;
  }

  /** An integer; one of 64 bits below zero, or too large to be exact, is told as a number all the same. */
  number(): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 10; count += 1) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) return value;
    }
    throw broken();
  }

  bigint(): bigint {
    let value = 0n;
    let [part, bits, shift] = [0, 0, 0n];
    for (let count = 0; count < 10; count += 1) {
      const byte = this.#byte();
      part += (byte & 0x7f) * 2 ** bits;
      bits += 7;
      if (byte >= 0x80 && bits < 49) continue;
      value |= BigInt(part) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, value);
      shift += 49n;
      [part, bits] = [0, 0];
    }
    throw broken();
  }

  bytes(): Uint8Array {
    const length = this.number();
    const end = this.#at + length;
    if (!(end <= this.#message.length)) throw broken();
    const found = this.#message.subarray(this.#at, end);
    this.#at = end;
    return found;
  }

  text(): string {
    const found = this.bytes();
    return Buffer.from(found.buffer, found.byteOffset, found.length).toString("latin1");
  }

  skip(wire: number): void {
    if (wire === VARINT) this.number();
    else if (wire === BYTES) this.bytes();
    else if (wire === FIXED64) this.#at += 8;
    else if (wire === FIXED32) this.#at += 4;
    else throw broken();
  }

  #byte(): number {
    const byte = this.#message[this.#at];
    if (byte === undefined) throw broken();
    this.#at += 1;
    return byte;
  }
}

const broken = (): Error => grpcFailure(GRPC_STATUS.internal, "a packet cannot be read");
