/** How a process ended, from whoever still knows. */
import { timeNow } from "#engine/logs";
import { errnoNumbers, SyscallError } from "#linux/ffi";
import {
  exitCodeOf,
  exitCodeOfStatus,
  readPidfdExitStatus,
  readProcessStat,
  waitPidfd,
} from "#linux/process";

import type { ProcessIdentity } from "./process.ts";
import type { ExitReport } from "./protocol.ts";

export interface ProcessEnd {
  /** As Docker counts: 0-255, 128 + n for signal n. */
  readonly exitCode: number;
  readonly error: string | null;
}

export const UNKNOWN_END: ProcessEnd = { exitCode: 137, error: "exit code unknown" };

/** null while it lives. Reaps it if it is our child. */
export function readProcessEnd(
  process: { readonly pid: number; readonly startTime: string },
  pidfd: number,
): ProcessEnd | null {
  try {
    const end = waitPidfd(pidfd, { noHang: true });
    return end === null ? null : { exitCode: exitCodeOf(end), error: null };
  } catch (thrown) {
    if (!(thrown instanceof SyscallError && thrown.errno === errnoNumbers.ECHILD)) throw thrown;
  }
  // Born to an earlier supervisor: someone else reaps it, or has.
  return readForeignEnd(process, readPidfdExitStatus(pidfd));
}

/** The end of a process that is not our child, `status` as its pidfd tells it. */
export function readForeignEnd(
  process: { readonly pid: number; readonly startTime: string },
  status: number | null,
): ProcessEnd | null {
  if (status !== null) return { exitCode: exitCodeOfStatus(status), error: null };
  const stat = readProcessStat(process.pid);
  if (stat === null || stat.startTime !== process.startTime) return UNKNOWN_END;
  if (stat.state !== "Z" && stat.state !== "X") return null;
  return { exitCode: exitCodeOfStatus(stat.exitStatus), error: null };
}

/** What the daemon is told of it. */
export const exitOf = (
  identity: ProcessIdentity,
  end: ProcessEnd,
  oomKilled: boolean,
): ExitReport => ({
  key: identity.key,
  pid: identity.pid,
  exitCode: end.exitCode,
  oomKilled,
  finishedAt: timeNow(),
  error: end.error,
});
