/**
 * A layer's tree as EROFS metadata behind its tar:
 *
 *   4 KiB head | tar | inodes with their xattrs, chunk maps and short links | directories | long links, copied chunks
 *
 * Two passes over the inodes: the first gives each a place, the second writes. Of a place only three numbers are kept,
 * and what is dear to find again: a directory's sorted names, a sparse file's chunks.
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
  /** Blocks outside the inodes. */
  readonly blocks: number;
}

interface DirectoryLayout {
  readonly names: readonly string[];
  readonly sizeBytes: number;
}

/** Where all inodes stand, by their numbers. */
interface Layout {
  readonly nodes: readonly LayerNode[];
  readonly links: Uint32Array;
  readonly offsets: Float64Array;
  /** The first block outside the inodes of each. */
  readonly firstBlocks: Float64Array;
  readonly directories: Map<LayerNode, DirectoryLayout>;
  readonly chunks: Map<LayerNode, ChunkPlan>;
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
function directoryLayout(children: ReadonlyMap<string, LayerNode>): DirectoryLayout {
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

/** What was found for a node before, or is found now. */
function kept<T>(found: Map<LayerNode, T>, node: LayerNode, find: () => T): T {
  const known = found.get(node) ?? find();
  found.set(node, known);
  return known;
}

/** The place of an inode at or behind an offset; at its own offset, once more the same. */
function placeOf(layout: Layout, node: LayerNode, from: number): Place {
  const nlink = layout.links[node.inode] ?? 1;
  const xattrs = xattrsOf(node);
  const xattrBytes = xattrSize(xattrs);
  const fixed = EROFS_INODE_SIZE + xattrBytes;
  const base = { node, nlink, xattrs, xattrBytes, names: null, chunks: null };
  const offset = roundUp(from, EROFS_INODE_SIZE);
  const { sizeBytes } = node;
  const { children } = node;
  if (children) {
    const find = () => directoryLayout(children);
    const { names, sizeBytes } = kept(layout.directories, node, find);
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
  const chunks = kept(layout.chunks, node, () => planChunks(node));
  const blocks = copiedBlocks(chunks);
  return { ...base, offset, layout: EROFS_INODE_CHUNK_BASED, sizeBytes, chunks, blocks };
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
  const { layout, inodeBytes } = layOut(root);
  const { nodes, offsets, firstBlocks, chunks } = layout;
  const blocksOffset = metaOffset + roundUp(inodeBytes, EROFS_BLOCK);
  let nextBlock = blocksOffset / EROFS_BLOCK;
  for (const [inode, blocks] of firstBlocks.entries()) {
    firstBlocks[inode] = nextBlock;
    nextBlock += blocks;
  }
  if (nextBlock > NEWEST_BLOCK) throw new Error("the layer is larger than 2 TiB");
  const writer = new BlockWriter(fd, metaOffset);
  const tarBlock = tarOffset / EROFS_BLOCK;
  let contentSizeBytes = 0;
  for (const node of nodes) {
    const place = placeOf(layout, node, offsets[node.inode] ?? 0);
    writer.seek(metaOffset + place.offset);
    writePlace(writer, place, { tarBlock, firstBlock: firstBlocks[node.inode] ?? 0 });
    if (isType(node.mode, S_IFREG)) contentSizeBytes += node.sizeBytes;
  }
  writer.seek(blocksOffset);
  for (const node of nodes) writeBlocks(writer, node, layout, request);
  writer.seek(roundUp(writer.position, 4096));
  writer.flush();
  return {
    rootNid: (offsets[0] ?? 0) / EROFS_SLOT,
    inodes: nodes.length,
    blocks: writer.position / EROFS_BLOCK,
    metaBlock: metaOffset / EROFS_BLOCK,
    chunked: chunks.size > 0,
    contentSizeBytes,
  };
}

/** Gives each inode its place; in `firstBlocks` stands how many blocks each needs. */
function layOut(root: LayerNode): { layout: Layout; inodeBytes: number } {
  const { nodes, links } = inodesOf(root);
  const layout: Layout = {
    nodes,
    links,
    offsets: new Float64Array(nodes.length),
    firstBlocks: new Float64Array(nodes.length),
    directories: new Map(),
    chunks: new Map(),
  };
  let offset = FIRST_INODE_OFFSET;
  for (const [inode, node] of nodes.entries()) {
    const place = placeOf(layout, node, offset);
    layout.offsets[inode] = place.offset;
    layout.firstBlocks[inode] = place.blocks;
    offset = endOf(place);
  }
  return { layout, inodeBytes: offset };
}

/** Blocks of an inode: where the tar begins, and where its own do. */
interface Blocks {
  readonly tarBlock: number;
  readonly firstBlock: number;
}

function unionOf({ node, chunks, blocks }: Place, { tarBlock, firstBlock }: Blocks): number {
  if (chunks) return chunks.format;
  if (isType(node.mode, S_IFCHR) || isType(node.mode, S_IFBLK)) return node.rdev;
  if (isType(node.mode, S_IFREG))
    return node.sizeBytes === 0 ? 0 : node.dataOffset / EROFS_BLOCK + tarBlock;
  return blocks === 0 ? 0 : firstBlock;
}

function writePlace(writer: BlockWriter, place: Place, at: Blocks): void {
  const { node, chunks, xattrs, offset, layout, xattrBytes, sizeBytes, nlink } = place;
  const taken = writer.take(EROFS_INODE_SIZE);
  const { mode, uid, gid, mtimeSec, mtimeNsec } = node;
  const union = unionOf(place, at);
  const ino = (offset / EROFS_SLOT) >>> 0;
  const owner = { mode, uid, gid, mtimeSec, mtimeNsec };
  const inode = { ...owner, layout, xattrBytes, sizeBytes, union, ino, nlink };
  writeInode(taken.buffer, taken.at, inode);
  if (xattrs) writer.bytes(encodeXattrs(xattrs));
  if (chunks) {
    const { tarBlock, firstBlock: copyBlock } = at;
    writer.bytes(encodeChunkMap(chunks, { tarBlock, copyBlock }));
  }
  if (layout === EROFS_INODE_FLAT_INLINE) writer.bytes(Buffer.from(node.link ?? "", "latin1"));
}

function writeBlocks(
  writer: BlockWriter,
  node: LayerNode,
  layout: Layout,
  { fd, tarOffset }: ErofsRequest,
): void {
  const names = layout.directories.get(node)?.names;
  const chunks = layout.chunks.get(node);
  if (names) return writeDirectory(writer, node, { names, offsets: layout.offsets });
  if (chunks) {
    for (const copy of readCopies(chunks, { fd, tarOffset })) writer.bytes(copy);
    return;
  }
  if (node.link === null) return;
  const { blocks } = placeOf(layout, node, layout.offsets[node.inode] ?? 0);
  if (blocks === 0) return;
  const end = writer.position + blocks * EROFS_BLOCK;
  writer.bytes(Buffer.from(node.link, "latin1"));
  writer.seek(end);
}

function writeDirectory(
  writer: BlockWriter,
  node: LayerNode,
  { names, offsets }: { names: readonly string[]; offsets: Float64Array },
): void {
  const entry = (name: string) => {
    const own = name === "." ? node : name === ".." ? node.parent : node.children?.get(name);
    const offset = offsets[own?.inode ?? -1];
    if (!own || offset === undefined) throw new Error("broken invariant: an inode has no place");
    return { name, nid: offset / EROFS_SLOT, mode: own.mode };
  };
  for (let start = 0; start < names.length;) {
    const { end } = fitDirents(names, start);
    const { buffer, at } = writer.take(EROFS_BLOCK);
    writeDirents(buffer, at, names.slice(start, end).map(entry));
    start = end;
  }
}
