/**
 * What a container had printed and the supervisor had not read yet is in its FIFOs, and so in the images. It reaches the
 * log all the same: the supervisor reads on. A start from the images must not print it again.
 *
 * An image is two magic words, then records: a length, a protobuf message of that length, and here as many bytes as
 * the message's field 2 says. Field 1 is the pipe's inode. Source: criu's images/pipe-data.proto, criu/include/magic.h.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Manifest } from "./manifest.ts";

const MAGIC_BYTES = 8;

export function forgetPipeData(images: string, { files }: Pick<Manifest, "files">): void {
  const path = join(images, "fifo-data.img");
  if (!existsSync(path)) return;
  const inodes = files
    .filter(({ stream }) => stream === "stdout" || stream === "stderr")
    // criu keeps 32 bits of an inode.
    .map(({ key }) => Number.parseInt(key.slice(key.indexOf(":") + 1), 16) % 2 ** 32);
  const before = readFileSync(path);
  const after = withoutPipes(before, new Set(inodes));
  if (after.length < before.length) writeFileSync(path, after);
}

/** Pure. An image that is cut off stays as it is: criu tells of it. */
export function withoutPipes(image: Buffer, pipes: ReadonlySet<number>): Buffer {
  const kept = [image.subarray(0, MAGIC_BYTES)];
  for (let at = MAGIC_BYTES; at < image.length;) {
    if (at + 4 > image.length) return image;
    const length = image.readUInt32LE(at);
    const [pipe = 0, dataBytes = 0] = fieldsOf(image.subarray(at + 4, at + 4 + length));
    const end = at + 4 + length + dataBytes;
    if (end > image.length) return image;
    if (!pipes.has(pipe)) kept.push(image.subarray(at, end));
    at = end;
  }
  return Buffer.concat(kept);
}

/** The first two fields of a message whose fields are all numbers. */
function fieldsOf(message: Buffer): [number?, number?] {
  const fields: [number?, number?] = [];
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let scale = 1; at < message.length; scale *= 128) {
      const byte = message[at] ?? 0;
      at += 1;
      value += (byte & 127) * scale;
      if (byte < 128) break;
    }
    return value;
  };
  while (at < message.length) {
    const field = Math.floor(next() / 8);
    const value = next();
    if (field === 1 || field === 2) fields[field - 1] = value;
  }
  return fields;
}
