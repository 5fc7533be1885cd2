/**
 * A tar into a tree that a stranger may be changing meanwhile. Every name is made by its directory's descriptor and
 * never through a link that stands in its place; links on the way to a directory are followed inside the root, as a
 * process of that root would. Follows what Docker's extraction does with what is there already.
 */
import { ftruncateSync, writeSync } from "node:fs";
import { join } from "node:path";

import { invalid } from "#base";
import { allocate, attempt, checked, cstring, errnoNumbers, SyscallError } from "#linux/ffi";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  FileDescriptor,
  isType,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
  openBeneath,
  openInRoot,
  openPath,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  statFd,
  statPath,
} from "#linux/path";
import { setXattr } from "#linux/xattr";
import { bytesOf, rawOf, type TarHandler, type TarHeader, textOf } from "#wire/tar";

import { isOwnXattr } from "./attributes.ts";
import type { Owners } from "./read.ts";
import { refuseMount, removeEntry } from "./remove.ts";

export interface TreeWriterRequest {
  /** What absolute links mean: a descriptor (O_PATH) of a container's root. */
  readonly rootFd: number;
  /** The directory to write into, below that root. */
  readonly path: string;
  /** Refuse to put a directory where something else is, and the other way round. */
  readonly keepKinds: boolean;
  /** Who gets everything; null: whom the archive names. */
  readonly owner: { readonly uid: number; readonly gid: number } | null;
  /** What the archive's owners are called here; absent: the same. */
  readonly owners?: Owners;
}

/** Directories whose time is still to be set: it changes with every entry made in them. */
const TIMES_LIMIT = 65_536;
/** Somebody else may take a name again and again between our removal and our creation. */
const CREATE_ATTEMPTS = 16;
/** Zeros of this length become a hole. */
const ZERO_PIECE = Buffer.alloc(64 * 1024);

/** For errors: clean, and without a slash at its end. */
const shownPath = (...parts: string[]): string => join("/", ...parts).replace(/(.)\/$/, "$1");

interface OpenFile {
  readonly fd: FileDescriptor;
  readonly header: TarHeader;
  /** Stored bytes taken so far. */
  taken: number;
  segment: number;
  /** Taken of the current segment. */
  inSegment: number;
  /** Where the last written byte ended: the file's size so far. */
  end: number;
}

/** Give it to a `TarParser`; call `end` when the archive is over, and dispose of it in any case. */
export class TreeWriter implements TarHandler, Disposable {
  readonly #request: TreeWriterRequest;
  readonly #base: FileDescriptor;
  #file: OpenFile | null = null;
  #parent: { readonly raw: string; readonly fd: FileDescriptor } | null = null;
  #times = new Map<string, TarHeader>();

  /** @throws SyscallError when the path is no directory */
  constructor(request: TreeWriterRequest) {
    this.#request = request;
    const { rootFd, path } = request;
    this.#base = new FileDescriptor(openInRoot({ rootFd, path, flags: O_PATH | O_DIRECTORY }));
  }

  entry(header: TarHeader): void {
    this.#endFile();
    const parts = partsOf(header.rawName);
    const name = parts.pop();
    // The directory itself stays as it is.
    if (name === undefined) return;
    const parentFd = this.#directory(parts.join("/"));
    this.#make(parentFd, bytesOf(name), header);
    if (header.type === "directory") this.#rememberTime([...parts, name].join("/"), header);
  }

  data(bytes: Buffer): void {
    const file = this.#file;
    if (file === null) return;
    for (let rest = bytes; rest.length > 0;) {
      const { offset, room } = placeOf(file);
      if (room <= 0) return;
      const piece = rest.subarray(0, room);
      if (writeSparsely(file.fd.fd, piece, offset)) file.end = offset + piece.length;
      file.taken += piece.length;
      file.inSegment += piece.length;
      rest = rest.subarray(piece.length);
    }
  }

  /** The archive is complete. @throws SyscallError */
  end(): void {
    this.#endFile();
    this.#setTimes();
  }

  [Symbol.dispose](): void {
    this.#file?.fd[Symbol.dispose]();
    this.#parent?.fd[Symbol.dispose]();
    this.#base[Symbol.dispose]();
  }

  /** The directory of an entry, made with its parents where it is missing; valid until the next is asked for. */
  #directory(raw: string): number {
    if (raw === "") return this.#base.fd;
    if (this.#parent?.raw === raw) return this.#parent.fd.fd;
    const fd = this.#openOrMake(raw);
    this.#parent?.fd[Symbol.dispose]();
    this.#parent = { raw, fd: new FileDescriptor(fd) };
    return fd;
  }

  #openOrMake(raw: string): number {
    try {
      return this.#open(raw);
    } catch (error) {
      if (!(error instanceof SyscallError) || error.code !== "ENOENT") throw error;
    }
    const cut = raw.lastIndexOf("/");
    const name = bytesOf(raw.slice(cut + 1));
    using above = new FileDescriptor(
      cut < 0 ? this.#openBase() : this.#openOrMake(raw.slice(0, cut)),
    );
    const made = attempt("mkdirat", above.fd, cstring(name), 0o755);
    if (made < 0 && made !== -errnoNumbers.EEXIST) {
      throw new SyscallError("mkdir", textOf(raw), -made);
    }
    const fd = this.#open(raw);
    if (made === 0) {
      using opened = new FileDescriptor(openPath(".", O_RDONLY | O_DIRECTORY, 0, fd));
      const { uid, gid } = this.#ownerOf({ uid: 0, gid: 0 });
      checked("fchown", textOf(raw), opened.fd, uid, gid);
      checked("fchmod", textOf(raw), opened.fd, 0o755);
    }
    return fd;
  }

  #openBase(): number {
    return openPath(".", O_PATH | O_DIRECTORY, 0, this.#base.fd);
  }

  /** Below the directory that was there at the start; a link that leaves it is followed inside the root. */
  #open(raw: string): number {
    const flags = O_PATH | O_DIRECTORY;
    try {
      return openBeneath({ rootFd: this.#base.fd, path: bytesOf(raw), flags });
    } catch (error) {
      if (!(error instanceof SyscallError) || error.code !== "EXDEV") throw error;
      const path = bytesOf(`${rawOf(this.#request.path)}/${raw}`);
      return openInRoot({ rootFd: this.#request.rootFd, path, flags });
    }
  }

  #make(parentFd: number, name: Uint8Array, header: TarHeader): void {
    for (let attempts = 1; ; attempts += 1) {
      // Most files are new: their creation itself tells when one is not.
      const isLikelyNew = header.type === "file" && attempts === 1;
      const isKept = isLikelyNew ? false : this.#clear(parentFd, name, header);
      try {
        if (header.type === "directory") this.#makeDirectory(parentFd, name, header, isKept);
        else if (header.type === "file") this.#makeFile(parentFd, name, header);
        else if (header.type === "hardlink") this.#makeLink(parentFd, name, header);
        else this.#makeSpecial(parentFd, name, header);
        return;
      } catch (error) {
        const isTaken = error instanceof SyscallError && error.code === "EEXIST";
        if (!isTaken || attempts === CREATE_ATTEMPTS) throw error;
      }
    }
  }

  /** Makes room for an entry. @returns true when a directory stands there that the entry joins */
  #clear(parentFd: number, name: Uint8Array, { type, rawName }: TarHeader): boolean {
    const there = statPath(name, parentFd);
    if (there === null) return false;
    const isDirectory = isType(there.mode, S_IFDIR);
    if (isDirectory && type === "directory") return true;
    const at = shownPath(this.#request.path, textOf(rawName));
    if (this.#request.keepKinds && isDirectory !== (type === "directory")) {
      const [shown, into] = [at, shownPath(this.#request.path)].map((path) => JSON.stringify(path));
      // Docker's words, and its choice of what to name.
      throw invalid(
        isDirectory
          ? `cannot overwrite directory ${shown} with non-directory ${into}`
          : `cannot overwrite non-directory ${shown} with directory ${into}`,
      );
    }
    refuseMount({ there, mountId: statFd(parentFd).mountId, shown: at });
    this.#forgetParent();
    removeEntry(parentFd, name, at.replace(/\/[^/]*$/, ""));
    return false;
  }

  /** What is removed may be a link on the way to the directory that is kept open. */
  #forgetParent(): void {
    const parent = this.#parent;
    if (parent) this.#parent = { raw: "\0", fd: parent.fd };
  }

  #makeDirectory(parentFd: number, name: Uint8Array, header: TarHeader, isKept: boolean): void {
    if (!isKept) checked("mkdirat", textOf(header.rawName), parentFd, cstring(name), 0o700);
    const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    using made = new FileDescriptor(openPath(name, flags, 0, parentFd));
    this.#describe(made.fd, header);
  }

  #makeFile(parentFd: number, name: Uint8Array, header: TarHeader): void {
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    const fd = new FileDescriptor(openPath(name, flags, 0o600, parentFd));
    this.#file = { fd, header, taken: 0, segment: 0, inSegment: 0, end: 0 };
  }

  #endFile(): void {
    const file = this.#file;
    this.#file = null;
    if (file === null) return;
    using fd = file.fd;
    if (file.end !== file.header.sizeBytes) ftruncateSync(fd.fd, file.header.sizeBytes);
    this.#describe(fd.fd, file.header);
    setTime(fd.fd, file.header);
  }

  #makeLink(parentFd: number, name: Uint8Array, { rawName, rawLink }: TarHeader): void {
    const target = partsOf(rawLink);
    const last = target.pop();
    if (last === undefined) {
      throw invalid(`invalid hardlink "${textOf(rawName)}" -> "${textOf(rawLink)}"`);
    }
    using from = new FileDescriptor(
      target.length === 0 ? this.#openBase() : this.#open(target.join("/")),
    );
    const shown = `${textOf(rawLink)} ${textOf(rawName)}`;
    checked("linkat", shown, from.fd, cstring(bytesOf(last)), parentFd, cstring(name), 0);
  }

  #makeSpecial(parentFd: number, name: Uint8Array, header: TarHeader): void {
    const shown = textOf(header.rawName);
    const path = cstring(name);
    const { type, mode, devMajor, devMinor } = header;
    if (type === "symlink") {
      checked("symlinkat", shown, cstring(bytesOf(header.rawLink)), parentFd, path);
    } else {
      const kind = type === "character" ? S_IFCHR : type === "block" ? S_IFBLK : S_IFIFO;
      const device = type === "fifo" ? 0 : deviceNumber(devMajor, devMinor);
      checked("mknodat", shown, parentFd, path, kind | mode, device);
    }
    using made = new FileDescriptor(openPath(name, O_PATH | O_NOFOLLOW, 0, parentFd));
    const { uid, gid } = this.#ownerOf(header);
    checked("fchownat", shown, made.fd, cstring(""), uid, gid, AT_EMPTY_PATH);
    if (!isType(statFd(made.fd).mode, S_IFLNK)) {
      const through = cstring(`/proc/self/fd/${made.fd}`);
      checked("fchmodat", shown, AT_FDCWD, through, mode);
    }
    setTime(made.fd, header);
  }

  #ownerOf(named: Pick<TarHeader, "uid" | "gid">): { uid: number; gid: number } {
    const { owner, owners } = this.#request;
    const { uid, gid } = owner ?? named;
    return owners === undefined ? { uid, gid } : { uid: owners.uid(uid), gid: owners.gid(gid) };
  }

  /** Owner first: changing it takes away set-user-id bits and file capabilities. */
  #describe(fd: number, header: TarHeader): void {
    const shown = textOf(header.rawName);
    const { uid, gid } = this.#ownerOf(header);
    checked("fchown", shown, fd, uid, gid);
    checked("fchmod", shown, fd, header.mode);
    for (const [rawName, value] of header.xattrs ?? []) {
      const name = textOf(rawName);
      if (isOwnXattr(name)) setXattrIfAble(fd, name, value);
    }
  }

  #rememberTime(raw: string, header: TarHeader): void {
    if (this.#times.size >= TIMES_LIMIT) this.#setTimes();
    this.#times.set(raw, header);
  }

  #setTimes(): void {
    const times = this.#times;
    this.#times = new Map();
    // Children first, though no time depends on another.
    for (const [raw, header] of times) {
      try {
        using directory = new FileDescriptor(this.#open(raw));
        setTime(directory.fd, header);
      } catch (error) {
        // It was removed meanwhile.
        if (!(error instanceof SyscallError)) throw error;
      }
    }
  }
}

/** A name's parts: cleaned as Go's filepath.Clean of "/" + name, so that nothing leaves the top. */
function partsOf(raw: string): string[] {
  const parts: string[] = [];
  for (const part of raw.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts;
}

/** Where the next stored byte belongs, and how many more belong behind it. */
function placeOf(file: OpenFile): { offset: number; room: number } {
  const { sparse, storedBytes } = file.header;
  if (sparse === null) return { offset: file.taken, room: storedBytes - file.taken };
  for (;;) {
    const segment = sparse[file.segment];
    if (segment === undefined) return { offset: 0, room: 0 };
    const room = segment.sizeBytes - file.inSegment;
    if (room > 0) return { offset: segment.offset + file.inSegment, room };
    file.segment += 1;
    file.inSegment = 0;
  }
}

/** The file is new: zeros that are not written are a hole, which reads as zeros. @returns whether it wrote */
function writeSparsely(fd: number, bytes: Buffer, position: number): boolean {
  const isHole =
    bytes.length === 0 || (bytes[0] === 0 && bytes.length <= ZERO_PIECE.length && isZero(bytes));
  if (isHole) return false;
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
  return true;
}

const isZero = (bytes: Buffer): boolean => ZERO_PIECE.subarray(0, bytes.length).equals(bytes);

/** Linux's 64-bit device number as mknodat takes it (glibc's makedev, of which the kernel reads 32 bits). */
const deviceNumber = (major: number, minor: number): number => {
  if (major < 0 || minor < 0 || major > 0xfff || minor > 0xfffff) {
    throw invalid(`invalid device number ${major}:${minor}`);
  }
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
};

function setTime(fd: number, { mtimeSec, mtimeNsec }: TarHeader): void {
  const times = allocate(32);
  const view = new DataView(times.buffer);
  for (const offset of [0, 16]) {
    view.setBigInt64(offset, BigInt(mtimeSec), true);
    view.setBigInt64(offset + 8, BigInt(mtimeNsec), true);
  }
  checked("utimensat", `fd ${fd}`, fd, cstring(""), times, AT_EMPTY_PATH);
}

/** What this file system or this engine may not store is left out, as Docker does. */
function setXattrIfAble(fd: number, name: string, value: Uint8Array): void {
  try {
    setXattr(fd, name, value);
  } catch (error) {
    const isUnable =
      error instanceof SyscallError && ["EOPNOTSUPP", "EPERM", "EINVAL"].includes(error.code);
    if (!isUnable) throw error;
  }
}
