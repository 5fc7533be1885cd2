/** Directories by descriptor: making, listing, and reading files below a root that is not ours. */
import { readSync } from "node:fs";

import { invalid, joinBytes } from "#base";
import { allocate, attempt, checked, cstring, errnoNumbers, SyscallError } from "#linux/ffi";

import { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, S_IFREG } from "./constants.ts";
import { closeFd, FileDescriptor, openInRoot, openOnMount, openPath } from "./open.ts";
import { isType, readLinkAt, statFd } from "./stat.ts";

export interface DirectoryEntry {
  readonly name: Uint8Array<ArrayBuffer>;
  /** DT_*: the mode's type bits shifted right by 12; 0 when the file system does not say. */
  readonly type: number;
}

const DIRENT_BUFFER_BYTES = 64 * 1024;
/** Used by one listing at a time: nothing waits while it is read. */
const dirents = allocate(DIRENT_BUFFER_BYTES);
const direntBytes = Buffer.from(dirents.buffer);
const direntView = new DataView(dirents.buffer);
/** Where in a record its name begins; its length and its type stand before it (struct linux_dirent64). */
const NAME_AT = 19;

/** Calls `take` with the place of each name in `dirents`, without `.` and `..`. @throws SyscallError */
function eachName(fd: number, take: (start: number, end: number, type: number) => void): void {
  for (;;) {
    const filled = checked("getdents64", `fd ${fd}`, fd, dirents, DIRENT_BUFFER_BYTES);
    if (filled === 0) return;
    for (let offset = 0; offset < filled; offset += direntView.getUint16(offset + 16, true)) {
      const start = offset + NAME_AT;
      let end = start;
      while (dirents[end] !== 0) end += 1;
      const isDot = dirents[start] === 46;
      const length = end - start;
      if (isDot && (length === 1 || (length === 2 && dirents[start + 1] === 46))) continue;
      take(start, end, dirents[offset + 18] ?? 0);
    }
  }
}

/** The names in an open directory, without `.` and `..`, in the file system's order. @throws SyscallError */
export function readDirectory(fd: number): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  eachName(fd, (start, end, type) => entries.push({ name: dirents.slice(start, end), type }));
  return entries;
}

/** The same names alone, as byte strings (a character a byte). @throws SyscallError */
export function readRawNames(fd: number): string[] {
  const names: string[] = [];
  eachName(fd, (start, end) => names.push(direntBytes.toString("latin1", start, end)));
  return names;
}

/** Enough for a few names: whether there is one is all that is asked. */
const GLANCE_BYTES = 1024;

/** True for a directory without entries; reads no more of it than it must. @param fd at its start @throws SyscallError */
export function isEmptyDirectory(fd: number): boolean {
  const buffer = allocate(GLANCE_BYTES);
  for (;;) {
    const filled = checked("getdents64", `fd ${fd}`, fd, buffer, buffer.length);
    if (filled === 0) return true;
    const view = new DataView(buffer.buffer);
    for (let offset = 0; offset < filled; offset += view.getUint16(offset + 16, true)) {
      const name = buffer.subarray(offset + 19, buffer.indexOf(0, offset + 19));
      if (name.some((byte) => byte !== 46) || name.length > 2) return false;
    }
  }
}

export interface MakeDirectoriesRequest {
  readonly rootFd: number;
  readonly path: string;
  /** Of the directories that are made; the process's umask is not applied. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** As the kernel: a path through more symbolic links is a loop. */
const LINK_LIMIT = 40;

const parts = (path: string): string[] => path.split("/").filter((part) => part && part !== ".");

/**
 * `mkdir -p` of a path inside a root, as a process of that root would see it: links are followed inside,
 * the target of a dangling one is made. @returns a descriptor (O_PATH) of the last directory
 */
export function makeDirectoriesInRoot(request: MakeDirectoriesRequest): number {
  const { rootFd, path } = request;
  let pending = parts(path);
  let done: string[] = [];
  let links = 0;
  const open = (below: string[]) =>
    openInRoot({ rootFd, path: `/${below.join("/")}`, flags: O_PATH | O_DIRECTORY });
  for (;;) {
    const [name, ...rest] = pending;
    if (name === undefined) return open(done);
    const next = [...done, name];
    try {
      closeFd(open(next));
    } catch (error) {
      if (!(error instanceof SyscallError) || error.code !== "ENOENT") throw error;
      using parent = new FileDescriptor(open(done));
      const target = makeOne(parent.fd, name, request);
      if (target !== null) {
        links += 1;
        if (links > LINK_LIMIT) throw new SyscallError("mkdirat", path, errnoNumbers.ELOOP);
        if (target.startsWith("/")) done = [];
        pending = [...parts(target), ...rest];
        continue;
      }
    }
    done = next;
    pending = rest;
  }
}

function openToRead({ rootFd, path, mayStall }: ReadFileRequest): number {
  // O_NONBLOCK: opening a FIFO that an image put there must not wait for a writer.
  const request = { rootFd, path, flags: O_RDONLY | O_NONBLOCK };
  if (mayStall === undefined) return openInRoot(request);
  try {
    return openOnMount(request);
  } catch (error) {
    if (!(error instanceof SyscallError) || error.code !== "EXDEV" || mayStall()) throw error;
    return openInRoot(request);
  }
}

/** Makes one directory. @returns the target when the name is a dangling link instead */
function makeOne(parentFd: number, name: string, request: MakeDirectoriesRequest): string | null {
  const { mode = 0o755, uid = 0, gid = 0 } = request;
  const made = attempt("mkdirat", parentFd, cstring(name), 0o700);
  if (made === 0) {
    using fresh = new FileDescriptor(
      openPath(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, parentFd),
    );
    checked("fchown", name, fresh.fd, uid, gid);
    checked("fchmod", name, fresh.fd, mode);
    return null;
  }
  if (made !== -errnoNumbers.EEXIST) throw new SyscallError("mkdirat", request.path, -made);
  try {
    return new TextDecoder().decode(readLinkAt(parentFd, name));
  } catch (error) {
    // Somebody else made the directory between our look and our attempt: that is what was wanted.
    if (error instanceof SyscallError && error.code === "EINVAL") return null;
    throw error;
  }
}

export interface ReadFileRequest {
  readonly rootFd: number;
  readonly path: string;
  readonly limitBytes: number;
  /** Asked where another mount is on the way: true leaves it alone, and the read fails with EXDEV. */
  readonly mayStall?: () => boolean;
}

/**
 * The bytes of a regular file inside a root, resolved as a process of that root would.
 * @throws SyscallError when it cannot be opened; EngineError "invalid" when it is no regular file or too large
 */
export function readFileInRoot(request: ReadFileRequest): Uint8Array<ArrayBuffer> {
  const { path, limitBytes } = request;
  using file = new FileDescriptor(openToRead(request));
  if (!isType(statFd(file.fd).mode, S_IFREG)) throw invalid(`${path} is not a regular file`);
  const chunks: Uint8Array[] = [];
  for (let total = 0; ;) {
    const chunk = new Uint8Array(64 * 1024);
    const filled = readSync(file.fd, chunk, 0, chunk.length, null);
    if (filled === 0) return joinBytes(chunks);
    total += filled;
    if (total > limitBytes) throw invalid(`${path} is larger than ${limitBytes} bytes`);
    chunks.push(chunk.subarray(0, filled));
  }
}
