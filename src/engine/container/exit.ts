/**
 * The end of a run: one transaction with its result (and, for `--rm`, the removal), then everyone who waits is
 * told, then what it used is given back, and the supervisor may forget it. Nothing in here waits before the record.
 */
import { later, sentenceOf } from "#base";
import type { ExitReport } from "#engine/supervisor";

import type { ContainerState } from "./container-service.ts";
import { type Context, inBackground, liveOf } from "./context.ts";
import { publishEvent, publishNetworkEvents } from "./happenings.ts";
import { unwatchHealth } from "./health-monitor.ts";
import type { ContainerRecord } from "./records.ts";
import { deleteContainer } from "./remove.ts";
import { nextDelayMs, restartsAfterExit } from "./restart.ts";
import { unmountSharedMemory } from "./shared-memory.ts";
import { startNow } from "./start.ts";
import { millisecondsOf } from "./times.ts";
import { settleWaiters } from "./wait.ts";

/** The client that was told of the end goes on first: it has a core less to share. A start and a removal hasten it. */
const TEARDOWN_DELAY_MS = 15;

/** What the supervisor says of a container's init. Told twice, the second is ignored. */
export function handleExit(context: Context, exit: ExitReport): void {
  const { id } = exit.key;
  const starting = context.lives.get(id)?.starting ?? null;
  if (starting !== null) {
    starting.exit = exit;
    return;
  }
  finishRun(context, exit);
}

/** Records the end of a run that is on record. */
export function finishRun(context: Context, exit: ExitReport): void {
  const { id } = exit.key;
  const record = context.records.get(id);
  if (record === undefined || record.process === null || record.process.pid !== exit.pid) {
    // An old run's report, or one of a container that is gone: its record has long been closed.
    inBackground(context, `forget ${id}`, forget(context, id));
    return;
  }
  const live = liveOf(context, id);
  context.stats.ended(id);
  unwatchHealth(context, id);
  const run = endedRunOf(record, exit);
  const restarts =
    !context.ending &&
    !live.removing &&
    !live.restarting &&
    restartsAfterExit(record.host.restartPolicy, {
      exitCode: run.exitCode,
      manuallyStopped: record.manuallyStopped,
      restartCount: record.restartCount,
    });
  const change: Partial<ContainerRecord> = {
    state: { ...run, status: restarts ? "restarting" : "exited" },
    process: null,
    ports: [],
  };
  // A `--rm` container's record is deleted in a moment: that one transaction is enough for both.
  const isLeaving = record.host.autoRemove && !restarts && !live.removing && !live.restarting;
  const tell = once(() => {
    publishNetworkEvents(context, record, "disconnect");
    context.volumes.release(id);
    publishEvent(context, record, "die", {
      exitCode: String(run.exitCode),
      execDuration: String(Math.floor(ranForMs(run) / 1000)),
    });
  });
  const { ended, written } = isLeaving
    ? { ended: context.records.note(id, change), written: true }
    : writeOrNote(context, id, change, tell);
  tell();
  // Whoever waits for the end may want the ports at once; without ports nobody can tell the difference, and the
  // answers go out first.
  const hasPorts = record.ports.length > 0;
  const giveBack = () => tearDown(context, record, { forgetIt: written });
  live.teardown = later(isPlain(record) ? TEARDOWN_DELAY_MS : 0, async () => {
    if (!hasPorts) await afterAnswers();
    const given = giveBack();
    inBackground(context, `give back what ${id} used`, given);
    await given.catch(() => undefined);
  });
  const answer = () => announce(context, ended, run.exitCode);
  if (hasPorts) void live.teardown.done.then(answer);
  else answer();
  if (restarts) scheduleRestart(context, id, ranForMs(run));
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    work();
  };
}

/** Nothing that it used can be missed by anyone: no port, no network or volume that could be removed now. */
const isPlain = ({ ports, mounts, host: { networkMode: network } }: ContainerRecord): boolean =>
  ports.length === 0 &&
  mounts.length === 0 &&
  (network.mode !== "network" || network.name === "bridge" || network.name === "default");

/**
 * On a full disk an end is known all the same, and the supervisor keeps its own record for the next daemon.
 * @param also shares the transaction
 */
export function writeOrNote(
  context: Context,
  id: string,
  change: Partial<ContainerRecord>,
  also?: () => void,
): { ended: ContainerRecord; written: boolean } {
  try {
    return { ended: context.records.update(id, change, also), written: true };
  } catch (cause) {
    context.log.error(`the end of ${id} could not be written down`, { error: sentenceOf(cause) });
    return { ended: context.records.note(id, change), written: false };
  }
}

type EndedRun = Omit<Extract<ContainerState, { status: "exited" }>, "status">;

function endedRunOf({ state }: ContainerRecord, exit: ExitReport): EndedRun {
  const running = state.status === "running" || state.status === "paused" ? state : null;
  return {
    exitCode: exit.exitCode,
    oomKilled: exit.oomKilled || running?.oomKilled === true,
    startedAt: running?.startedAt ?? exit.finishedAt,
    finishedAt: exit.finishedAt,
    error: exit.error ?? "",
  };
}

const ranForMs = ({ startedAt, finishedAt }: EndedRun): number =>
  Math.max(0, millisecondsOf(finishedAt) - millisecondsOf(startedAt));

/** Tells who waits for the end; a `--rm` container is removed on the way. */
function announce(context: Context, ended: ContainerRecord, exitCode: number): void {
  const result = { exitCode, error: null };
  settleWaiters(context, ended.id, "next-exit", result);
  const live = liveOf(context, ended.id);
  if (!ended.host.autoRemove || live.removing || live.restarting) return;
  if (context.records.get(ended.id)?.state.status !== "exited") return;
  deleteContainer(context, ended, { volumes: true, result });
}

/** Resolves when what was settled until now has been written to its sockets. */
const afterAnswers = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function tearDown(
  context: Context,
  record: ContainerRecord,
  { forgetIt }: { forgetIt: boolean },
): Promise<void> {
  unmountSharedMemory(context, record);
  await Promise.all([
    context.network.release(record.id),
    forgetIt ? forget(context, record.id) : null,
  ]);
}

const forget = (context: Context, id: string): Promise<null> =>
  context.supervisor.request({ type: "forget", key: { id } });

/** Starts it again after the back-off; a stop, a removal or the daemon's end takes that back. */
export function scheduleRestart(context: Context, id: string, ranMs: number): void {
  const live = liveOf(context, id);
  live.restartDelayMs = nextDelayMs(live.restartDelayMs, ranMs);
  if (live.restartTimer !== null) clearTimeout(live.restartTimer);
  live.restartTimer = setTimeout(() => {
    live.restartTimer = null;
    inBackground(
      context,
      `restart ${id}`,
      live.queue.run(async () => {
        if (context.closing.aborted || live.removing) return;
        if (context.records.get(id)?.state.status !== "restarting") return;
        await startNow(context, id, { byPolicy: true });
      }),
    );
  }, live.restartDelayMs);
}

/** Takes a coming restart back: the container is merely exited. */
export function cancelRestart(context: Context, id: string): void {
  const live = liveOf(context, id);
  if (live.restartTimer !== null) clearTimeout(live.restartTimer);
  live.restartTimer = null;
  const record = context.records.get(id);
  if (record?.state.status !== "restarting") return;
  context.records.update(id, {
    state: { ...record.state, status: "exited" },
    manuallyStopped: record.manuallyStopped || !context.ending,
  });
}
