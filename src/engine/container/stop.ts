/** Ending runs and holding them: stop, kill, restart, pause, unpause, rename, resize. */
import { conflict, internal, invalid, kindOf, notModified, sentenceOf, wrap } from "#base";
import { SIGINT, SIGKILL, SIGTERM, signalName } from "#linux/process";

import { type Context, liveOf } from "./context.ts";
import { refreshDns } from "./dns.ts";
import { cancelRestart } from "./exit.ts";
import { publishEvent } from "./happenings.ts";
import { unwatchHealth, watchHealth } from "./health-monitor.ts";
import { parseContainerName } from "./names.ts";
import type { ContainerRecord } from "./records.ts";
import { cgroupOf, sendSignal, signalAndThaw } from "./signal.ts";
import { giveUpStart } from "./sources.ts";
import { startNow } from "./start.ts";
import { signalNumber, stopSignalOf } from "./stop-signal.ts";
import { isActive, waitForExit } from "./wait.ts";

/** Docker's patience before SIGKILL. */
const STOP_TIMEOUT_SECONDS = 10;
/** And the kernel's time to end a killed process: one stuck in the kernel is reported, not waited for. */
const KILL_TIMEOUT_MS = 30_000;
const FREEZE_TIMEOUT_MS = 10_000;

export interface StopRequest {
  readonly timeoutSeconds: number | null;
  readonly signal: string | null;
}

/** @throws EngineError "notModified" when it does not run */
export async function stopContainer(
  context: Context,
  nameOrId: string,
  request: StopRequest,
): Promise<void> {
  const record = context.records.resolve(nameOrId);
  giveUpStart(context, record.id);
  // A start that is under way comes first, as if the two had been typed in order.
  await liveOf(context, record.id).queue.run(async () => undefined);
  if (!isActive(context.records.must(record.id))) {
    throw notModified(`container ${record.id} is already stopped`);
  }
  checkSignal(request);
  try {
    await endGently(context, record.id, request);
  } catch (cause) {
    throw wrap(`cannot stop container: ${nameOrId}`, cause);
  }
  const ended = context.records.get(record.id) ?? record;
  publishEvent(context, ended, "stop");
}

/** Of a container that runs: what another would get does not matter. @throws EngineError "invalid" */
function checkSignal({ signal }: StopRequest): void {
  if (signal !== null && signal !== "") signalNumber(signal);
}

/** Signal, patience, SIGKILL. Resolves when the run has ended and what it used is given back. */
async function endGently(context: Context, id: string, request: StopRequest): Promise<void> {
  const record = rememberStop(context, id);
  if (record.state.status === "restarting") {
    cancelRestart(context, id);
    return;
  }
  const signal =
    request.signal === null || request.signal === ""
      ? stopSignalOf(record.config)
      : signalNumber(request.signal);
  const seconds =
    request.timeoutSeconds ?? record.config.stopTimeoutSeconds ?? STOP_TIMEOUT_SECONDS;
  const patience = new AbortController();
  const exited = waitForExit(context, id, patience.signal);
  // Patience may be over before the signal is on its way: the wait's failure is looked at only after that.
  exited.catch(() => {});
  const timer =
    seconds < 0 ? null : setTimeout(() => patience.abort(), Math.min(seconds * 1000, 2 ** 31 - 1));
  try {
    publishEvent(context, record, "kill", { signal: String(signal) });
    await signalAndThaw(context, record, signal);
    await exited;
  } catch (cause) {
    if (!patience.signal.aborted) throw cause;
    await killNow(context, id);
  } finally {
    if (timer !== null) clearTimeout(timer);
  }
  await liveOf(context, id).teardown.now();
}

/** What Docker adds to a container's own patience before it gives up on it. */
const SHUTDOWN_GRACE_SECONDS = 5;

/** @returns false when time ran out: what still runs is found by the next engine */
export async function stopAll(
  context: Context,
  { graceSeconds }: { graceSeconds: number },
): Promise<boolean> {
  context.ending = true;
  const active = [...context.records.all()].filter(isActive);
  const patience = active.map(({ config }) => config.stopTimeoutSeconds ?? STOP_TIMEOUT_SECONDS);
  const seconds = [graceSeconds, ...patience].some((each) => each < 0)
    ? Infinity
    : Math.max(graceSeconds, ...patience.map((each) => each + SHUTDOWN_GRACE_SECONDS));
  const stopped = Promise.all(
    active.map(({ id }) =>
      stopContainer(context, id, { timeoutSeconds: null, signal: null }).then(
        () => true,
        (cause: unknown) => {
          if (kindOf(cause) === "notModified") return true;
          context.log.error(`${id} was not stopped`, { error: sentenceOf(cause) });
          return false;
        },
      ),
    ),
  );
  const late = Promise.withResolvers<boolean[]>();
  const timer = setTimeout(() => late.resolve([false]), Math.min(seconds * 1000, 2 ** 31 - 1));
  const results = await Promise.race([stopped, late.promise]);
  clearTimeout(timer);
  await context.sweeper.idle();
  return results.every((each) => each);
}

/** SIGKILL, and the wait for the end that follows. */
async function killNow(context: Context, id: string): Promise<void> {
  const record = context.records.get(id);
  if (record === undefined || !isActive(record)) return;
  const late = AbortSignal.timeout(KILL_TIMEOUT_MS);
  const exited = waitForExit(context, id, late);
  publishEvent(context, record, "kill", { signal: String(SIGKILL) });
  try {
    await Promise.all([exited, signalAndThaw(context, record, SIGKILL)]);
  } catch (cause) {
    if (!late.aborted) throw cause;
    throw internal(`the process did not end ${KILL_TIMEOUT_MS / 1000} seconds after SIGKILL`, {
      cause,
    });
  }
}

/** A stop by a person outlives the daemon: written down before the signal, where a restart policy will ask. */
function rememberStop(context: Context, id: string): ContainerRecord {
  const record = context.records.must(id);
  if (record.manuallyStopped || context.ending) return record;
  return record.host.restartPolicy.name === "no"
    ? context.records.note(id, { manuallyStopped: true })
    : context.records.update(id, { manuallyStopped: true });
}

/** @throws EngineError "invalid" or "notFound" in the words of Docker's kill */
function killOf(
  context: Context,
  nameOrId: string,
  signal: string,
): { number: number; record: ContainerRecord } {
  try {
    const number = signal === "" ? SIGKILL : signalNumber(signal);
    return { number, record: context.records.resolve(nameOrId) };
  } catch (cause) {
    throw wrap(`cannot kill container: ${nameOrId}`, cause);
  }
}

/** @param signal "" is SIGKILL, which also waits for the end. @throws EngineError "conflict" when it does not run */
export async function killContainer(
  context: Context,
  nameOrId: string,
  signal: string,
): Promise<void> {
  const { number, record } = killOf(context, nameOrId, signal);
  const { id } = record;
  if (!isActive(record)) {
    if (endsProcess(number, record) && giveUpStart(context, id)) return;
    throw conflict(`cannot kill container: ${nameOrId}: container ${id} is not running`);
  }
  if (endsProcess(number, record)) rememberStop(context, id);
  if (record.state.status === "restarting") {
    cancelRestart(context, id);
    return;
  }
  if (number === SIGKILL) {
    await killNow(context, id);
    await liveOf(context, id).teardown.now();
    return;
  }
  // Told before it is sent: what it brings about, an end, may be known before it is answered.
  publishEvent(context, record, "kill", { signal: String(number) });
  // One that is to end a paused process must reach it; any other waits for its unpause.
  const sent = endsProcess(number, record)
    ? await signalAndThaw(context, record, number)
    : await sendSignal(context, id, number);
  if (!sent) {
    throw conflict(`cannot kill container: ${nameOrId}: container ${id} is not running`);
  }
  // A paused one was let go for it, and may live on.
  const now = context.records.get(id);
  if (record.state.status === "paused" && now?.state.status === "running") {
    watchHealth(context, now);
  }
}

/** Signals a person sends to end a container; a HUP that reloads it must not turn its restart policy off. */
const endsProcess = (signal: number, { config }: ContainerRecord): boolean =>
  signal === SIGKILL ||
  signal === SIGTERM ||
  signal === SIGINT ||
  signalName(signal) === signalName(stopSignalOf(config));

export async function restartContainer(
  context: Context,
  nameOrId: string,
  request: StopRequest,
): Promise<void> {
  const { id } = context.records.resolve(nameOrId);
  const before = await liveOf(context, id).queue.run(async () => {
    const record = context.records.must(id);
    if (liveOf(context, id).removing)
      throw conflict("container is marked for removal and cannot be started");
    if (isActive(record)) await endForRestart(context, record, request);
    await startNow(context, id, { byPolicy: false });
    return record;
  });
  // One with --rm may have ended already, and be gone.
  publishEvent(context, context.records.get(id) ?? before, "restart");
}

async function endForRestart(
  context: Context,
  record: ContainerRecord,
  request: StopRequest,
): Promise<void> {
  checkSignal(request);
  const live = liveOf(context, record.id);
  live.restarting = true;
  try {
    await endGently(context, record.id, request);
    publishEvent(context, context.records.get(record.id) ?? record, "stop");
  } catch (cause) {
    throw wrap(`cannot restart container ${record.id}`, cause);
  } finally {
    live.restarting = false;
  }
}

/** @param passing for a moment of this daemon's own: where it dies meanwhile, the next one lets the container go */
export function pauseContainer(
  context: Context,
  nameOrId: string,
  { passing = false }: { passing?: boolean } = {},
): Promise<void> {
  const { id } = context.records.resolve(nameOrId);
  return liveOf(context, id).queue.run(async () => {
    const record = context.records.must(id);
    const { state } = record;
    switch (state.status) {
      case "running":
        break;
      case "paused":
        throw conflict(`Container ${id} is already paused`);
      case "restarting":
        throw conflict(`Container ${id} is restarting, wait until the container is running`);
      case "created":
      case "exited":
      case "removing":
        throw conflict(`container ${id} is not running`);
    }
    await cgroupOf(context, record).freeze({ timeoutMs: FREEZE_TIMEOUT_MS });
    // It may have ended while it was being frozen; then its record has moved on.
    const now = context.records.must(id);
    if (now.state.status !== "running") throw conflict(`container ${id} is not running`);
    unwatchHealth(context, id);
    const change = { state: { ...now.state, status: "paused" } } as const;
    const { records } = context;
    publishEvent(context, passing ? records.note(id, change) : records.update(id, change), "pause");
  });
}

export function unpauseContainer(context: Context, nameOrId: string): Promise<void> {
  const { id } = context.records.resolve(nameOrId);
  return liveOf(context, id).queue.run(async () => {
    const record = context.records.must(id);
    const { state } = record;
    if (state.status !== "paused") throw conflict(`Container ${id} is not paused`);
    cgroupOf(context, record).thaw();
    const running = context.records.update(id, { state: { ...state, status: "running" } });
    publishEvent(context, running, "unpause");
    watchHealth(context, running);
  });
}

export function renameContainer(
  context: Context,
  nameOrId: string,
  newName: string,
): Promise<void> {
  const { id, name: oldName } = context.records.resolve(nameOrId);
  if (newName === "") throw invalid("Neither old nor new names may be empty");
  const stripped = newName.startsWith("/") ? newName.slice(1) : newName;
  if (stripped === oldName) {
    throw invalid("Renaming a container with the same name as its current name");
  }
  return liveOf(context, id).queue.run(async () => {
    try {
      const renamed = context.records.rename(id, parseContainerName(`/${stripped}`));
      const { name: containerName, config } = renamed;
      context.network.rename({ containerId: id, containerName, hostname: config.hostname });
      publishEvent(context, renamed, "rename", { oldName: `/${oldName}` });
    } catch (cause) {
      throw wrap("Error when allocating new name", cause);
    }
    try {
      await refreshDns(context, id);
    } catch (cause) {
      // It has its new name all the same; the next start or connection tells the resolver.
      context.log.warn(`the resolver was not told the name of ${id}`, { error: sentenceOf(cause) });
    }
  });
}

export async function resizeContainer(
  context: Context,
  nameOrId: string,
  { columns, rows }: { columns: number; rows: number },
): Promise<void> {
  const record = context.records.resolve(nameOrId);
  const { id, state } = record;
  if (state.status !== "running" && state.status !== "paused") {
    throw conflict(`cannot resize a stopped container: container ${id} is not running`);
  }
  await context.supervisor.request({ type: "resize", key: { id }, columns, rows });
  publishEvent(context, record, "resize", { height: String(rows), width: String(columns) });
}
