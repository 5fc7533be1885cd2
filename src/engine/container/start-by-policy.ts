/**
 * What runs with the engine is started when the engine is: a few at a time, and those that others are linked to, or
 * whose namespaces others join, before those others.
 */
import { sentenceOf } from "#base";

import { type Context, liveOf } from "./context.ts";
import type { ContainerRecord } from "./records.ts";
import { startsWithEngine } from "./restart.ts";
import { startNow } from "./start.ts";

const PARALLEL_STARTS = 4;

/** Starts what its policy wants to run with the engine; failures are on the containers' records. */
export async function startByPolicy(context: Context): Promise<void> {
  const waiting = inOrder([...context.records.all()].filter(isWanted));
  const tried = new Map<string, Promise<void>>();
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (context.closing.aborted) return;
      const { id } = next;
      const before = needsOf(next).flatMap((needed) => tried.get(needed) ?? []);
      const turn = Promise.all(before).then(() => startOne(context, id));
      tried.set(id, turn);
      await turn;
    }
  };
  await Promise.all(Array.from({ length: PARALLEL_STARTS }, work));
}

const isWanted = ({ state, host, manuallyStopped, restartCount }: ContainerRecord): boolean =>
  state.status === "exited" &&
  startsWithEngine(host.restartPolicy, {
    exitCode: state.exitCode,
    manuallyStopped,
    restartCount,
  });

/** Ids of the containers that have to run first. */
function needsOf({ host }: ContainerRecord): string[] {
  const joined = [host.networkMode, host.pidMode, host.ipcMode].flatMap((mode) =>
    mode.mode === "container" ? [mode.container] : [],
  );
  return [...joined, ...(host.links ?? []).map(({ container }) => container)];
}

/** Each after those it needs, so that whoever waits waits for one that has begun. */
function inOrder(records: readonly ContainerRecord[]): ContainerRecord[] {
  const byId = new Map(records.map((record) => [record.id, record]));
  const ordered = new Set<ContainerRecord>();
  const seen = new Set<string>();
  const visit = (record: ContainerRecord): void => {
    if (seen.has(record.id)) return;
    seen.add(record.id);
    for (const id of needsOf(record)) {
      const needed = byId.get(id);
      if (needed !== undefined) visit(needed);
    }
    ordered.add(record);
  };
  for (const record of records) visit(record);
  return [...ordered];
}

async function startOne(context: Context, id: string): Promise<void> {
  try {
    await liveOf(context, id).queue.run(async () => {
      if (context.records.get(id)?.state.status !== "exited") return;
      await startNow(context, id, { byPolicy: true });
    });
  } catch (cause) {
    context.log.warn(`could not start ${id} with the engine`, { error: sentenceOf(cause) });
  }
}
