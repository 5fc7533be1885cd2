/** Reaping one's own child, when somebody who looks after orphans may have been faster. */
import { SyscallError } from "#linux/ffi";
import { waitPid } from "#linux/process";

/** Waits until the child is gone. @throws SyscallError other than "ECHILD" */
export function reap(pid: number): void {
  try {
    waitPid(pid);
  } catch (thrown) {
    if (!(thrown instanceof SyscallError) || thrown.code !== "ECHILD") throw thrown;
  }
}
