/** What a name is: statx and readlinkat. */
import { addressOf, allocate, attempt, checked, cstring, SyscallError } from "#linux/ffi";

import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, S_IFMT } from "./constants.ts";
import { memoryOf, type NameMemory, type Path, shownPath } from "./open.ts";

/** One inode as statx sees it. */
export interface FileStat {
  /** Type and permission bits (`S_IFMT` and 0o7777). */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: bigint;
  readonly sizeBytes: number;
  /** In units of 512 bytes. */
  readonly blocks: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  readonly ctimeSec: number;
  readonly ctimeNsec: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly devMajor: number;
  readonly devMinor: number;
  /** The mount it was reached through; 0 where the kernel does not say. */
  readonly mountId: bigint;
}

const STATX_BASIC_STATS = 0x7ff;
const STATX_MNT_ID = 0x1000;
const STATX_SIZE = 256;
const buffer = allocate(STATX_SIZE);
// The view keeps it where it is.
const bufferAddress = Number(addressOf(buffer));
const view = new DataView(buffer.buffer);
const empty = cstring("");

/** Unsigned, exact below 2^53: a BigInt for each field is most of what a look costs. */
const wide = (offset: number): number =>
  view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);
const signed = (offset: number): number =>
  view.getInt32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);

function decode(): FileStat {
  return {
    nlink: view.getUint32(16, true),
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
    mode: view.getUint16(28, true),
    ino: view.getBigUint64(32, true),
    sizeBytes: wide(40),
    blocks: wide(48),
    mtimeSec: signed(112),
    mtimeNsec: view.getUint32(120, true),
    ctimeSec: signed(96),
    ctimeNsec: view.getUint32(104, true),
    rdevMajor: view.getUint32(128, true),
    rdevMinor: view.getUint32(132, true),
    devMajor: view.getUint32(136, true),
    devMinor: view.getUint32(140, true),
    mountId: view.getBigUint64(144, true),
  };
}

/** What a descriptor (O_PATH too) is open on. @throws SyscallError */
export function statFd(fd: number): FileStat {
  const mask = STATX_BASIC_STATS | STATX_MNT_ID;
  const result = attempt("statx", fd, empty, AT_EMPTY_PATH, mask, bufferAddress);
  if (result !== 0) throw new SyscallError("statx", `fd ${fd}`, -result);
  return decode();
}

const STATFS_BYTES = 120;

/** The magic number of the file system that a descriptor (O_PATH too) is open in. @throws SyscallError */
export function fileSystemType(fd: number): number {
  const statfs = allocate(STATFS_BYTES);
  checked("fstatfs", `fd ${fd}`, fd, statfs);
  return new DataView(statfs.buffer).getUint32(0, true);
}

const STATFS_FLAGS = 80;

/** How the mount that a descriptor (O_PATH too) is open in is confined: ST_RDONLY, ST_NOSUID and so on. @throws SyscallError */
export function mountFlags(fd: number): number {
  const statfs = allocate(STATFS_BYTES);
  checked("fstatfs", `fd ${fd}`, fd, statfs);
  return new DataView(statfs.buffer).getUint32(STATFS_FLAGS, true);
}

/** What a path is, a symbolic link itself; null when there is nothing. @throws SyscallError for other failures */
export function statPath(path: Path | NameMemory, dirFd = AT_FDCWD): FileStat | null {
  const name = memoryOf(path);
  const mask = STATX_BASIC_STATS | STATX_MNT_ID;
  const result = attempt("statx", dirFd, name, AT_SYMLINK_NOFOLLOW, mask, bufferAddress);
  if (result === 0) return decode();
  if (result === -2 || result === -20) return null;
  throw new SyscallError("statx", shownPath(path), -result);
}

/** True when the mode's type is the given one: `isType(stat.mode, S_IFDIR)`. */
export const isType = (mode: number, type: number): boolean => (mode & S_IFMT) === type;

/** The largest link target that Linux stores (PATH_MAX). */
const LINK_LIMIT_BYTES = 4096;

/** A symbolic link's target as bytes. An empty path reads the link that `dirFd` itself (O_PATH|O_NOFOLLOW) is. */
export function readLinkAt(dirFd: number, path: Path): Uint8Array<ArrayBuffer> {
  const target = allocate(LINK_LIMIT_BYTES);
  const name = cstring(path);
  const length = checked("readlinkat", String(path), dirFd, name, target, LINK_LIMIT_BYTES);
  return target.slice(0, length);
}
