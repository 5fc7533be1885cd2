/**
 * The one way into the kernel: `checked` for calls that must succeed, `attempt` for those whose failure
 * is an answer. Only these two read errno, at once, with nothing in between.
 */
import { dlopen, FFIType, ptr, read } from "bun:ffi";

import { errnoName, errnoSentence } from "./errno.ts";
import { syscallNumbers, type SyscallName } from "./numbers.ts";

const slot = FFIType.i64_fast;
const { symbols: libc } = dlopen("libc.so.6", {
  syscall: { args: [slot, slot, slot, slot, slot, slot, slot], returns: slot },
  __errno_location: { args: [], returns: FFIType.ptr },
});

/** A number, or memory from `allocate` or `cstring` (passed as its address); null is the address 0. */
export type SyscallArgument = number | bigint | Uint8Array | null;

/** A system call that failed: which, on what, and why. */
export class SyscallError extends Error {
  /** The error's name: "ENOENT". */
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  /** What the call was about: a path, a link's name, a pid. */
  readonly subject: string;

  constructor(syscall: string, subject: string, errno: number) {
    super(`${syscall} ${subject}: ${errnoSentence(errno)}`);
    this.name = "SyscallError";
    this.code = errnoName(errno);
    this.errno = errno;
    this.syscall = syscall;
    this.subject = subject;
  }
}

const word = (argument: SyscallArgument | undefined): number | bigint => {
  if (argument === undefined || argument === null) return 0;
  return typeof argument === "object" ? ptr(argument) : argument;
};

/**
 * One system call. Memory arguments must stay reachable by the caller until it returns.
 * @returns the kernel's answer, or the negative error number
 */
export function attempt(name: SyscallName, ...args: SyscallArgument[]): number {
  const [a, b, c, d, e, f] = args;
  const result = Number(
    libc.syscall(syscallNumbers[name], word(a), word(b), word(c), word(d), word(e), word(f)),
  );
  if (result !== -1) return result;
  const location = libc.__errno_location();
  return location === null ? -1 : -read.i32(location, 0);
}

/**
 * One system call that must succeed; an interrupted one (EINTR) is tried again.
 * @param subject what the call is about, for the error's sentence
 * @throws SyscallError
 */
export function checked(name: SyscallName, subject: string, ...args: SyscallArgument[]): number {
  for (;;) {
    const result = attempt(name, ...args);
    if (result >= 0 || result < -4095) return result;
    if (result !== -4) throw new SyscallError(name, subject, -result);
  }
}
