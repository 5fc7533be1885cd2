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

/** The longest pause between two looks at a child that cannot die yet. */
const LONGEST_LOOK_MS = 1000;

/** Reaps a killed child whenever the kernel lets it die; resolves then. */
export async function reapInTime(pid: number): Promise<void> {
  let pauseMs = 1;
  while (!hasEnded(pid)) {
    await Bun.sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 2, LONGEST_LOOK_MS);
  }
}

function hasEnded(pid: number): boolean {
  try {
    return waitPid(pid, { noHang: true }) !== null;
  } catch (thrown) {
    if (!(thrown instanceof SyscallError) || thrown.code !== "ECHILD") throw thrown;
    return true;
  }
}
