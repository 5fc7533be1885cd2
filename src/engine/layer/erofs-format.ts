/** The pieces of EROFS that a layer file needs. Source: Linux fs/erofs/erofs_fs.h, all little-endian. */

export const EROFS_MAGIC = 0xe0f5e1e2;
export const EROFS_SUPER_OFFSET = 1024;
/** 512: a tar's own block, so that inodes can point at file data in it. */
export const EROFS_BLOCK_BITS = 9;
export const EROFS_BLOCK = 1 << EROFS_BLOCK_BITS;
/** A nid counts slots of this size from the start of the inodes. */
export const EROFS_SLOT = 32;
export const EROFS_INODE_SIZE = 64;
export const EROFS_NULL_ADDR = 0xffff_ffff;

export const EROFS_FEATURE_INCOMPAT_CHUNKED_FILE = 0x4;

export const EROFS_INODE_FLAT_PLAIN = 0;
export const EROFS_INODE_FLAT_INLINE = 2;
export const EROFS_INODE_CHUNK_BASED = 4;

const DIRENT_SIZE = 12;
const XATTR_HEADER_SIZE = 12;
const XATTR_ENTRY_SIZE = 4;

/** EROFS_XATTR_INDEX_*: the longest prefix that fits; the name's rest is stored. */
const xattrIndexes: readonly (readonly [prefix: string, index: number])[] = [
  ["user.", 1],
  ["system.posix_acl_access", 2],
  ["system.posix_acl_default", 3],
  ["trusted.", 4],
  ["security.", 6],
];

export interface Superblock {
  readonly rootNid: number;
  readonly inodes: number;
  readonly blocks: number;
  readonly metaBlock: number;
  readonly uuid: Uint8Array;
  readonly chunked: boolean;
}

/** Writes a superblock of 128 bytes at `at`. */
export function writeSuperblock(target: Buffer, at: number, superblock: Superblock): void {
  target.writeUInt32LE(EROFS_MAGIC, at);
  target.writeUInt8(EROFS_BLOCK_BITS, at + 12);
  target.writeUInt16LE(superblock.rootNid, at + 14);
  target.writeBigUInt64LE(BigInt(superblock.inodes), at + 16);
  target.writeUInt32LE(superblock.blocks, at + 36);
  target.writeUInt32LE(superblock.metaBlock, at + 40);
  target.set(superblock.uuid.subarray(0, 16), at + 48);
  target.write("naru layer", at + 64, "latin1");
  const features = superblock.chunked ? EROFS_FEATURE_INCOMPAT_CHUNKED_FILE : 0;
  target.writeUInt32LE(features, at + 80);
}

/** How long the file is, as the superblock at `at` says it. */
export const readSuperblockBytes = (head: Buffer, at: number): number =>
  head.readUInt32LE(at + 36) * EROFS_BLOCK;

export interface InodeRecord {
  readonly layout: number;
  readonly xattrBytes: number;
  readonly mode: number;
  readonly sizeBytes: number;
  /** Block address, device number or chunk format. */
  readonly union: number;
  readonly ino: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  readonly nlink: number;
}

/** Writes an extended inode of 64 bytes at `at`. */
export function writeInode(target: Buffer, at: number, inode: InodeRecord): void {
  target.writeUInt16LE(1 | (inode.layout << 1), at);
  target.writeUInt16LE(inode.xattrBytes === 0 ? 0 : (inode.xattrBytes - 12) / 4 + 1, at + 2);
  target.writeUInt16LE(inode.mode, at + 4);
  // 2^53 is enough, and two halves are faster than a BigInt.
  target.writeUInt32LE(inode.sizeBytes >>> 0, at + 8);
  target.writeUInt32LE(Math.floor(inode.sizeBytes / 0x1_0000_0000), at + 12);
  target.writeUInt32LE(inode.union, at + 16);
  target.writeUInt32LE(inode.ino, at + 20);
  target.writeUInt32LE(inode.uid, at + 24);
  target.writeUInt32LE(inode.gid, at + 28);
  target.writeUInt32LE(inode.mtimeSec >>> 0, at + 32);
  target.writeInt32LE(Math.floor(inode.mtimeSec / 0x1_0000_0000), at + 36);
  target.writeUInt32LE(inode.mtimeNsec, at + 40);
  target.writeUInt32LE(inode.nlink, at + 44);
}

const roundUp4 = (size: number): number => (size + 3) & ~3;

function split(name: string): { index: number; rest: string } {
  for (const [prefix, index] of xattrIndexes) {
    if (name.startsWith(prefix)) return { index, rest: name.slice(prefix.length) };
  }
  throw new Error(`broken invariant: no EROFS index for attribute ${name}`);
}

export type XattrList = ReadonlyMap<string, Uint8Array>;

/** Bytes that a list of attributes takes behind its inode. */
export function xattrSize(xattrs: XattrList | null): number {
  if (xattrs === null) return 0;
  let size = XATTR_HEADER_SIZE;
  for (const [name, value] of xattrs) {
    size += roundUp4(XATTR_ENTRY_SIZE + split(name).rest.length + value.length);
  }
  return size;
}

/** The attributes behind an inode: a header of zeros (no shared ones), then each entry padded to 4 bytes. */
export function encodeXattrs(xattrs: XattrList): Buffer {
  const target = Buffer.alloc(xattrSize(xattrs));
  let at = XATTR_HEADER_SIZE;
  for (const [name, value] of xattrs) {
    const { index, rest } = split(name);
    target.writeUInt8(rest.length, at);
    target.writeUInt8(index, at + 1);
    target.writeUInt16LE(value.length, at + 2);
    target.write(rest, at + XATTR_ENTRY_SIZE, "latin1");
    target.set(value, at + XATTR_ENTRY_SIZE + rest.length);
    at += roundUp4(XATTR_ENTRY_SIZE + rest.length + value.length);
  }
  return target;
}

export interface Dirent {
  /** A byte string. */
  readonly name: string;
  readonly nid: number;
  /** The mode's type bits. */
  readonly mode: number;
}

/** How many of the sorted names from `start` fit into one directory block, and the bytes they take. */
export function fitDirents(names: readonly string[], start: number): { end: number; used: number } {
  let used = 0;
  let end = start;
  for (; end < names.length; end += 1) {
    const size = DIRENT_SIZE + (names[end]?.length ?? 0);
    if (used + size > EROFS_BLOCK) break;
    used += size;
  }
  return { end, used };
}

/** FT_* of a mode: 1 regular, 2 directory, 3 character, 4 block, 5 FIFO, 7 link. */
const fileTypes: Readonly<Record<number, number>> = {
  0o100000: 1,
  0o040000: 2,
  0o020000: 3,
  0o060000: 4,
  0o010000: 5,
  0o120000: 7,
};

/** Writes one directory block: the records, then the names. */
export function writeDirents(target: Buffer, at: number, entries: readonly Dirent[]): void {
  let nameOffset = entries.length * DIRENT_SIZE;
  let record = at;
  for (const { name, nid, mode } of entries) {
    target.writeUInt32LE(nid >>> 0, record);
    target.writeUInt32LE(Math.floor(nid / 0x1_0000_0000), record + 4);
    target.writeUInt16LE(nameOffset, record + 8);
    target.writeUInt8(fileTypes[mode & 0o170000] ?? 0, record + 10);
    target.write(name, at + nameOffset, "latin1");
    nameOffset += name.length;
    record += DIRENT_SIZE;
  }
}
