/**
 * An overlay's upper directory as a tar, in one walk: what a container changed, as Docker's `diff` and `commit` write it.
 * 0:0 devices become `.wh.` files, opaque directories get `.wh..wh..opq`. Names are sorted and times cut to
 * seconds (as Docker does), so the same changes give the same bytes.
 *
 * The directory was written by a container: it is walked by descriptors, no link is followed, and only what
 * turns out to be a regular file is opened for reading.
 */
import { readSync } from "node:fs";

import { EngineError } from "#base";
import {
  type FileStat,
  FileDescriptor,
  isType,
  O_DIRECTORY,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  openPath,
  readDirectory,
  readLinkAt,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  statFd,
  statPath,
} from "#linux/path";
import { getXattr, listXattrs } from "#linux/xattr";

import { bytesOf, paddingOf, rawOf, type TarEntryType } from "./tar-entry.ts";
import { encodeTarHeader, TAR_TRAILER, tarPadding } from "./tar-writer.ts";
import { ACL_ACCESS, ACL_DEFAULT } from "./xattr-filter.ts";

const PIECE_BYTES = 1024 * 1024;

interface Directory {
  readonly fd: FileDescriptor;
  /** With a slash at its end; "" for the upper itself. */
  readonly path: string;
  readonly names: string[];
}

/** The pieces of the tar. A piece is valid until the next is asked for. @throws SyscallError, EngineError */
export function* upperTar(upper: string): Generator<Uint8Array, void, void> {
  const stack: Directory[] = [open(openPath(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), "")];
  const linked = new Map<bigint, string>();
  const buffer = Buffer.alloc(PIECE_BYTES);
  try {
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const name = top.names.pop();
      if (name === undefined) {
        top.fd[Symbol.dispose]();
        stack.pop();
        continue;
      }
      const stat = statPath(bytesOf(name), top.fd.fd);
      if (stat === null) continue;
      if (isType(stat.mode, S_IFDIR)) stack.push(yield* directory(top, name, stat));
      else yield* entry(top, name, stat, linked, buffer);
    }
  } finally {
    for (const { fd } of stack) fd[Symbol.dispose]();
  }
  yield TAR_TRAILER;
}

function open(fd: number, path: string): Directory {
  const owned = new FileDescriptor(fd);
  // Taken from the end.
  const names = readDirectory(fd).map(({ name }) => rawOf(name));
  return { fd: owned, path, names: names.sort().reverse() };
}

function* directory(
  parent: Directory,
  name: string,
  stat: FileStat,
): Generator<Uint8Array, Directory, void> {
  const path = `${parent.path}${name}/`;
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  const below = open(openPath(bytesOf(name), flags, 0, parent.fd.fd), path);
  try {
    const { fd } = below.fd;
    refuseRedirect(fd, path);
    const owner = attributes(stat, "directory");
    yield encodeTarHeader({ ...owner, name: bytesOf(path), xattrs: ownXattrs(fd) });
    const opaque = getXattr(fd, "trusted.overlay.opaque");
    if (opaque?.[0] === 0x79)
      yield encodeTarHeader({ name: bytesOf(`${path}.wh..wh..opq`), mode: 0 });
    return below;
  } catch (error) {
    below.fd[Symbol.dispose]();
    throw error;
  }
}

/** Overlays of ours are made without these features: content would be elsewhere than here. */
function refuseRedirect(target: number | Uint8Array, path: string): void {
  for (const name of ["trusted.overlay.redirect", "trusted.overlay.metacopy"]) {
    if (getXattr(target, name) !== null) {
      throw new EngineError("internal", `${path} of the overlay has ${name}`);
    }
  }
}

function attributes(stat: FileStat, type: TarEntryType) {
  const { mode, uid, gid, mtimeSec } = stat;
  return {
    type,
    mode: mode & 0o7777,
    uid,
    gid,
    mtimeSec,
    devMajor: stat.rdevMajor,
    devMinor: stat.rdevMinor,
  };
}

function typeOf(mode: number): TarEntryType | null {
  if (isType(mode, S_IFREG)) return "file";
  if (isType(mode, S_IFLNK)) return "symlink";
  if (isType(mode, S_IFCHR)) return "character";
  if (isType(mode, S_IFBLK)) return "block";
  // Sockets have no place in a tar; Docker leaves them out too.
  return isType(mode, S_IFIFO) ? "fifo" : null;
}

function* entry(
  parent: Directory,
  name: string,
  stat: FileStat,
  linked: Map<bigint, string>,
  buffer: Buffer,
): Generator<Uint8Array, void, void> {
  const type = typeOf(stat.mode);
  if (type === null) return;
  const path = parent.path + name;
  if (type === "character" && stat.rdevMajor === 0 && stat.rdevMinor === 0) {
    yield encodeTarHeader({ name: bytesOf(`${parent.path}.wh.${name}`), mode: 0 });
    return;
  }
  if (stat.nlink > 1) {
    const first = linked.get(stat.ino);
    if (first !== undefined) {
      const owner = { ...attributes(stat, "hardlink"), devMajor: 0, devMinor: 0 };
      yield encodeTarHeader({ ...owner, name: bytesOf(path), link: bytesOf(first) });
      return;
    }
    linked.set(stat.ino, path);
  }
  if (type === "file") return yield* file(parent, name, path, buffer);
  const link = type === "symlink" ? readLinkAt(parent.fd.fd, bytesOf(name)) : undefined;
  const through = Buffer.concat([Buffer.from(`/proc/self/fd/${parent.fd.fd}/`), bytesOf(name)]);
  yield encodeTarHeader({
    ...attributes(stat, type),
    name: bytesOf(path),
    ...(link && { link }),
    xattrs: ownXattrs(through),
  });
}

function* file(
  parent: Directory,
  name: string,
  path: string,
  buffer: Buffer,
): Generator<Uint8Array, void, void> {
  const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME;
  using opened = new FileDescriptor(openPath(bytesOf(name), flags, 0, parent.fd.fd));
  const stat = statFd(opened.fd);
  if (!isType(stat.mode, S_IFREG)) return;
  refuseRedirect(opened.fd, path);
  const { sizeBytes } = stat;
  const owner = attributes(stat, "file");
  yield encodeTarHeader({ ...owner, name: bytesOf(path), sizeBytes, xattrs: ownXattrs(opened.fd) });
  for (let left = sizeBytes; left > 0;) {
    const size = Math.min(left, buffer.length);
    const filled = readSync(opened.fd, buffer, 0, size, null);
    // A file that shrank meanwhile is filled up: its header has been written.
    if (filled === 0) buffer.fill(0, 0, size);
    const piece = buffer.subarray(0, filled === 0 ? size : filled);
    left -= piece.length;
    yield piece;
  }
  if (paddingOf(sizeBytes) > 0) yield tarPadding(sizeBytes);
}

/** What belongs to the file and not to this host or to overlayfs; null for none. */
function ownXattrs(target: number | Uint8Array): Map<string, Uint8Array> | null {
  const own = new Map<string, Uint8Array>();
  for (const name of listXattrs(target)) {
    const user = name.startsWith("user.") && !name.startsWith("user.overlay.");
    const system = name === "security.capability" || name === ACL_ACCESS || name === ACL_DEFAULT;
    const value = user || system ? getXattr(target, name) : null;
    if (value !== null) own.set(rawOf(name), value);
  }
  return own.size === 0 ? null : own;
}
