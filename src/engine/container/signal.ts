/** Signals to a container's init. */
import { kindOf } from "#base";
import { openCgroupHost, type CgroupHost } from "#linux/cgroup";
import { SIGKILL } from "#linux/process";

import type { Context } from "./context.ts";
import { cgroupsPathOf } from "./prepare.ts";
import type { ContainerRecord } from "./records.ts";

let cgroups: CgroupHost | undefined;

/** The host's cgroups, looked at when first needed. */
export const cgroupOf = (
  context: Pick<Context, "options">,
  record: Pick<ContainerRecord, "id" | "host">,
): ReturnType<CgroupHost["at"]> =>
  (cgroups ??= openCgroupHost()).at(cgroupsPathOf(context, record));

/** A supervisor that dies with a request is followed by another. */
const KILL_ATTEMPTS = 5;
const KILL_RETRY_MS = 50;

/** Sends a signal. @returns false when the process has ended meanwhile: its exit is on the way */
export async function sendSignal(context: Context, id: string, signal: number): Promise<boolean> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await context.supervisor.request({ type: "signal", key: { id }, signal });
      return true;
    } catch (cause) {
      const kind = kindOf(cause);
      if (kind === "notFound" || kind === "conflict") return false;
      // Twice killed is killed; any other signal might be acted on twice.
      const mayRepeat = kind === "unavailable" && signal === SIGKILL && attempt < KILL_ATTEMPTS;
      if (!mayRepeat) throw cause;
      await context.clock.sleep(KILL_RETRY_MS);
    }
  }
}

/** As `sendSignal`; a paused container is let go, or it could never act on the signal. */
export async function signalAndThaw(
  context: Context,
  record: ContainerRecord,
  signal: number,
): Promise<boolean> {
  const sent = await sendSignal(context, record.id, signal);
  const now = context.records.get(record.id);
  if (now?.state.status === "paused") {
    cgroupOf(context, record).thaw();
    context.records.update(record.id, { state: { ...now.state, status: "running" } });
  }
  return sent;
}
