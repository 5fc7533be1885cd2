/**
 * A pidfd names one process for ever, where a pid may be given to another. Every descriptor made here is
 * close-on-exec and the caller's to close. Source: pidfd_open(2), pidfd_getfd(2), linux/pidfd.h.
 */
import { allocate, attempt, checked, errnoNumbers, SyscallError } from "#linux/ffi";

const PIDFD_GET_INFO = 0xc040ff0b;
const PIDFD_INFO_SIZE = 64;
const PIDFD_INFO_EXIT = 1n << 3n;
const EXIT_CODE_OFFSET = 60;
const POLLIN = 0x1;
const POLL_ENTRY_SIZE = 8;

/** A descriptor of a living process or a zombie. @throws SyscallError "ESRCH" when there is none */
export const pidfdOpen = (pid: number): number => checked("pidfd_open", `pid ${pid}`, pid, 0);

/** A copy of another process' descriptor. @throws SyscallError "EBADF", "ESRCH", "EPERM" */
export const pidfdGetfd = (pidfd: number, descriptor: number): number =>
  checked("pidfd_getfd", `descriptor ${descriptor}`, pidfd, descriptor, 0);

/** Sends a signal. @returns false when the process is gone (reaped, or a zombie already) */
export function pidfdSendSignal(pidfd: number, signal: number): boolean {
  const result = attempt("pidfd_send_signal", pidfd, signal, null, 0);
  if (result >= 0) return true;
  if (result === -errnoNumbers.ESRCH) return false;
  throw new SyscallError("pidfd_send_signal", `signal ${signal}`, -result);
}

/**
 * How a process ended that someone else reaped or will reap, as a wait status (`exitCodeOfStatus`).
 * @returns null while it lives, and on kernels before 6.15, which do not keep it
 */
export function readPidfdExitStatus(pidfd: number): number | null {
  const info = allocate(PIDFD_INFO_SIZE);
  const view = new DataView(info.buffer);
  view.setBigUint64(0, PIDFD_INFO_EXIT, true);
  if (attempt("ioctl", pidfd, PIDFD_GET_INFO, info) < 0) return null;
  const known = (view.getBigUint64(0, true) & PIDFD_INFO_EXIT) !== 0n;
  return known ? view.getInt32(EXIT_CODE_OFFSET, true) : null;
}

/** Those of the pidfds whose process has ended: one system call, never waits. */
export function endedPidfds(pidfds: readonly number[]): number[] {
  if (pidfds.length === 0) return [];
  const entries = allocate(pidfds.length * POLL_ENTRY_SIZE);
  const view = new DataView(entries.buffer);
  pidfds.forEach((pidfd, index) => {
    view.setInt32(index * POLL_ENTRY_SIZE, pidfd, true);
    view.setInt16(index * POLL_ENTRY_SIZE + 4, POLLIN, true);
  });
  const now = allocate(16);
  if (attempt("ppoll", entries, pidfds.length, now, null, 0) <= 0) return [];
  return pidfds.filter((_, index) => view.getInt16(index * POLL_ENTRY_SIZE + 6, true) !== 0);
}
