/**
 * Removing a container. The record goes in one transaction, and with it the right to everything that carries the
 * container's id: what is left on disk is deleted afterwards, by this daemon or by the next one.
 */
import { conflict, kindOf, sentenceOf, wrap } from "#base";
import { SIGKILL } from "#linux/process";

import type { WaitResult } from "./container-service.ts";
import { type Context, endEarlyAttachments, liveOf } from "./context.ts";
import { cancelRestart } from "./exit.ts";
import { publishEvent } from "./happenings.ts";
import { unwatchHealth } from "./health-monitor.ts";
import { dropSpool, isDelivered } from "./log-files.ts";
import type { ContainerRecord } from "./records.ts";
import { signalAndThaw } from "./signal.ts";
import { giveUpStart } from "./sources.ts";
import { isActive, lastResult, settleWaiters, waitForExit } from "./wait.ts";
import { anonymousVolumes } from "./volumes.ts";

/** How long the kernel may take to end a killed container before the removal gives up. */
const KILL_TIMEOUT_MS = 30_000;

/** @throws EngineError "conflict" in Docker's words when it runs and is not forced */
export async function removeContainer(
  context: Context,
  nameOrId: string,
  { force, volumes }: { force: boolean; volumes: boolean },
): Promise<void> {
  const { id, name } = context.records.resolve(nameOrId);
  const live = liveOf(context, id);
  if (live.removing) throw conflict(`removal of container ${nameOrId} is already in progress`);
  // A start that is under way ends first; then it runs, and only force removes it.
  if (force) {
    live.removing = true;
    giveUpStart(context, id);
    live.checkpoint?.abort();
  }
  try {
    await live.queue.run(async () => {
      live.removing = true;
      const record = context.records.get(id);
      if (record === undefined) return;
      if (isActive(record)) await endRun(context, record, force);
      await live.teardown.now();
      const ended = context.records.get(id);
      if (ended === undefined) return;
      deleteContainer(context, ended, { volumes, result: lastResult(ended) });
    });
  } catch (cause) {
    throw wrap(`cannot remove container "${name}"`, cause);
  } finally {
    live.removing = false;
    if (context.records.get(id) === undefined) context.lives.delete(id);
  }
}

async function endRun(context: Context, record: ContainerRecord, force: boolean): Promise<void> {
  const { id, state } = record;
  if (!force) {
    throw conflict(
      state.status === "paused"
        ? "container is paused and must be unpaused first"
        : `container is ${state.status}: stop the container before removing or force remove`,
    );
  }
  if (state.status === "restarting") {
    cancelRestart(context, id);
    return;
  }
  const exited = waitForExit(context, id, AbortSignal.timeout(KILL_TIMEOUT_MS));
  publishEvent(context, record, "kill", { signal: String(SIGKILL) });
  await Promise.all([exited, signalAndThaw(context, record, SIGKILL)]);
}

/** The record's end. Synchronous: whoever is told that the container is gone can use its name at once. */
export function deleteContainer(
  context: Context,
  record: ContainerRecord,
  { volumes, result }: { volumes: boolean; result: WaitResult },
): void {
  const { id } = record;
  const live = liveOf(context, id);
  if (live.restartTimer !== null) clearTimeout(live.restartTimer);
  live.restartTimer = null;
  endEarlyAttachments(live);
  const anonymous = volumes ? anonymousVolumes(record) : [];
  const removal = { containerId: id, after: live.teardown.done };
  context.records.delete(id, context.volumes.planRemoval(anonymous, removal), () =>
    publishEvent(context, record, "destroy"),
  );
  context.execs.forgetContainer(id);
  context.stats.removed(id);
  unwatchHealth(context, id);
  context.health.forget(id);
  settleWaiters(context, id, "next-exit", result);
  settleWaiters(context, id, "removed", result);
  void live.teardown.done.then(() => {
    releaseLayers(context, record);
    if (isDelivered(record)) dropSpool(context, id);
    context.sweeper.sweepContainer(id);
  });
  if (!live.removing) context.lives.delete(id);
}

/** An image that was removed by force leaves its layers to its containers: the last of them lets go. */
function releaseLayers(context: Context, { imageId, layers }: ContainerRecord): void {
  try {
    context.images.resolve(imageId);
  } catch (cause) {
    if (kindOf(cause) === "notFound") context.gc.release({ layers });
    else context.log.warn(`could not look up image ${imageId}`, { error: sentenceOf(cause) });
  }
}
