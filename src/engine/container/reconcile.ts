/**
 * Start-up, and the supervisor's own rebirth: records are compared with what lives, and repaired. Whatever the daemon
 * was doing when it was killed is finished or undone here, so there is no clean shutdown to rely on.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";

import { isId, sentenceOf } from "#base";
import type { NetworkHolders } from "#engine/network";
import type { ExitReport, ProcessReport } from "#engine/supervisor";
import { SIGKILL } from "#linux/process";
import { openCgroupHost } from "#linux/cgroup";

import { finishInterrupted } from "./checkpoint.ts";
import { type Context, inBackground, liveOf } from "./context.ts";
import { handleExecExit } from "./exec.ts";
import { finishRun, scheduleRestart } from "./exit.ts";
import { resumeHealth } from "./health-monitor.ts";
import { followAllLinked } from "./linked-hosts.ts";
import { dropStraySpools } from "./log-files.ts";
import type { ContainerRecord } from "./records.ts";
import { deleteContainer } from "./remove.ts";
import { cgroupOf } from "./signal.ts";
import { unmountSharedMemory } from "./shared-memory.ts";
import { recordRunning } from "./start.ts";
import { reconcileSteps } from "./step.ts";
import { nowText } from "./times.ts";
import { volumeMounts } from "./volumes.ts";
import { isActive, lastResult } from "./wait.ts";

const CGROUP_TIMEOUT_MS = 5000;
/** Docker's number for a process that was killed: all one can say of an end nobody saw. */
const UNKNOWN_EXIT_CODE = 137;

/**
 * Compares and repairs. Containers that are to be started by policy are only marked: `startByPolicy` starts them.
 * @param request.startUp false when only the supervisor died: then nothing half-done is adopted
 */
export async function reconcile(
  context: Context,
  { startUp }: { startUp: boolean },
): Promise<void> {
  const before = settledNow(context);
  const { processes } = await context.supervisor.request({ type: "list" });
  const inits = new Map<string, ProcessReport>();
  for (const report of processes) {
    if (report.key.execId === undefined) inits.set(report.key.id, report);
  }
  for (const record of context.records.all()) {
    if (!before.isStill(record)) continue;
    const seen = { report: inits.get(record.id), startUp };
    await orWarn(context, `repair ${record.id}`, () => repair(context, record, seen));
  }
  const alive = networkHolders(context);
  await orWarn(context, "give back addresses and ports", () =>
    context.network.reconcile(alive, pidOf(context)),
  );
  if (startUp) followAllLinked(context);
  if (startUp) {
    const running = new Map(
      [...alive].map((id) => [id, volumeMounts(context.records.must(id))] as const),
    );
    await orWarn(context, "unmount volumes", () => context.volumes.reconcile(running));
  }
  reconcileExecs(context, processes, before.execs);
  reconcileSteps(context, inits, before.steps);
  endStrangers(context, inits);
  if (startUp) sweep(context);
  if (startUp) dropStraySpools(context);
  if (startUp) await orWarn(context, "finish checkpoints", () => finishInterrupted(context));
}

/**
 * Who is what before the supervisor is asked. What starts or ends while it answers is told by events and answers of its
 * own: judged by this older answer, a container that has just started would be one that nobody knows.
 */
function settledNow(context: Context) {
  const pids = new Map<string, number | null>();
  for (const { id, process } of context.records.all()) {
    if (liveOf(context, id).starting === null) pids.set(id, process?.pid ?? null);
  }
  const execs = new Set<string>();
  for (const id of pids.keys()) for (const execId of context.execs.idsOf(id)) execs.add(execId);
  return {
    isStill: ({ id, process }: ContainerRecord): boolean =>
      liveOf(context, id).starting === null && pids.get(id) === (process?.pid ?? null),
    execs: new Set([...execs].filter((id) => context.execs.get(id)?.state.status === "running")),
    steps: new Set([...context.steps].filter(([, { isBorn }]) => isBorn).map(([id]) => id)),
  };
}

/** Asked anew each time: a container may start while the network room waits for its ports. */
function networkHolders(context: Context): NetworkHolders {
  const holds = holdsNetwork(context);
  return {
    has: (id) => {
      const record = context.records.get(id);
      return context.steps.has(id) || (record !== undefined && holds(record));
    },
    *[Symbol.iterator]() {
      for (const record of context.records.all()) if (holds(record)) yield record.id;
      yield* context.steps.keys();
    },
  };
}

/** A full disk must not keep the engine from serving: what is not repaired now is tried again at the next start. */
async function orWarn(
  context: Context,
  what: string,
  work: () => void | Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (cause) {
    context.log.error(`could not ${what}`, { error: sentenceOf(cause) });
  }
}

const pidOf =
  ({ records }: Context) =>
  (id: string): number | null => {
    const state = records.get(id)?.state;
    return state?.status === "running" || state?.status === "paused" ? state.pid : null;
  };

const holdsNetwork =
  (context: Context) =>
  ({ id, state }: ContainerRecord): boolean =>
    state.status === "running" ||
    state.status === "paused" ||
    liveOf(context, id).starting !== null;

interface Seen {
  readonly report: ProcessReport | undefined;
  readonly startUp: boolean;
}

function repair(context: Context, record: ContainerRecord, { report, startUp }: Seen): void {
  const { id, state } = record;
  const running = state.status === "running" || state.status === "paused";
  if (report === undefined) {
    if (running) finishRun(context, unseenExit(context, record));
    else settleStopped(context, record, startUp);
    return;
  }
  if (running && record.process?.pid === report.pid) {
    if (report.exit !== null) finishRun(context, report.exit);
    else if (startUp) goOn(context, record);
    return;
  }
  if (running) finishRun(context, unseenExit(context, record));
  if (startUp && !liveOf(context, id).removing) {
    // The daemon was killed between the birth and its record: the start is finished now. Its ports are on record, also
    // where the supervisor that held them died as well.
    const ports = context.network.portsOf(id);
    recordRunning(context, id, { report, ports, byPolicy: state.status === "restarting" });
    if (report.exit !== null) finishRun(context, report.exit);
    return;
  }
  inBackground(context, `end a process of ${id} that no record knows`, endProcess(context, report));
}

function goOn(context: Context, record: ContainerRecord): void {
  // The last daemon died before it wrote down that it had frozen it, or in the middle of a commit.
  if (record.state.status === "running") {
    const cgroup = cgroupOf(context, record);
    if (cgroup.isFrozen()) cgroup.thaw();
  }
  resumeHealth(context, record);
}

/** The end of a run that neither the supervisor nor the kernel can tell of any more. */
function unseenExit(context: Context, { id, process }: ContainerRecord): ExitReport {
  return {
    key: { id },
    pid: process?.pid ?? 0,
    exitCode: UNKNOWN_EXIT_CODE,
    oomKilled: false,
    finishedAt: nowText(context.clock.now()),
    error: "exit code unknown",
  };
}

function settleStopped(context: Context, record: ContainerRecord, startUp: boolean): void {
  const { state } = record;
  unmountSharedMemory(context, record);
  if (state.status === "restarting") scheduleRestart(context, record.id, 0);
  else if (startUp && record.host.autoRemove && state.status === "exited") {
    deleteContainer(context, record, { volumes: true, result: lastResult(record) });
  }
}

async function endProcess(context: Context, { key, exit }: ProcessReport): Promise<void> {
  if (exit === null) await context.supervisor.request({ type: "signal", key, signal: SIGKILL });
  // Of a living one the exit event follows, and with it the forgetting.
  else await context.supervisor.request({ type: "forget", key });
}

function reconcileExecs(
  context: Context,
  processes: readonly ProcessReport[],
  before: ReadonlySet<string>,
): void {
  const seen = new Set<string>();
  for (const { key, pid, exit } of processes) {
    if (key.execId === undefined) continue;
    seen.add(key.execId);
    const exec = context.execs.get(key.execId);
    if (exit !== null) handleExecExit(context, exit);
    else if (exec?.state.status === "created") {
      context.execs.put({ ...exec, state: { status: "running", pid } });
    }
  }
  for (const { id } of context.records.all()) {
    for (const execId of context.execs.idsOf(id)) {
      const exec = context.execs.get(execId);
      if (exec?.state.status !== "running" || seen.has(execId)) continue;
      if (!before.has(execId)) continue;
      const { pid } = exec.state;
      context.execs.put({
        ...exec,
        state: { status: "exited", pid, exitCode: UNKNOWN_EXIT_CODE },
      });
      context.execEnds.get(execId)?.(UNKNOWN_EXIT_CODE);
      context.execEnds.delete(execId);
    }
  }
}

/**
 * Processes and cgroups of containers that are on no record: a removal that was cut off. The parent may be one that a
 * person named, shared with systemd's units or another engine's containers: only what has files here is killed.
 */
function endStrangers(context: Context, inits: ReadonlyMap<string, ProcessReport>): void {
  for (const [id, report] of inits) {
    if (context.records.get(id) !== undefined || context.steps.has(id)) continue;
    inBackground(context, `end the process of the removed ${id}`, endProcess(context, report));
  }
  const host = openCgroupHost();
  const parent = context.options.cgroupParent;
  const isStranger = (id: string) => !inits.has(id) && isNobodys(context, id);
  for (const id of host.list(parent).filter(isId).filter(isStranger)) {
    const cgroup = host.at(`${parent}/${id}`);
    if (!existsSync(join(context.paths.containers, id)) && !cgroup.isEmpty()) continue;
    const work = async () => {
      if (!isNobodys(context, id)) return;
      await cgroup.killAll({ timeoutMs: CGROUP_TIMEOUT_MS });
      await cgroup.remove({ timeoutMs: CGROUP_TIMEOUT_MS });
    };
    // Of a container that is on record: a start that is asked for now goes into a cgroup of the same name.
    const isKnown = context.records.get(id) !== undefined;
    const ended = isKnown ? liveOf(context, id).queue.run(work) : work();
    inBackground(context, `remove the cgroup of ${id}`, ended);
  }
}

/** Whether nothing that this engine runs, starts or has announced can be in the container's cgroup. */
function isNobodys(context: Context, id: string): boolean {
  const record = context.records.get(id);
  return (
    (record === undefined || !isActive(record)) &&
    !context.steps.has(id) &&
    (context.lives.get(id)?.starting ?? null) === null &&
    context.announced?.record.id !== id
  );
}

const sweep = (context: Context): void =>
  context.sweeper.sweepLeftovers({
    isContainer: (id) => context.records.get(id) !== undefined,
  });
