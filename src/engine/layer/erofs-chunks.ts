/**
 * Sparse files in EROFS: a chunk map behind the inode. A chunk that lies in one stored piece, at a block's start,
 * points into the tar; a hole has no address; what is mixed or unaligned is copied behind the directories.
 */
import { readSync } from "node:fs";

import { EROFS_BLOCK, EROFS_BLOCK_BITS, EROFS_NULL_ADDR } from "./erofs-format.ts";
import type { LayerNode } from "./layer-tree.ts";

/** Entries of one file's map: 4 MiB. Larger files get larger chunks. */
const MAP_ENTRY_LIMIT = 1 << 20;
const SMALLEST_CHUNK_BITS = 12;

/** A copied chunk: which pieces of stored data (by position in the tar) go where in it. */
export interface CopiedChunk {
  readonly sizeBytes: number;
  readonly pieces: readonly { source: number; target: number; sizeBytes: number }[];
}

export interface ChunkPlan {
  /** Bits 0-4: the chunk's size as a power of two, in blocks. */
  readonly format: number;
  /** Block addresses relative to the tar's start; holes and copies still to be placed are null. */
  readonly map: Float64Array;
  /** Copied chunks by their index in the map. */
  readonly copied: ReadonlyMap<number, CopiedChunk>;
}

const HOLE = -1;

/** How a sparse file's chunks are found. */
export function planChunks(node: LayerNode): ChunkPlan {
  let bits = SMALLEST_CHUNK_BITS;
  while (node.sizeBytes / 2 ** bits > MAP_ENTRY_LIMIT) bits += 1;
  const chunk = 2 ** bits;
  const map = new Float64Array(Math.ceil(node.sizeBytes / chunk)).fill(HOLE);
  const mixed = new Map<number, { source: number; target: number; sizeBytes: number }[]>();
  let source = node.dataOffset;
  for (const { offset, sizeBytes } of node.sparse ?? []) {
    const end = offset + sizeBytes;
    for (let at = offset; at < end;) {
      const index = Math.floor(at / chunk);
      const until = Math.min(end, (index + 1) * chunk);
      const from = source + at - offset;
      const whole = at === index * chunk && (until === at + chunk || until === node.sizeBytes);
      if (whole && from % EROFS_BLOCK === 0) map[index] = from / EROFS_BLOCK;
      else {
        const pieces = mixed.get(index) ?? [];
        pieces.push({ source: from, target: at - index * chunk, sizeBytes: until - at });
        mixed.set(index, pieces);
      }
      at = until;
    }
    source += sizeBytes;
  }
  const copied = new Map<number, CopiedChunk>();
  for (const [index, pieces] of mixed) {
    copied.set(index, { sizeBytes: Math.min(chunk, node.sizeBytes - index * chunk), pieces });
  }
  return { format: bits - EROFS_BLOCK_BITS, map, copied };
}

/** Blocks that the copies of a plan take. */
export function copiedBlocks({ copied }: ChunkPlan): number {
  let blocks = 0;
  for (const { sizeBytes } of copied.values()) blocks += Math.ceil(sizeBytes / EROFS_BLOCK);
  return blocks;
}

/**
 * The map as EROFS stores it.
 * @param tarBlock the file's block at which the tar starts
 * @param copyBlock the file's block at which this plan's copies start
 */
export function encodeChunkMap(
  { map, copied }: ChunkPlan,
  { tarBlock, copyBlock }: { tarBlock: number; copyBlock: number },
): Buffer {
  const encoded = Buffer.alloc(map.length * 4);
  let next = copyBlock;
  for (const [index, address] of map.entries()) {
    const copy = copied.get(index);
    if (copy) {
      encoded.writeUInt32LE(next, index * 4);
      next += Math.ceil(copy.sizeBytes / EROFS_BLOCK);
    } else
      encoded.writeUInt32LE(address === HOLE ? EROFS_NULL_ADDR : address + tarBlock, index * 4);
  }
  return encoded;
}

/** Copied chunks in the order of their map, filled from the tar that starts at `tarOffset` of the file. */
export function* readCopies(
  { map, copied }: ChunkPlan,
  { fd, tarOffset }: { fd: number; tarOffset: number },
): Generator<Buffer> {
  for (let index = 0; index < map.length; index += 1) {
    const copy = copied.get(index);
    if (!copy) continue;
    const chunk = Buffer.alloc(Math.ceil(copy.sizeBytes / EROFS_BLOCK) * EROFS_BLOCK);
    for (const { source, target, sizeBytes } of copy.pieces) {
      for (let done = 0; done < sizeBytes;) {
        const filled = readSync(
          fd,
          chunk,
          target + done,
          sizeBytes - done,
          tarOffset + source + done,
        );
        if (filled === 0) throw new Error("broken invariant: the tar ends inside a sparse file");
        done += filled;
      }
    }
    yield chunk;
  }
}
