/**
 * Waiting for one's own children. Always by pid: Bun reaps the children it spawned itself, and a wait for "any"
 * would take those exits away from it.
 */
import { allocate, checked } from "#linux/ffi";

const P_PID = 1;
const P_PIDFD = 3;
const WNOHANG = 1;
const WEXITED = 4;
const WNOWAIT = 0x0100_0000;
const CLD_EXITED = 1;

const SIGINFO_SIZE = 128;
const SI_CODE = 8;
const SI_PID = 16;
const SI_STATUS = 24;

// One block for every call: the answer is read before anything else can run.
const siginfo = allocate(SIGINFO_SIZE);
const view = new DataView(siginfo.buffer);

/** How a child ended: `code` is siginfo's si_code, `status` the exit code or the signal's number. */
export interface ChildEnd {
  readonly pid: number;
  readonly code: number;
  readonly status: number;
}

export interface WaitOptions {
  /** Answer null at once when the child still runs. */
  readonly noHang?: boolean;
  /** Leave the zombie: only look. */
  readonly noReap?: boolean;
}

/**
 * Waits for one child and reaps it.
 * @returns null only with `noHang`, when it has not ended
 * @throws SyscallError "ECHILD" when it is not (or no longer) a child of this process
 */
export function waitPid(pid: number, options: WaitOptions = {}): ChildEnd | null {
  const flags = WEXITED | (options.noHang ? WNOHANG : 0) | (options.noReap ? WNOWAIT : 0);
  view.setInt32(SI_PID, 0, true);
  checked("waitid", `pid ${pid}`, P_PID, pid, siginfo, flags, null);
  return lastEnd();
}

/**
 * The same through a pidfd, which cannot mean another process by now.
 * @throws SyscallError "ECHILD" when it is not (or no longer) a child of this process
 */
export function waitPidfd(pidfd: number, options: WaitOptions = {}): ChildEnd | null {
  const flags = WEXITED | (options.noHang ? WNOHANG : 0) | (options.noReap ? WNOWAIT : 0);
  view.setInt32(SI_PID, 0, true);
  checked("waitid", `pidfd ${pidfd}`, P_PIDFD, pidfd, siginfo, flags, null);
  return lastEnd();
}

function lastEnd(): ChildEnd | null {
  const pid = view.getInt32(SI_PID, true);
  if (pid === 0) return null;
  return { pid, code: view.getInt32(SI_CODE, true), status: view.getInt32(SI_STATUS, true) };
}

/** As Docker and shells count: 0-255, or 128 + n for signal n. */
export const exitCodeOf = (end: ChildEnd): number =>
  end.code === CLD_EXITED ? end.status & 0xff : 128 + (end.status & 0x7f);

/** The same for a wait status, as PIDFD_GET_INFO and /proc/PID/stat hold it. */
export const exitCodeOfStatus = (status: number): number =>
  (status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
