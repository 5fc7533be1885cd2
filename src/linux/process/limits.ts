/** Resource limits of any process: prlimit(2). Numbers from asm-generic/resource.h. */
import { allocate, checked } from "#linux/ffi";

const resourceNumbers = {
  RLIMIT_CPU: 0,
  RLIMIT_FSIZE: 1,
  RLIMIT_DATA: 2,
  RLIMIT_STACK: 3,
  RLIMIT_CORE: 4,
  RLIMIT_RSS: 5,
  RLIMIT_NPROC: 6,
  RLIMIT_NOFILE: 7,
  RLIMIT_MEMLOCK: 8,
  RLIMIT_AS: 9,
  RLIMIT_LOCKS: 10,
  RLIMIT_SIGPENDING: 11,
  RLIMIT_MSGQUEUE: 12,
  RLIMIT_NICE: 13,
  RLIMIT_RTPRIO: 14,
  RLIMIT_RTTIME: 15,
} as const;

/** As the OCI runtime spec writes it: "RLIMIT_NOFILE". */
export type ResourceName = keyof typeof resourceNumbers;

export const RLIM_INFINITY = 0xffff_ffff_ffff_ffffn;

export interface ResourceLimit {
  readonly soft: bigint;
  readonly hard: bigint;
}

/** "nofile" or "RLIMIT_NOFILE" as the kernel's name; null when there is no such limit. */
export function parseResourceName(text: string): ResourceName | null {
  const name = `RLIMIT_${text.toUpperCase().replace(/^RLIMIT_/, "")}`;
  return Object.hasOwn(resourceNumbers, name) ? (name as ResourceName) : null;
}

/** The header's number of a limit, for plans of system calls. */
export const resourceNumber = (name: ResourceName): number => resourceNumbers[name];

/** A process' limit; pid 0 is this process. @throws SyscallError */
export function readResourceLimit(pid: number, name: ResourceName): ResourceLimit {
  const limit = allocate(16);
  checked("prlimit64", name, pid, resourceNumbers[name], null, limit);
  const view = new DataView(limit.buffer);
  return { soft: view.getBigUint64(0, true), hard: view.getBigUint64(8, true) };
}

/** Sets a process' limit. @throws SyscallError "EPERM" above the hard limit without CAP_SYS_RESOURCE */
export function setResourceLimit(pid: number, name: ResourceName, wanted: ResourceLimit): void {
  const limit = allocate(16);
  const view = new DataView(limit.buffer);
  view.setBigUint64(0, wanted.soft, true);
  view.setBigUint64(8, wanted.hard, true);
  checked("prlimit64", name, pid, resourceNumbers[name], limit, null);
}
