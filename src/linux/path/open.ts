/**
 * Opening by path: plainly for our own files, and through openat2 for paths that a stranger chose.
 * Inside a container's root never join strings: symbolic links there are hostile until the kernel
 * itself resolves them below the root's descriptor.
 */
import { allocate, attempt, checked, cstring, errnoNumbers, SyscallError } from "#linux/ffi";

import {
  AT_FDCWD,
  O_CLOEXEC,
  O_CREAT,
  RESOLVE_BENEATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
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

  [Symbol.dispose](): void {
    if (this.#fd >= 0) closeFd(this.release());
  }
}

const shown = (path: Path): string =>
  typeof path === "string" ? path : new TextDecoder().decode(path);

/** Opens a path of our own (O_CLOEXEC is added); relative to `dirFd` if given. @throws SyscallError */
export const openPath = (path: Path, flags: number, mode = 0, dirFd = AT_FDCWD): number =>
  checked("openat", shown(path), dirFd, cstring(path), flags | O_CLOEXEC, mode);

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
    if (!again || tries === RESOLVE_ATTEMPTS) throw new SyscallError("openat2", shown(path), -fd);
  }
}

/**
 * Opens a path as a process whose root is `rootFd` would: absolute links and `..` stay inside.
 * Links of /proc ("magic links") are refused with ELOOP. @throws SyscallError
 */
export const openInRoot = (request: OpenBelowRequest): number =>
  openat2(request, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);

/** As `openInRoot`, and ELOOP at the first symbolic link, wherever in the path it is. @throws SyscallError */
export const openWithoutLinks = (request: OpenBelowRequest): number =>
  openat2(request, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);

/** Opens a path that must stay below `rootFd`; one that would leave it is refused with EXDEV. @throws SyscallError */
export const openBeneath = (request: OpenBelowRequest): number =>
  openat2(request, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
