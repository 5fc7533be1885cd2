/** When an ended container is started again, and how long that waits. Pure. */
import type { RestartPolicy } from "./config.ts";

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 60_000;
/** A run this long was no failure of starting: the delay begins anew. */
const STEADY_RUN_MS = 10_000;

export interface EndedRun {
  readonly exitCode: number;
  readonly manuallyStopped: boolean;
  /** Restarts by policy so far. */
  readonly restartCount: number;
}

/** Whether a run that ended while the engine watched is followed by another. */
export function restartsAfterExit(policy: RestartPolicy, run: EndedRun): boolean {
  if (run.manuallyStopped) return false;
  switch (policy.name) {
    case "no":
      return false;
    case "always":
    case "unless-stopped":
      return true;
    case "on-failure":
      return (
        run.exitCode !== 0 &&
        (policy.maximumRetries === 0 || run.restartCount < policy.maximumRetries)
      );
  }
}

/** Whether a container that is found stopped is started with the engine: `always` even when a person stopped it. */
export function startsWithEngine(policy: RestartPolicy, run: EndedRun): boolean {
  return policy.name === "always" || restartsAfterExit(policy, run);
}

/** Docker's back-off: 100 ms, doubled at each short run, one minute at most, anew after ten seconds of running. */
export function nextDelayMs(previousMs: number | null, ranForMs: number): number {
  if (previousMs === null || ranForMs >= STEADY_RUN_MS) return FIRST_DELAY_MS;
  return Math.min(previousMs * 2, LONGEST_DELAY_MS);
}
