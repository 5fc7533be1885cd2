/** Small calls on descriptors that the supervisor makes everywhere: FIFOs, flags, names, copies. */
import { fstatSync } from "node:fs";

import { attempt, checked, cstring, SyscallError } from "#linux/ffi";
import { pidfdGetfd } from "#linux/process";

import type { DescriptorName } from "./protocol.ts";

const AT_FDCWD = -100;
const S_IFIFO = 0o010000;
const F_DUPFD_CLOEXEC = 1030;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const F_GETFL = 3;
const F_SETFL = 4;
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
const O_NOFOLLOW = process.arch === "arm64" ? 0o100000 : 0o400000;

export const openDescriptor = (path: string, flags: number, mode = 0): number =>
  checked("openat", path, AT_FDCWD, cstring(path), flags | O_CLOEXEC | O_NOFOLLOW, mode);

/**
 * As `openDescriptor`, of a file of our own that another process gets: criu opens it again through /proc/self/fd with
 * the flags that it was opened with, and O_NOFOLLOW would refuse that.
 */
export const openForOther = (path: string, flags: number): number =>
  checked("openat", path, AT_FDCWD, cstring(path), flags | O_CLOEXEC, 0);

export const makeFifo = (path: string): void => {
  checked("mknodat", path, AT_FDCWD, cstring(path), S_IFIFO | 0o600, 0);
};

export const closeDescriptor = (descriptor: number): void => {
  attempt("close", descriptor);
};

/** A second number for the same open file. */
export const duplicate = (descriptor: number): number =>
  checked("fcntl", "F_DUPFD_CLOEXEC", descriptor, F_DUPFD_CLOEXEC, 3);

export function setNonBlocking(descriptor: number, on: boolean): void {
  const flags = checked("fcntl", "F_GETFL", descriptor, F_GETFL, 0);
  const wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (wanted !== flags) checked("fcntl", "F_SETFL", descriptor, F_SETFL, wanted);
}

export const setCloseOnExec = (descriptor: number, on: boolean): void => {
  checked("fcntl", "F_SETFD", descriptor, F_SETFD, on ? FD_CLOEXEC : 0);
};

const inodeOf = (descriptor: number): string => {
  const { dev, ino } = fstatSync(descriptor, { bigint: true });
  return `${dev}:${ino}`;
};

export const nameDescriptor = (descriptor: number): DescriptorName => ({
  descriptor,
  inode: inodeOf(descriptor),
});

/**
 * A copy of another process' descriptor; null when it is closed, when its number belongs to something else by now,
 * or when this process may not have it (Yama): a copy is a help, never a condition.
 */
export function takeDescriptor(pidfd: number, name: DescriptorName | null): number | null {
  if (name === null) return null;
  let copy: number;
  try {
    copy = pidfdGetfd(pidfd, name.descriptor);
  } catch (thrown) {
    if (thrown instanceof SyscallError) return null;
    throw thrown;
  }
  if (inodeOf(copy) === name.inode) return copy;
  closeDescriptor(copy);
  return null;
}
