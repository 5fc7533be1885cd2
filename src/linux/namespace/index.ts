/**
 * Namespaces by descriptor. `setns` lives here and nowhere else, in two functions: a thread that stayed in a
 * foreign network namespace would serve, and leak, the wrong network for ever after.
 */
import { fstatSync, statSync } from "node:fs";

import { attempt, checked, cstring } from "#linux/ffi";

const AT_FDCWD = -100;
const O_RDONLY = 0;
const O_CLOEXEC = 0o2000000;
const CLONE_NEWNET = 0x4000_0000;

export type NamespaceType = "cgroup" | "ipc" | "mnt" | "net" | "pid" | "time" | "user" | "uts";

/**
 * Runs `fn` with this thread inside a network namespace, and goes back before anything else can run.
 * `fn` must be synchronous and do nothing but open sockets, which stay in that namespace.
 * If the way back fails the process aborts: no code may run in the wrong namespace.
 * @throws SyscallError when the namespace cannot be entered; whatever `fn` throws
 */
export function inNetworkNamespace<T>(
  descriptor: number,
  fn: () => T extends PromiseLike<unknown> ? never : T,
): T {
  const home = openPath("/proc/thread-self/ns/net");
  try {
    checked("setns", "network namespace", descriptor, CLONE_NEWNET);
    try {
      return fn();
    } finally {
      if (attempt("setns", home, CLONE_NEWNET) !== 0) process.abort();
    }
  } finally {
    checked("close", "network namespace", home);
  }
}

/**
 * A network namespace without a process in it: it lives as long as the descriptor. The thread is home again when this
 * returns; if the way back fails the process aborts.
 * @throws SyscallError
 */
export function newNetworkNamespace(): number {
  const home = openPath("/proc/thread-self/ns/net");
  try {
    checked("unshare", "network namespace", CLONE_NEWNET);
    try {
      return openPath("/proc/thread-self/ns/net");
    } finally {
      if (attempt("setns", home, CLONE_NEWNET) !== 0) process.abort();
    }
  } finally {
    checked("close", "network namespace", home);
  }
}

/** A descriptor of a process' namespace, close-on-exec, the caller's to close. @throws SyscallError */
export const openNamespace = (pid: number | "self", type: NamespaceType): number =>
  openPath(pid === "self" ? `/proc/thread-self/ns/${type}` : `/proc/${pid}/ns/${type}`);

/** What tells two namespaces apart while either lives: device and inode of the namespace's file. */
export function namespaceId(namespace: number | string): string {
  const stat =
    typeof namespace === "number"
      ? fstatSync(namespace, { bigint: true })
      : statSync(namespace, { bigint: true });
  return `${stat.dev}:${stat.ino}`;
}

/** `namespaceId` of a process' namespace. */
export const processNamespaceId = (pid: number | "self", type: NamespaceType): string =>
  namespaceId(pid === "self" ? `/proc/thread-self/ns/${type}` : `/proc/${pid}/ns/${type}`);

const openPath = (path: string): number =>
  checked("openat", path, AT_FDCWD, cstring(path), O_RDONLY | O_CLOEXEC, 0);
