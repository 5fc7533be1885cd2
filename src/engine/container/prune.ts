/** `docker container prune`: every container that does not run, and that the filters mean. */
import { conflict, kindOf, sentenceOf } from "#base";

import type { PruneRequest } from "./container-service.ts";
import type { Context } from "./context.ts";
import { matchesLabel } from "./filters.ts";
import type { ContainerRecord } from "./records.ts";
import { removeContainer } from "./remove.ts";
import { millisecondsOf } from "./times.ts";
import { sizesOf } from "./view.ts";
import { isActive } from "./wait.ts";

const running = new WeakSet<Context>();

/** One that cannot be removed is passed over, as Docker does. @throws EngineError "conflict" while another runs */
export async function pruneContainers(
  context: Context,
  request: PruneRequest,
): Promise<{ deleted: string[]; reclaimedBytes: number }> {
  if (running.has(context)) throw conflict("a prune operation is already running");
  running.add(context);
  const deleted: string[] = [];
  let reclaimedBytes = 0;
  try {
    const ids = Array.from(context.records.all(), ({ id }) => id);
    for (const id of ids) {
      // Asked anew: the removals before it took time.
      const record = context.records.get(id);
      if (record === undefined || isActive(record) || !isMeant(record, request)) continue;
      const freedBytes = await removeOne(context, record);
      if (freedBytes === null) continue;
      deleted.push(id);
      reclaimedBytes += freedBytes;
    }
  } finally {
    running.delete(context);
  }
  context.events.publish({
    type: "container",
    action: "prune",
    actorId: "",
    attributes: { reclaimed: String(reclaimedBytes) },
  });
  return { deleted, reclaimedBytes };
}

/** @returns what it had written, in bytes; null when it could not be removed */
async function removeOne(context: Context, record: ContainerRecord): Promise<number | null> {
  try {
    const { rwBytes } = await sizesOf(context, record);
    await removeContainer(context, record.id, { force: false, volumes: false });
    return rwBytes;
  } catch (cause) {
    // Started, or removed by somebody else, meanwhile.
    if (kindOf(cause) !== "conflict" && kindOf(cause) !== "notFound") {
      context.log.warn(`could not prune ${record.id}`, { error: sentenceOf(cause) });
    }
    return null;
  }
}

function isMeant({ createdAt, config }: ContainerRecord, request: PruneRequest): boolean {
  const { untilMs, labels, withoutLabels } = request;
  if (untilMs !== null && millisecondsOf(createdAt) > untilMs) return false;
  const hasAll = (wanted: readonly string[]) =>
    wanted.every((label) => matchesLabel(label, config.labels));
  return hasAll(labels) && (withoutLabels.length === 0 || !hasAll(withoutLabels));
}
