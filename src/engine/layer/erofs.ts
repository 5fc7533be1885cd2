/**
 * A layer's tree as EROFS metadata behind its tar:
 *
 *   4 KiB head | tar | inodes with their xattrs, chunk maps and short links | directories | long links, copied chunks
 *
 * Two passes over the inodes: the first gives each a place, the second writes. Nothing is kept but the tree
 * and its places.
 */
import { isType, S_IFBLK, S_IFCHR, S_IFREG } from "#linux/path";

import { BlockWriter } from "./block-writer.ts";
import {
  type ChunkPlan,
  copiedBlocks,
  encodeChunkMap,
  planChunks,
  readCopies,
} from "./erofs-chunks.ts";
import {
  encodeXattrs,
  EROFS_BLOCK,
  EROFS_INODE_CHUNK_BASED,
  EROFS_INODE_FLAT_INLINE,
  EROFS_INODE_FLAT_PLAIN,
  EROFS_INODE_SIZE,
  EROFS_SLOT,
  fitDirents,
  type Superblock,
  writeDirents,
  writeInode,
  xattrSize,
  type XattrList,
} from "./erofs-format.ts";
import { inodesOf, type LayerNode } from "./layer-tree.ts";

/** Where an inode and what belongs to it will stand. */
interface Place {
  readonly node: LayerNode;
  readonly nlink: number;
  readonly xattrs: XattrList | null;
  readonly xattrBytes: number;
  /** Bytes from the start of the inodes. */
  readonly offset: number;
  readonly layout: number;
  /** Of a directory, sorted, with `.` and `..`. */
  readonly names: readonly string[] | null;
  /** Bytes of directory blocks; a link's or file's own size otherwise. */
  readonly sizeBytes: number;
  readonly chunks: ChunkPlan | null;
  /** Blocks outside the inodes, and the first of them relative to where those begin. */
  readonly blocks: number;
  firstBlock: number;
}

const OPAQUE_XATTR = "trusted.overlay.opaque";
const opaqueValue = Buffer.from("y");
/** The first slots stay empty: no inode has nid 0. */
const FIRST_INODE_OFFSET = 64;
const NEWEST_BLOCK = 0xffff_fffe;

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step;

function xattrsOf(node: LayerNode): XattrList | null {
  if (!node.opaque) return node.xattrs;
  return new Map([...(node.xattrs ?? []), [OPAQUE_XATTR, opaqueValue]]);
}

/** Names of a directory as EROFS wants them, and the bytes their blocks take. */
function directoryLayout(children: ReadonlyMap<string, LayerNode>): {
  names: string[];
  sizeBytes: number;
} {
  // Byte strings sort as their bytes do.
  const names = [".", "..", ...children.keys()].sort();
  let sizeBytes = 0;
  for (let start = 0; start < names.length;) {
    const { end, used } = fitDirents(names, start);
    sizeBytes += end < names.length ? EROFS_BLOCK : used;
    start = end;
  }
  return { names, sizeBytes };
}

/** Gives an inode its place at or behind `offset`. */
function placeOf(node: LayerNode, nlink: number, from: number): Place {
  const xattrs = xattrsOf(node);
  const xattrBytes = xattrSize(xattrs);
  const fixed = EROFS_INODE_SIZE + xattrBytes;
  const base = { node, nlink, xattrs, xattrBytes, names: null, chunks: null, firstBlock: 0 };
  const offset = roundUp(from, EROFS_INODE_SIZE);
  const { sizeBytes } = node;
  if (node.children) {
    const { names, sizeBytes } = directoryLayout(node.children);
    const blocks = Math.ceil(sizeBytes / EROFS_BLOCK);
    return { ...base, offset, layout: EROFS_INODE_FLAT_PLAIN, names, sizeBytes, blocks };
  }
  if (node.link !== null && (fixed % EROFS_INODE_SIZE) + sizeBytes < EROFS_BLOCK) {
    // A short link stands behind its inode and must not cross a block.
    let inline = offset;
    while (((inline + fixed) % EROFS_BLOCK) + sizeBytes > EROFS_BLOCK) inline += EROFS_INODE_SIZE;
    return { ...base, offset: inline, layout: EROFS_INODE_FLAT_INLINE, sizeBytes, blocks: 0 };
  }
  if (node.link !== null) {
    const blocks = Math.ceil(sizeBytes / EROFS_BLOCK);
    return { ...base, offset, layout: EROFS_INODE_FLAT_PLAIN, sizeBytes, blocks };
  }
  if (node.sparse === null || sizeBytes === 0) {
    return { ...base, offset, layout: EROFS_INODE_FLAT_PLAIN, sizeBytes, blocks: 0 };
  }
  const chunks = planChunks(node);
  const layout = EROFS_INODE_CHUNK_BASED;
  return { ...base, offset, layout, sizeBytes, chunks, blocks: copiedBlocks(chunks) };
}

/** The first byte behind an inode and what stands with it. */
function endOf({ offset, xattrBytes, layout, sizeBytes, chunks }: Place): number {
  const fixed = offset + EROFS_INODE_SIZE + xattrBytes;
  if (layout === EROFS_INODE_FLAT_INLINE) return fixed + sizeBytes;
  return chunks ? fixed + chunks.map.length * 4 : fixed;
}

export interface ErofsRequest {
  readonly fd: number;
  readonly root: LayerNode;
  /** Where the tar starts in the file and how long it is. */
  readonly tarOffset: number;
  readonly tarSizeBytes: number;
}

export interface ErofsLayout extends Omit<Superblock, "uuid"> {
  /** The sum of regular files' sizes, each inode once. */
  readonly contentSizeBytes: number;
}

/** Writes the metadata. @returns what the superblock must say, but for the uuid, and the files' sizes */
export function writeErofs(request: ErofsRequest): ErofsLayout {
  const { fd, root, tarOffset, tarSizeBytes } = request;
  const metaOffset = roundUp(tarOffset + tarSizeBytes, 4096);
  const { places, inodeBytes } = layOut(root);
  const blocksOffset = metaOffset + roundUp(inodeBytes, EROFS_BLOCK);
  let nextBlock = blocksOffset / EROFS_BLOCK;
  for (const place of places.values()) {
    place.firstBlock = nextBlock;
    nextBlock += place.blocks;
  }
  if (nextBlock > NEWEST_BLOCK) throw new Error("the layer is larger than 2 TiB");
  const writer = new BlockWriter(fd, metaOffset);
  const tarBlock = tarOffset / EROFS_BLOCK;
  for (const place of places.values()) {
    writer.seek(metaOffset + place.offset);
    writePlace(writer, place, tarBlock);
  }
  writer.seek(blocksOffset);
  for (const place of places.values()) writeBlocks(writer, place, places, request);
  writer.seek(roundUp(writer.position, 4096));
  writer.flush();
  const rootPlace = places.get(root);
  let contentSizeBytes = 0;
  for (const { mode, sizeBytes } of places.keys()) {
    if (isType(mode, S_IFREG)) contentSizeBytes += sizeBytes;
  }
  return {
    rootNid: (rootPlace?.offset ?? 0) / EROFS_SLOT,
    inodes: places.size,
    blocks: writer.position / EROFS_BLOCK,
    metaBlock: metaOffset / EROFS_BLOCK,
    chunked: [...places.values()].some(({ chunks }) => chunks !== null),
    contentSizeBytes,
  };
}

function layOut(root: LayerNode): { places: Map<LayerNode, Place>; inodeBytes: number } {
  const places = new Map<LayerNode, Place>();
  let offset = FIRST_INODE_OFFSET;
  for (const [node, nlink] of inodesOf(root)) {
    const place = placeOf(node, nlink, offset);
    places.set(node, place);
    offset = endOf(place);
  }
  return { places, inodeBytes: offset };
}

function unionOf({ node, chunks, blocks, firstBlock }: Place, tarBlock: number): number {
  if (chunks) return chunks.format;
  if (isType(node.mode, S_IFCHR) || isType(node.mode, S_IFBLK)) return node.rdev;
  if (isType(node.mode, S_IFREG))
    return node.sizeBytes === 0 ? 0 : node.dataOffset / EROFS_BLOCK + tarBlock;
  return blocks === 0 ? 0 : firstBlock;
}

function writePlace(writer: BlockWriter, place: Place, tarBlock: number): void {
  const { node, chunks, xattrs, offset, layout, xattrBytes, sizeBytes, nlink } = place;
  const { buffer, at } = writer.take(EROFS_INODE_SIZE);
  const { mode, uid, gid, mtimeSec, mtimeNsec } = node;
  const union = unionOf(place, tarBlock);
  const ino = (offset / EROFS_SLOT) >>> 0;
  const owner = { mode, uid, gid, mtimeSec, mtimeNsec };
  writeInode(buffer, at, { ...owner, layout, xattrBytes, sizeBytes, union, ino, nlink });
  if (xattrs) writer.bytes(encodeXattrs(xattrs));
  if (chunks) writer.bytes(encodeChunkMap(chunks, { tarBlock, copyBlock: place.firstBlock }));
  if (layout === EROFS_INODE_FLAT_INLINE) writer.bytes(Buffer.from(node.link ?? "", "latin1"));
}

function writeBlocks(
  writer: BlockWriter,
  place: Place,
  places: ReadonlyMap<LayerNode, Place>,
  { fd, tarOffset }: ErofsRequest,
): void {
  const { node, names, chunks, blocks } = place;
  if (names) writeDirectory(writer, node, names, places);
  else if (chunks) {
    for (const copy of readCopies(chunks, { fd, tarOffset })) writer.bytes(copy);
  } else if (blocks > 0) {
    const end = writer.position + blocks * EROFS_BLOCK;
    writer.bytes(Buffer.from(node.link ?? "", "latin1"));
    writer.seek(end);
  }
}

function writeDirectory(
  writer: BlockWriter,
  node: LayerNode,
  names: readonly string[],
  places: ReadonlyMap<LayerNode, Place>,
): void {
  const entry = (name: string) => {
    const own = name === "." ? node : name === ".." ? node.parent : node.children?.get(name);
    const place = own && places.get(own);
    if (!place) throw new Error("broken invariant: an inode has no place");
    return { name, nid: place.offset / EROFS_SLOT, mode: place.node.mode };
  };
  for (let start = 0; start < names.length;) {
    const { end } = fitDirents(names, start);
    const { buffer, at } = writer.take(EROFS_BLOCK);
    writeDirents(buffer, at, names.slice(start, end).map(entry));
    start = end;
  }
}
