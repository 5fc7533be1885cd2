/**
 * One layer, one file:
 *
 *   0      zeros, as a boot sector
 *   1024   EROFS superblock
 *   2048   "naru layer 1\n" and the layer's facts as JSON, zeros behind
 *   4096   the tar, bit for bit
 *   …      EROFS metadata (erofs.ts), starting at the next multiple of 4096
 *
 * Promise: a file under its final name is complete, verified and synced. The kernel mounts it as it is.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

import { isDigest, type Digest } from "#oci";

import {
  EROFS_SUPER_OFFSET,
  readSuperblockBytes,
  type Superblock,
  writeSuperblock,
} from "./erofs-format.ts";
import type { LayerInfo } from "./layer-store.ts";

export const HEAD_BYTES = 4096;
const FACTS_OFFSET = 2048;
const FACTS_MAGIC = "naru layer 1\n";

/** The head of a finished layer. */
export function encodeHead(info: LayerInfo, superblock: Omit<Superblock, "uuid">): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  const uuid = Buffer.from(info.diffId.slice("sha256:".length), "hex");
  writeSuperblock(head, EROFS_SUPER_OFFSET, { ...superblock, uuid });
  const { diffId, tarSizeBytes, contentSizeBytes, entries } = info;
  const facts = JSON.stringify({ diffId, tarSizeBytes, contentSizeBytes, entries });
  head.write(FACTS_MAGIC + facts, FACTS_OFFSET);
  return head;
}

const count = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

/** The facts in a head; null when it is none of ours. */
export function decodeHead(head: Buffer): LayerInfo | null {
  const text = head.subarray(FACTS_OFFSET).toString("utf8");
  if (!text.startsWith(FACTS_MAGIC)) return null;
  let facts: Partial<Record<keyof LayerInfo, unknown>>;
  try {
    facts = JSON.parse(text.slice(FACTS_MAGIC.length).replace(/\0+$/, ""));
  } catch {
    return null;
  }
  const { diffId, tarSizeBytes, contentSizeBytes, entries } = facts;
  if (typeof diffId !== "string" || !isDigest(diffId)) return null;
  if (!count(tarSizeBytes) || !count(contentSizeBytes) || !count(entries)) return null;
  return { diffId, tarSizeBytes, contentSizeBytes, entries };
}

/** The facts of a layer's file; null when there is no good one for this layer. */
export function readLayerInfo(path: string, diffId: Digest): LayerInfo | null {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return null;
  }
  try {
    const head = Buffer.alloc(HEAD_BYTES);
    if (readSync(fd, head, 0, HEAD_BYTES, 0) !== HEAD_BYTES) return null;
    const info = decodeHead(head);
    // What a disk lost of it: the kernel would find out at the mount, and nobody would write it again.
    if (fstatSync(fd).size < readSuperblockBytes(head, EROFS_SUPER_OFFSET)) return null;
    return info?.diffId === diffId ? info : null;
  } finally {
    closeSync(fd);
  }
}
