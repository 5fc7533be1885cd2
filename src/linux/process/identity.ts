/**
 * What names a process beyond its number: the time it started, in clock ticks since boot, and the boot itself.
 * A pid is reused; the three together are not. Source: proc_pid_stat(5).
 */
import { readFileSync } from "node:fs";

const AFTER_COMMAND_STATE = 0;
const AFTER_COMMAND_PARENT = 1;
const AFTER_COMMAND_SESSION = 3;
const AFTER_COMMAND_START_TIME = 19;
const AFTER_COMMAND_EXIT_STATUS = 49;

export interface ProcessStat {
  /** One letter: R, S, D, Z, … */
  readonly state: string;
  readonly parentPid: number;
  /** The number of its session's first process. */
  readonly sessionId: number;
  /** Clock ticks since boot, in decimal. */
  readonly startTime: string;
  /** A wait status; only told to those who may trace the process, and meaningful only for a zombie. */
  readonly exitStatus: number;
}

/** The kernel's line about a process; null when there is none. */
export function readProcessStat(pid: number): ProcessStat | null {
  const line = readIfThere(`/proc/${pid}/stat`);
  if (line === null) return null;
  // The command's name stands in parentheses and may hold spaces and parentheses itself.
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  return {
    state: fields[AFTER_COMMAND_STATE] ?? "",
    parentPid: Number(fields[AFTER_COMMAND_PARENT]),
    sessionId: Number(fields[AFTER_COMMAND_SESSION]),
    startTime: fields[AFTER_COMMAND_START_TIME] ?? "0",
    exitStatus: Number(fields[AFTER_COMMAND_EXIT_STATUS] ?? 0),
  };
}

/** When a process started, in clock ticks since boot; null when there is none. */
export const readStartTime = (pid: number): string | null =>
  readProcessStat(pid)?.startTime ?? null;

let bootId: string | undefined;

/** This boot's random id. */
export const readBootId = (): string =>
  (bootId ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim());

/** The children of a process' main thread, or of another of its threads; adopted orphans included. */
export const listChildren = (pid: number, thread = pid): number[] =>
  (readIfThere(`/proc/${pid}/task/${thread}/children`) ?? "")
    .split(" ")
    .filter((text) => text.trim() !== "")
    .map(Number);

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code;
    // ESRCH: the process ended between open and read.
    if (code === "ENOENT" || code === "ESRCH") return null;
    throw thrown;
  }
}
