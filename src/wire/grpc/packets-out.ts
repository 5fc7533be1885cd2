/**
 * Messages that carry files, written by hand: of a piece of a file only what stands before its bytes is made, and the
 * bytes go out from where they lie.
 * Source: tonistiigi/fsutil, types/wire.proto and types/stat.proto; moby/buildkit, session/filesync/filesync.proto.
 */
import type { GrpcMessage } from "./client.ts";
import type { FileStat } from "./packets.ts";

const DATA_PACKET = 2;
/** Field 1 of a `BytesMessage`, field 4 of a packet; both are bytes. */
const [MESSAGE_DATA, PACKET_DATA] = [0x0a, 0x22];

/** A piece of a stream of bytes, which are not to be changed any more. */
export function bytesMessage(data: Uint8Array): GrpcMessage {
  return [new Writer().number(MESSAGE_DATA).number(data.length).bytes(), data];
}

/** A piece of a file under its number; an empty one ends the file. */
export function dataPacket(id: number, data: Uint8Array): GrpcMessage {
  const head = new Writer().field(1, DATA_PACKET).field(3, id);
  if (data.length === 0) return head.bytes();
  return [head.number(PACKET_DATA).number(data.length).bytes(), data];
}

/** What is told of one thing in a folder. */
export function statPacket(
  stat: Omit<FileStat, "xattrs"> & { readonly uid: number; readonly gid: number },
): Uint8Array {
  const told = new Writer()
    .text(1, stat.path)
    .field(2, stat.mode)
    .field(3, stat.uid)
    .field(4, stat.gid)
    .field(5, stat.sizeBytes)
    .bigField(6, stat.modTime)
    .text(7, stat.link)
    .field(8, stat.devMajor)
    .field(9, stat.devMinor)
    .bytes();
  return Buffer.concat([new Writer().number(0x12).number(told.length).bytes(), told]);
}

/** What has its default is left out, as everywhere in protobuf. */
class Writer {
  readonly #bytes: number[] = [];

  number(value: number): this {
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.#bytes.push((rest % 0x80) | 0x80);
    this.#bytes.push(rest);
    return this;
  }

  field(number: number, value: number): this {
    return value === 0 ? this : this.number(number << 3).number(value);
  }

  bigField(number: number, value: bigint): this {
    if (value === 0n) return this;
    this.number(number << 3);
    let rest = BigInt.asUintN(64, value);
    for (; rest >= 0x80n; rest >>= 7n) this.#bytes.push(Number(rest & 0x7fn) | 0x80);
    this.#bytes.push(Number(rest));
    return this;
  }

  /** @param text a byte string */
  text(number: number, text: string): this {
    if (text === "") return this;
    this.number((number << 3) | 2).number(text.length);
    for (let at = 0; at < text.length; at += 1) this.#bytes.push(text.charCodeAt(at));
    return this;
  }

  bytes(): Uint8Array {
    return Buffer.from(this.#bytes);
  }
}
