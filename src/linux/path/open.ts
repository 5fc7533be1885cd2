/**
 * Opening by path: plainly for our own files, and through openat2 for paths that a stranger chose.
 * Inside a container's root never join strings: symbolic links there are hostile until the kernel
 * itself resolves them below the root's descriptor.
 */
import { close } from "node:fs";

import { allocate, attempt, cstring, errnoNumbers, SyscallError } from "#linux/ffi";

import {
  AT_FDCWD,
  O_CLOEXEC,
  O_CREAT,
  RESOLVE_BENEATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
} from "./constants.ts";

/** A path as text, or as the raw bytes Linux has for names that are not UTF-8. */
export type Path = string | Uint8Array;

/** A descriptor with a lifetime: `using file = new FileDescriptor(openPath(…))` closes it at the block's end. */
export class FileDescriptor implements Disposable {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The descriptor's number. @throws Error after it was closed or released */
  get fd(): number {
    if (this.#fd < 0) throw new Error("broken invariant: the descriptor is closed");
    return this.#fd;
  }

  /** Gives the number away: disposing will not close it any more. */
  release(): number {
    const fd = this.fd;
    this.#fd = -1;
    return fd;
  }

  /**
   * Closes it beside the event loop, for what the kernel does with the last descriptor: of an overlay with an upper
   * directory it syncs the whole file system that lies on, which takes as long as its disk has to write.
   */
  closeApart(): Promise<void> {
    const fd = this.release();
    return new Promise((resolve) => {
      close(fd, () => resolve());
    });
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) closeFd(this.release());
  }
}

/** NAME_MAX: no file system of Linux has longer names. */
const NAME_LIMIT_BYTES = 255;

/** One name for several calls, in memory that the next one is written over: a walk asks for many. */
export class NameMemory {
  readonly memory = allocate(NAME_LIMIT_BYTES + 1);
  readonly #bytes = Buffer.from(this.memory.buffer);

  /** @param raw a byte string without NUL, as the kernel listed it */
  set(raw: string): this {
    if (raw.length > NAME_LIMIT_BYTES)
      throw new SyscallError("open", raw, errnoNumbers.ENAMETOOLONG);
    this.memory[this.#bytes.write(raw, 0, "latin1")] = 0;
    return this;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.memory.slice(0, this.memory.indexOf(0));
  }
}

/** A path's memory for a call. */
export const memoryOf = (path: Path | NameMemory): Uint8Array =>
  path instanceof NameMemory ? path.memory : cstring(path);

/** For people. */
export const shownPath = (path: Path | NameMemory): string => {
  if (typeof path === "string") return path;
  return new TextDecoder().decode(path instanceof NameMemory ? path.bytes() : path);
};

/** Opens a path of our own (O_CLOEXEC is added); relative to `dirFd` if given. @throws SyscallError */
export function openPath(
  path: Path | NameMemory,
  flags: number,
  mode = 0,
  dirFd = AT_FDCWD,
): number {
  const name = memoryOf(path);
  for (;;) {
    const fd = attempt("openat", dirFd, name, flags | O_CLOEXEC, mode);
    if (fd >= 0) return fd;
    if (fd !== -errnoNumbers.EINTR) throw new SyscallError("openat", shownPath(path), -fd);
  }
}

/** Closes a descriptor; one that is closed already is no error. */
export function closeFd(fd: number): void {
  attempt("close", fd);
}

export interface OpenBelowRequest {
  /** A descriptor of the directory that the path cannot leave; O_PATH is enough. */
  readonly rootFd: number;
  readonly path: Path;
  readonly flags: number;
  readonly mode?: number;
}

/** How often a resolution that a concurrent rename disturbed (EAGAIN) is tried again before it fails. */
const RESOLVE_ATTEMPTS = 128;

function openat2({ rootFd, path, flags, mode = 0 }: OpenBelowRequest, resolve: number): number {
  const how = allocate(24);
  const view = new DataView(how.buffer);
  view.setBigUint64(0, BigInt(flags | O_CLOEXEC), true);
  // openat2 refuses a mode without O_CREAT or O_TMPFILE, where openat ignores it.
  view.setBigUint64(8, BigInt((flags & O_CREAT) !== 0 || flags >= 0o20000000 ? mode : 0), true);
  view.setBigUint64(16, BigInt(resolve), true);
  const name = cstring(path);
  for (let tries = 1; ; tries += 1) {
    const fd = attempt("openat2", rootFd, name, how, how.length);
    if (fd >= 0) return fd;
    const again = fd === -errnoNumbers.EAGAIN || fd === -errnoNumbers.EINTR;
    if (!again || tries === RESOLVE_ATTEMPTS)
      throw new SyscallError("openat2", shownPath(path), -fd);
  }
}

/**
 * Opens a path as a process whose root is `rootFd` would: absolute links and `..` stay inside.
 * Links of /proc ("magic links") are refused with ELOOP. @throws SyscallError
 */
export const openInRoot = (request: OpenBelowRequest): number =>
  openat2(request, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);

/** As `openInRoot`, and EXDEV where the path leads into another mount than the root's. @throws SyscallError */
export const openOnMount = (request: OpenBelowRequest): number =>
  openat2(request, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);

/** As `openInRoot`, and ELOOP at the first symbolic link, wherever in the path it is. @throws SyscallError */
export const openWithoutLinks = (request: OpenBelowRequest): number =>
  openat2(request, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);

/** Opens a path that must stay below `rootFd`; one that would leave it is refused with EXDEV. @throws SyscallError */
export const openBeneath = (request: OpenBelowRequest): number =>
  openat2(request, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
