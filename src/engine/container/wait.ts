/** Waiting for a container's end. A waiter is registered at once, so an exit right after the call is not missed. */
import type { WaitCondition, WaitResult } from "./container-service.ts";
import { type Context, liveOf, type Waiter } from "./context.ts";
import type { ContainerRecord } from "./records.ts";

export function waitFor(
  context: Context,
  nameOrId: string,
  { condition, signal }: { condition: WaitCondition; signal: AbortSignal },
): { id: string; result: Promise<WaitResult> } {
  const record = context.records.resolve(nameOrId);
  const { id } = record;
  if (condition === "not-running" && !isActive(record)) {
    return { id, result: Promise.resolve(lastResult(record)) };
  }
  const { promise, resolve, reject } = Promise.withResolvers<WaitResult>();
  const { waiters } = liveOf(context, id);
  const stop = () => {
    waiters.delete(waiter);
    reject(signal.reason instanceof Error ? signal.reason : new Error("the wait was given up"));
  };
  const waiter: Waiter = {
    condition: condition === "removed" ? "removed" : "next-exit",
    settle: (result) => {
      signal.removeEventListener("abort", stop);
      resolve(result);
    },
  };
  waiters.add(waiter);
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  return { id, result: promise };
}

/** Answers everyone who waits for this. */
export function settleWaiters(
  context: Context,
  id: string,
  condition: Waiter["condition"],
  result: WaitResult,
): void {
  const { waiters } = liveOf(context, id);
  for (const waiter of waiters) {
    if (waiter.condition !== condition) continue;
    waiters.delete(waiter);
    waiter.settle(result);
  }
}

/** Running, paused, or about to run again. */
export const isActive = ({ state }: Pick<ContainerRecord, "state">): boolean =>
  state.status === "running" || state.status === "paused" || state.status === "restarting";

/** How the last run ended, or why it did not begin. */
export function lastResult({ state }: Pick<ContainerRecord, "state">): WaitResult {
  switch (state.status) {
    case "exited":
    case "restarting":
      return { exitCode: state.exitCode, error: null };
    case "created":
      return { exitCode: state.exitCode ?? 0, error: null };
    case "running":
    case "paused":
    case "removing":
      return { exitCode: 0, error: null };
  }
}

/** Resolves at the end of the run that is going on; at once when there is none. */
export async function waitForExit(
  context: Context,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  const record = context.records.get(id);
  if (
    record === undefined ||
    (record.state.status !== "running" && record.state.status !== "paused")
  ) {
    return;
  }
  await waitFor(context, id, { condition: "next-exit", signal }).result;
}
