/**
 * A tree of files as a tar, in one walk. The tree is a stranger's: it is walked by descriptors, no link is followed,
 * and only what turns out to be a regular file is opened for reading. It may change meanwhile: what vanishes is left
 * out, and what shrinks is filled up, since its header has been written. Memory: one directory's names a level, one
 * piece of a file.
 */
import { readSync } from "node:fs";

import { EngineError } from "#base";
import { errnoNumbers, SyscallError } from "#linux/ffi";
import {
  FileDescriptor,
  type FileStat,
  isType,
  O_DIRECTORY,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  openPath,
  readDirectory,
  readLinkAt,
  S_IFDIR,
  statFd,
  statPath,
} from "#linux/path";
import { getXattr, listXattrs } from "#linux/xattr";
import {
  bytesOf,
  encodeTarHeader,
  paddingOf,
  rawOf,
  type SparseSegment,
  TAR_TRAILER,
  tarChunks,
  tarPadding,
} from "#wire/tar";

import { headerOf, leafType, ownXattrs } from "./attributes.ts";
import { dataSegments, encodeSparseMap } from "./sparse.ts";

const PIECE_BYTES = 256 * 1024;
/** Linux's PATH_MAX: what lies deeper cannot be named, and every level costs a descriptor. */
const PATH_LIMIT_BYTES = 4095;

interface Options {
  /** The directory is an overlay's upper: 0:0 devices become `.wh.` files, opaque directories get `.wh..wh..opq`. */
  readonly overlay?: boolean;
  /** Leave holes out of files that have them. */
  readonly sparse?: boolean;
  /** Other mounts are not entered: directories are empty there, files too. */
  readonly oneMount?: boolean;
  /** Entries left out, by their path in the archive (a byte string, no slash at its end). */
  readonly skip?: ReadonlySet<string>;
  /** Times after this one (seconds since 1970) are written as this one: SOURCE_DATE_EPOCH. */
  readonly latestSec?: number;
  /** What owners are called in the archive; absent: as here. */
  readonly owners?: Owners;
}

/** Ids of users and of groups, each by another. */
export interface Owners {
  readonly uid: (uid: number) => number;
  readonly gid: (gid: number) => number;
}

export interface TreeTarRequest extends Options {
  /** A directory, open for reading. The caller's to close. */
  readonly fd: number;
  /** What stands before every name: "" or a byte string that ends with a slash. */
  readonly prefix: string;
  /** Also an entry of the directory itself, under this name (a byte string). */
  readonly self?: string;
}

export interface EntryTarRequest extends Options {
  readonly parentFd: number;
  readonly name: Uint8Array;
  /** Its name in the archive, a byte string. */
  readonly as: string;
}

interface Directory {
  readonly fd: FileDescriptor;
  /** With a slash at its end; "" at the top. */
  readonly path: string;
  readonly names: string[];
}

interface Walk {
  readonly options: Options;
  readonly linked: Map<string, string>;
  /** Whose mount the walk stays on; null for any. */
  readonly mountId: bigint | null;
}

type Pieces<Result = void> = Generator<Uint8Array, Result, void>;

/** The tar of what a directory holds. A piece belongs to whoever took it. @throws SyscallError, EngineError */
export const treeTar = (request: TreeTarRequest): Pieces => tarChunks(treePieces(request));

/** The tar of one thing, which is no directory. Nothing when it vanished or is a socket. */
export const entryTar = (request: EntryTarRequest): Pieces => tarChunks(entryPieces(request));

function* treePieces(request: TreeTarRequest): Pieces {
  const { fd, prefix, self } = request;
  const walk = newWalk(request, fd);
  if (self !== undefined) {
    yield encodeTarHeader({
      ...headerOf(bounded(walk, statFd(fd)), "directory"),
      name: bytesOf(self),
      xattrs: ownXattrs(fd),
    });
  }
  yield* walked(walk, listed(openPath(".", O_RDONLY | O_DIRECTORY, 0, fd), prefix));
  yield TAR_TRAILER;
}

function* entryPieces(request: EntryTarRequest): Pieces {
  const { parentFd, name, as } = request;
  const stat = statPath(name, parentFd);
  const walk = newWalk(request, parentFd);
  if (stat !== null) yield* entry(walk, { parentFd, name, path: as }, bounded(walk, stat));
  yield TAR_TRAILER;
}

const newWalk = (options: Options, fd: number): Walk => ({
  options,
  linked: new Map(),
  mountId: options.oneMount === true ? statFd(fd).mountId : null,
});

function* walked(walk: Walk, top: Directory): Pieces {
  const stack = [top];
  try {
    for (let last = stack.at(-1); last; last = stack.at(-1)) {
      const raw = last.names.pop();
      if (raw === undefined) {
        last.fd[Symbol.dispose]();
        stack.pop();
        continue;
      }
      const path = last.path + raw;
      if (walk.options.skip?.has(path) === true) continue;
      if (path.length > PATH_LIMIT_BYTES) {
        throw new SyscallError("open", `${path.slice(0, 100)}…`, errnoNumbers.ENAMETOOLONG);
      }
      const name = bytesOf(raw);
      const found = statPath(name, last.fd.fd);
      if (found === null) continue;
      const stat = bounded(walk, found);
      const place = { parentFd: last.fd.fd, name, path };
      if (!isType(stat.mode, S_IFDIR)) yield* entry(walk, place, stat);
      else {
        const below = yield* directory(walk, place, stat);
        if (below) stack.push(below);
      }
    }
  } finally {
    for (const { fd } of stack) fd[Symbol.dispose]();
  }
}

function bounded({ options: { latestSec, owners } }: Walk, found: FileStat): FileStat {
  const stat =
    owners === undefined
      ? found
      : { ...found, uid: owners.uid(found.uid), gid: owners.gid(found.gid) };
  return latestSec === undefined || stat.mtimeSec <= latestSec
    ? stat
    : { ...stat, mtimeSec: latestSec };
}

interface Place {
  readonly parentFd: number;
  readonly name: Uint8Array;
  /** In the archive, a byte string. */
  readonly path: string;
}

/** Sorted, so that the same tree gives the same bytes; taken from the end. */
function listed(fd: number, path: string): Directory {
  const owned = new FileDescriptor(fd);
  const names = readDirectory(fd).map(({ name }) => rawOf(name));
  return { fd: owned, path, names: names.sort().reverse() };
}

const gone = (error: unknown): boolean =>
  error instanceof SyscallError && ["ENOENT", "ENOTDIR", "ELOOP"].includes(error.code);

/** The directory to go on with; null when it vanished or is another mount's. */
function* directory(walk: Walk, place: Place, stat: FileStat): Pieces<Directory | null> {
  const { parentFd, name } = place;
  const path = `${place.path}/`;
  let fd: number;
  try {
    fd = openPath(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, parentFd);
  } catch (error) {
    if (gone(error)) return null;
    throw error;
  }
  using opened = new FileDescriptor(fd);
  const names = listXattrs(fd);
  if (walk.options.overlay === true) refuseRedirect(names, path);
  const isForeign = walk.mountId !== null && statFd(fd).mountId !== walk.mountId;
  yield encodeTarHeader({
    ...headerOf(stat, "directory"),
    name: bytesOf(path),
    xattrs: isForeign ? null : ownXattrs(fd, names),
  });
  if (isForeign) return null;
  if (walk.options.overlay === true && isOpaque(fd, names)) {
    yield encodeTarHeader({ name: bytesOf(`${path}.wh..wh..opq`), mode: 0 });
  }
  return listed(opened.release(), path);
}

const isOpaque = (fd: number, names: readonly string[]): boolean =>
  names.includes("trusted.overlay.opaque") && getXattr(fd, "trusted.overlay.opaque")?.[0] === 0x79;

/** Overlays of ours are made without these features: content would be elsewhere than here. */
function refuseRedirect(names: readonly string[], path: string): void {
  for (const name of ["trusted.overlay.redirect", "trusted.overlay.metacopy"]) {
    if (names.includes(name)) {
      throw new EngineError("internal", `${path} of the overlay has ${name}`);
    }
  }
}

function* entry(walk: Walk, place: Place, stat: FileStat): Pieces {
  const type = leafType(stat.mode);
  if (type === null) return;
  const { path } = place;
  const { overlay = false } = walk.options;
  if (overlay && type === "character" && stat.rdevMajor === 0 && stat.rdevMinor === 0) {
    const cut = path.lastIndexOf("/") + 1;
    yield encodeTarHeader({
      name: bytesOf(`${path.slice(0, cut)}.wh.${path.slice(cut)}`),
      mode: 0,
    });
    return;
  }
  if (walk.mountId !== null && stat.mountId !== walk.mountId) {
    // Something is mounted on a file here: as Docker, what lies below it is an empty file.
    yield encodeTarHeader({ name: bytesOf(path), mode: 0o755, mtimeSec: stat.mtimeSec });
    return;
  }
  if (stat.nlink > 1) {
    const inode = `${stat.devMajor}:${stat.devMinor}:${stat.ino}`;
    const first = walk.linked.get(inode);
    if (first !== undefined) {
      const owner = { ...headerOf(stat, "hardlink"), devMajor: 0, devMinor: 0 };
      yield encodeTarHeader({ ...owner, name: bytesOf(path), link: bytesOf(first) });
      return;
    }
    walk.linked.set(inode, path);
  }
  if (type === "file") return yield* file(walk, place);
  yield* special(place, stat, type);
}

function* special(
  { parentFd, name, path }: Place,
  stat: FileStat,
  type: "symlink" | "character" | "block" | "fifo",
): Pieces {
  const through = Buffer.concat([Buffer.from(`/proc/self/fd/${parentFd}/`), name]);
  let header: Buffer;
  try {
    const link = type === "symlink" ? readLinkAt(parentFd, name) : undefined;
    header = encodeTarHeader({
      ...headerOf(stat, type),
      name: bytesOf(path),
      ...(link && { link }),
      xattrs: ownXattrs(through),
    });
  } catch (error) {
    // It became something else between the two looks.
    if (gone(error) || (error instanceof SyscallError && error.code === "EINVAL")) return;
    throw error;
  }
  yield header;
}

/** null when it vanished or became a link. O_NONBLOCK: it may be a FIFO by now. */
function openedFile(parentFd: number, name: Uint8Array): number | null {
  const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
  for (const more of [O_NOATIME, 0]) {
    try {
      return openPath(name, flags | more, 0, parentFd);
    } catch (error) {
      if (gone(error)) return null;
      // Only a file's owner and root may read without a trace.
      const isForeign = error instanceof SyscallError && error.code === "EPERM";
      if (!isForeign || more === 0) throw error;
    }
  }
  return null;
}

function* file(walk: Walk, { parentFd, name, path }: Place): Pieces {
  const fd = openedFile(parentFd, name);
  if (fd === null) return;
  using opened = new FileDescriptor(fd);
  const stat = bounded(walk, statFd(opened.fd));
  const type = leafType(stat.mode);
  if (type !== "file") return;
  const names = listXattrs(opened.fd);
  if (walk.options.overlay === true) refuseRedirect(names, path);
  const { sizeBytes } = stat;
  const mayHaveHoles = walk.options.sparse === true && stat.blocks * 512 < sizeBytes;
  const segments = mayHaveHoles ? dataSegments(opened.fd, sizeBytes) : null;
  const header = { ...headerOf(stat, type), xattrs: ownXattrs(opened.fd, names) };
  if (segments) return yield* sparseFile(opened.fd, { path, header, sizeBytes, segments });
  yield encodeTarHeader({ ...header, name: bytesOf(path), sizeBytes });
  yield* content(opened.fd, 0, sizeBytes);
  if (paddingOf(sizeBytes) > 0) yield tarPadding(sizeBytes);
}

function* sparseFile(
  fd: number,
  request: {
    path: string;
    header: ReturnType<typeof headerOf<"file">> & { xattrs: Map<string, Uint8Array> | null };
    sizeBytes: number;
    segments: readonly SparseSegment[];
  },
): Pieces {
  const { path, header, sizeBytes, segments } = request;
  const map = encodeSparseMap(segments);
  const dataBytes = segments.reduce((sum, segment) => sum + segment.sizeBytes, 0);
  const cut = path.lastIndexOf("/") + 1;
  yield encodeTarHeader({
    ...header,
    name: bytesOf(`${path.slice(0, cut)}GNUSparseFile.0/${path.slice(cut)}`),
    sizeBytes: map.length + dataBytes,
    records: [
      ["GNU.sparse.major", "1"],
      ["GNU.sparse.minor", "0"],
      ["GNU.sparse.name", path],
      ["GNU.sparse.realsize", String(sizeBytes)],
    ],
  });
  yield map;
  for (const { offset, sizeBytes: length } of segments) yield* content(fd, offset, length);
  if (paddingOf(dataBytes) > 0) yield tarPadding(dataBytes);
}

/** Exactly so many bytes. */
function* content(fd: number, offset: number, sizeBytes: number): Pieces {
  for (let done = 0; done < sizeBytes;) {
    const size = Math.min(sizeBytes - done, PIECE_BYTES);
    const buffer = Buffer.allocUnsafe(size);
    const filled = readSync(fd, buffer, 0, size, offset + done);
    if (filled === 0) buffer.fill(0);
    const piece = filled === 0 ? buffer : buffer.subarray(0, filled);
    done += piece.length;
    yield piece;
  }
}
