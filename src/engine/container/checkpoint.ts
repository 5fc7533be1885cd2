/** Checkpoints of containers: made of one that runs, listed, removed; what a crash interrupted is finished or undone. */
import { join } from "node:path";

import { conflict, EngineError, kindOf, sentenceOf } from "#base";

import {
  beginCheckpoint,
  checkCheckpointName,
  type CheckpointPlace,
  findCheckpoint,
  interruptedCheckpoints,
  listCheckpoints,
  type Making,
  removeCheckpoint,
  settleCheckpoint,
} from "./checkpoint-folders.ts";
import type { CheckpointRequest } from "./container-service.ts";
import { type Context, inBackground, liveOf } from "./context.ts";
import { publishEvent } from "./happenings.ts";
import type { ContainerRecord } from "./records.ts";
import { waitForExit } from "./wait.ts";

/** The kernel's time to end what was killed. */
const KILL_TIMEOUT_MS = 30_000;

const placeOf = (
  { paths }: Pick<Context, "paths">,
  { id }: Pick<ContainerRecord, "id">,
  { container, directory }: Pick<CheckpointPlace, "container" | "directory">,
): CheckpointPlace => ({ own: join(paths.containers, id, "checkpoints"), container, directory });

/** @throws EngineError in Docker's words; the container runs on then */
export async function createCheckpoint(
  context: Context,
  nameOrId: string,
  request: CheckpointRequest,
): Promise<void> {
  const { id } = context.records.resolve(nameOrId);
  await liveOf(context, id).queue.run(() => createNow(context, { ...request, id, nameOrId }));
}

async function createNow(
  context: Context,
  request: CheckpointRequest & { readonly id: string; readonly nameOrId: string },
): Promise<void> {
  const { id, nameOrId, name, directory, leaveRunning } = request;
  const record = context.records.must(id);
  checkRunning(record);
  checkCheckpointName(name);
  const place = placeOf(context, record, { container: nameOrId, directory });
  const making = begin(place, name);
  const giveUp = new AbortController();
  const abandon = () =>
    void context.supervisor.request({ type: "abandon", id }).catch(() => undefined);
  giveUp.signal.addEventListener("abort", abandon, { once: true });
  const live = liveOf(context, id);
  live.checkpoint = giveUp;
  let failure: string | null = null;
  let isWhole = false;
  try {
    failure = await context.supervisor
      .request({ type: "checkpoint", id, ...making, leaveRunning })
      .then(() => null, sentenceOf);
    // Also when the supervisor died: whoever writes goes on without it.
    isWhole = await settleCheckpoint(place, name, making, giveUp.signal);
  } finally {
    live.checkpoint = null;
  }
  // With --rm its own folder has gone with it.
  const hasLeft = failure === null && context.records.get(id) === undefined;
  if (!isWhole && !hasLeft) {
    const why = failure ?? "criu failed: it left nothing";
    throw new EngineError("internal", `Cannot checkpoint container ${nameOrId}: ${why}: unknown`);
  }
  publishEvent(context, record, "checkpoint");
  if (!leaveRunning) await waitForEndOf(context, record);
}

function checkRunning({ id, state }: ContainerRecord): void {
  if (state.status === "running") return;
  throw conflict(
    state.status === "paused"
      ? `container ${id} is paused, unpause the container before checkpoint`
      : `container ${id} is not running`,
  );
}

/** @throws EngineError, of a file system that refuses as well */
function begin(place: CheckpointPlace, name: string): Making {
  try {
    return beginCheckpoint(place, name);
  } catch (cause) {
    const kind = cause instanceof EngineError ? kindOf(cause) : "invalid";
    const sentence = `cannot checkpoint container ${place.container}: ${sentenceOf(cause)}`;
    throw new EngineError(kind, sentence, { cause });
  }
}

/** Whoever starts it from the checkpoint next must not be told that it runs. */
async function waitForEndOf(context: Context, { id, process }: ContainerRecord): Promise<void> {
  // By its policy another run may have begun.
  if (context.records.get(id)?.process?.pid !== process?.pid) return;
  await waitForExit(context, id, AbortSignal.timeout(KILL_TIMEOUT_MS)).catch(() => {
    context.log.warn(`container ${id} has a checkpoint and has not ended yet`);
  });
}

/** @throws EngineError "notFound" */
export function checkpointsOf(
  context: Context,
  nameOrId: string,
  { directory }: { directory: string },
): string[] {
  const record = context.records.resolve(nameOrId);
  return listCheckpoints(placeOf(context, record, { container: nameOrId, directory }));
}

/** @throws EngineError in Docker's words */
export async function deleteCheckpoint(
  context: Context,
  nameOrId: string,
  { name, directory }: { name: string; directory: string },
): Promise<void> {
  const record = context.records.resolve(nameOrId);
  checkCheckpointName(name);
  const place = placeOf(context, record, { container: nameOrId, directory });
  // A start from it may be under way.
  await liveOf(context, record.id).queue.run(async () => removeCheckpoint(place, name));
}

/** The folder that a start goes on from. @throws EngineError "notFound" in Docker's words */
export const imagesOf = (context: Context, record: ContainerRecord, name: string): string =>
  findCheckpoint(placeOf(context, record, { container: `/${record.name}`, directory: "" }), name);

/** At start-up. A writer may go on still: it is not waited for. */
export function finishInterrupted(context: Context): void {
  for (const record of context.records.all()) {
    const place = placeOf(context, record, { container: record.name, directory: "" });
    for (const { name, images } of interruptedCheckpoints(place.own)) {
      const settled = settleCheckpoint(place, name, { images });
      inBackground(context, `finish the checkpoint ${name} of ${record.id}`, settled);
    }
  }
}
