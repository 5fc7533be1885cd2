/**
 * A tree of files as a tar, in one walk. The tree is a stranger's: it is walked by descriptors, no link is followed,
 * and only what turns out to be a regular file is opened for reading. It may change meanwhile: what vanishes is left
 * out, and what shrinks is filled up, since its header has been written. Memory: one directory's names a level, one
 * piece of a file.
 */
import { EngineError } from "#base";
import { allocate, checked, errnoNumbers, SyscallError } from "#linux/ffi";
import {
  FileDescriptor,
  type FileStat,
  isType,
  NameMemory,
  O_DIRECTORY,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  openPath,
  readRawNames,
  readLinkAt,
  S_IFDIR,
  statFd,
  statPath,
} from "#linux/path";
import { getXattr, listXattrs } from "#linux/xattr";
import {
  encodeRawTarHeader,
  paddingOf,
  type RawTarEntrySource,
  rawOf,
  type SparseSegment,
  TAR_TRAILER,
} from "#wire/tar";

import { headerOf, leafType, ownXattrs } from "./attributes.ts";
import { Gather } from "./gather.ts";
import { dataSegments, encodeSparseMap } from "./sparse.ts";

const PIECE_BYTES = 256 * 1024;
/** A file of at most this size is gathered with others; a larger one goes in pieces of its own. */
const SMALL_BYTES = 64 * 1024;
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
  /** Entries alone: what the archive ends with comes from somewhere else. */
  readonly isPart?: boolean;
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
  readonly out: Gather;
  /** Of the entry that is looked at. */
  readonly name: NameMemory;
  readonly linked: Map<string, string>;
  /** Whose mount the walk stays on; null for any. */
  readonly mountId: bigint | null;
}

type Pieces<Result = void> = Generator<Uint8Array, Result, void>;

/** The tar of what a directory holds. A piece belongs to whoever took it. @throws SyscallError, EngineError */
export function* treeTar(request: TreeTarRequest): Pieces {
  const { fd, prefix, self, isPart = false } = request;
  const walk = newWalk(request, fd);
  if (self !== undefined) {
    const stat = bounded(walk, statFd(fd));
    put(walk, { ...headerOf(stat, "directory"), rawName: self, xattrs: ownXattrs(fd) });
  }
  yield* walked(walk, listed(openPath(".", O_RDONLY | O_DIRECTORY, 0, fd), prefix));
  if (!isPart) walk.out.add(TAR_TRAILER);
  yield* ended(walk);
}

/** The tar of one thing, which is no directory. Nothing when it vanished or is a socket. */
export function* entryTar(request: EntryTarRequest): Pieces {
  const { parentFd, name, as } = request;
  const walk = newWalk(request, parentFd);
  walk.name.set(rawOf(name));
  const stat = statPath(walk.name, parentFd);
  if (stat !== null) yield* entry(walk, { parentFd, path: as }, bounded(walk, stat)) ?? [];
  walk.out.add(TAR_TRAILER);
  yield* ended(walk);
}

const newWalk = (options: Options, fd: number): Walk => ({
  options,
  out: new Gather(),
  name: new NameMemory(),
  linked: new Map(),
  mountId: options.oneMount === true ? statFd(fd).mountId : null,
});

const put = ({ out }: Walk, header: RawTarEntrySource): void => out.add(encodeRawTarHeader(header));

function* ended({ out }: Walk): Pieces {
  out.flush();
  for (let piece = out.take(); piece; piece = out.take()) yield piece;
}

function* walked(walk: Walk, top: Directory): Pieces {
  const { out } = walk;
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
      walk.name.set(raw);
      const found = statPath(walk.name, last.fd.fd);
      if (found === null) continue;
      const stat = bounded(walk, found);
      const place = { parentFd: last.fd.fd, path };
      if (isType(stat.mode, S_IFDIR)) {
        const below = directory(walk, place, stat);
        if (below) stack.push(below);
      } else {
        const large = entry(walk, place, stat);
        if (large) yield* large;
      }
      for (let piece = out.take(); piece; piece = out.take()) yield piece;
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

/** Where an entry is; its name is the walk's. */
interface Place {
  readonly parentFd: number;
  /** In the archive, a byte string. */
  readonly path: string;
}

/** Sorted, so that the same tree gives the same bytes; taken from the end. */
function listed(fd: number, path: string): Directory {
  const owned = new FileDescriptor(fd);
  return { fd: owned, path, names: readRawNames(fd).sort().reverse() };
}

const gone = (error: unknown): boolean =>
  error instanceof SyscallError && ["ENOENT", "ENOTDIR", "ELOOP"].includes(error.code);

/** The directory to go on with; null when it vanished or is another mount's. */
function directory(walk: Walk, place: Place, stat: FileStat): Directory | null {
  const path = `${place.path}/`;
  let fd: number;
  try {
    fd = openPath(walk.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, place.parentFd);
  } catch (error) {
    if (gone(error)) return null;
    throw error;
  }
  using opened = new FileDescriptor(fd);
  const names = listXattrs(fd);
  if (walk.options.overlay === true) refuseRedirect(names, path);
  const isForeign = walk.mountId !== null && statFd(fd).mountId !== walk.mountId;
  const xattrs = isForeign ? null : ownXattrs(fd, names);
  put(walk, { ...headerOf(stat, "directory"), rawName: path, xattrs });
  if (isForeign) return null;
  if (walk.options.overlay === true && isOpaque(fd, names)) {
    put(walk, { rawName: `${path}.wh..wh..opq`, mode: 0 });
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

/** Writes an entry; what is returned is the content of a large file, which is still to be read. */
function entry(walk: Walk, place: Place, stat: FileStat): Pieces | null {
  const type = leafType(stat.mode);
  if (type === null) return null;
  const { path } = place;
  const { overlay = false } = walk.options;
  if (overlay && type === "character" && stat.rdevMajor === 0 && stat.rdevMinor === 0) {
    const cut = path.lastIndexOf("/") + 1;
    put(walk, { rawName: `${path.slice(0, cut)}.wh.${path.slice(cut)}`, mode: 0 });
    return null;
  }
  if (walk.mountId !== null && stat.mountId !== walk.mountId) {
    // Something is mounted on a file here: as Docker, what lies below it is an empty file.
    put(walk, { rawName: path, mode: 0o755, mtimeSec: stat.mtimeSec });
    return null;
  }
  if (stat.nlink > 1) {
    const inode = `${stat.devMajor}:${stat.devMinor}:${stat.ino}`;
    const first = walk.linked.get(inode);
    if (first !== undefined) {
      const owner = { ...headerOf(stat, "hardlink"), devMajor: 0, devMinor: 0 };
      put(walk, { ...owner, rawName: path, rawLink: first });
      return null;
    }
    walk.linked.set(inode, path);
  }
  if (type === "file") return file(walk, place);
  special(walk, place, stat, type);
  return null;
}

function special(
  walk: Walk,
  { parentFd, path }: Place,
  stat: FileStat,
  type: "symlink" | "character" | "block" | "fifo",
): void {
  const name = walk.name.bytes();
  const through = Buffer.concat([Buffer.from(`/proc/self/fd/${parentFd}/`), name]);
  try {
    const link = type === "symlink" ? { rawLink: rawOf(readLinkAt(parentFd, name)) } : {};
    const xattrs = ownXattrs(through);
    put(walk, { ...headerOf(stat, type), rawName: path, ...link, xattrs });
  } catch (error) {
    // It became something else between the two looks.
    if (gone(error) || (error instanceof SyscallError && error.code === "EINVAL")) return;
    throw error;
  }
}

/** null when it vanished or became a link. O_NONBLOCK: it may be a FIFO by now. */
function openedFile({ name }: Walk, parentFd: number): number | null {
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

function file(walk: Walk, { parentFd, path }: Place): Pieces | null {
  const fd = openedFile(walk, parentFd);
  if (fd === null) return null;
  using opened = new FileDescriptor(fd);
  const stat = bounded(walk, statFd(fd));
  const type = leafType(stat.mode);
  if (type !== "file") return null;
  const names = listXattrs(fd);
  if (walk.options.overlay === true) refuseRedirect(names, path);
  const { sizeBytes } = stat;
  const mayHaveHoles = walk.options.sparse === true && stat.blocks * 512 < sizeBytes;
  const segments = mayHaveHoles ? dataSegments(fd, sizeBytes) : null;
  const xattrs = names.length === 0 ? null : ownXattrs(fd, names);
  const header = { ...headerOf(stat, type), xattrs, sizeBytes };
  if (segments) {
    sparseHeader(walk, { path, header, segments });
    return content(walk.out, opened.release(), segments);
  }
  put(walk, { ...header, rawName: path });
  if (sizeBytes > SMALL_BYTES) {
    return content(walk.out, opened.release(), [{ offset: 0, sizeBytes }]);
  }
  if (sizeBytes > 0) {
    walk.out.read(fd, sizeBytes);
    walk.out.zeros(paddingOf(sizeBytes));
  }
  return null;
}

function sparseHeader(
  walk: Walk,
  request: {
    path: string;
    header: Omit<RawTarEntrySource, "rawName"> & { readonly sizeBytes: number };
    segments: readonly SparseSegment[];
  },
): void {
  const { path, header, segments } = request;
  const map = encodeSparseMap(segments);
  const dataBytes = segments.reduce((sum, segment) => sum + segment.sizeBytes, 0);
  const cut = path.lastIndexOf("/") + 1;
  put(walk, {
    ...header,
    rawName: `${path.slice(0, cut)}GNUSparseFile.0/${path.slice(cut)}`,
    sizeBytes: map.length + dataBytes,
    records: [
      ["GNU.sparse.major", "1"],
      ["GNU.sparse.minor", "0"],
      ["GNU.sparse.name", path],
      ["GNU.sparse.realsize", String(header.sizeBytes)],
    ],
  });
  walk.out.add(map);
}

/** Exactly what the segments say, padded; closes the file. */
function* content(out: Gather, fd: number, segments: readonly SparseSegment[]): Pieces {
  using _ = new FileDescriptor(fd);
  out.flush();
  for (let piece = out.take(); piece; piece = out.take()) yield piece;
  let total = 0;
  for (const { offset, sizeBytes } of segments) {
    total += sizeBytes;
    for (let done = 0; done < sizeBytes;) {
      const piece = allocate(Math.min(sizeBytes - done, PIECE_BYTES));
      const filled = checked("pread64", "file", fd, piece, piece.length, offset + done);
      // It has become shorter: zeros, since its header has been written.
      done += filled === 0 ? piece.length : filled;
      yield filled === 0 ? piece : piece.subarray(0, filled);
    }
  }
  out.zeros(paddingOf(total));
}
