/**
 * Between a create and the start that mostly follows, a client needs some milliseconds for itself. Meanwhile the
 * supervisor builds what the start will need and nobody can see: a child in its namespaces, with its file tree, that
 * waits for its network. One container at a time: whoever creates many and starts none pays for one.
 *
 * Nothing is promised by it. A record that changed, a start that comes late and a crash find the long way. What was
 * made for nothing is given back before anything else of the container is done, or after a moment.
 */
import { later, nothingLater, sentenceOf } from "#base";

import { compose, type Composed, processMessage, rootOf, runtimeOf } from "./compose.ts";
import { type Context, liveOf } from "./context.ts";
import { writeEtcFiles } from "./prepare.ts";
import type { ContainerRecord } from "./records.ts";
import { networksOf } from "./wishes.ts";

/** Longer than a client needs between the two, shorter than anybody waits before looking what a create left. */
const PATIENCE_MS = 2_000;

export interface Announced {
  /** As it was: another object is another version. */
  readonly record: ContainerRecord;
  readonly composed: Composed;
}

/** After the create was answered. */
export function announceSoon(context: Context, record: ContainerRecord): void {
  if (context.announced !== null || !dependsOnItself(context, record)) return;
  const { id } = record;
  const { queue } = liveOf(context, id);
  setImmediate(() => {
    void queue.run(() => {
      const isNew = context.records.get(id) === record;
      if (isNew && context.announced === null && !context.closing.aborted)
        announce(context, record);
      return Promise.resolve();
    });
  });
}

/** Whether its birth follows from its record alone, whatever happens on the host before the start. */
function dependsOnItself(context: Context, record: ContainerRecord): boolean {
  const { host, mounts } = record;
  const joins = [host.networkMode, host.pidMode, host.ipcMode, host.utsMode];
  return (
    // Another program makes everything by itself.
    runtimeOf(context, record) === "native" &&
    (context.options.userRemap === null || host.usernsMode === "host") &&
    mounts.length === 0 &&
    !host.privileged &&
    host.devices.length === 0 &&
    (host.deviceRequests?.length ?? 0) === 0 &&
    (host.links?.length ?? 0) === 0 &&
    host.resources.blockDevices === undefined &&
    host.ipcMode.mode !== "shareable" &&
    joins.every(({ mode }) => mode !== "container")
  );
}

function announce(context: Context, record: ContainerRecord): void {
  const { id } = record;
  try {
    const composed = compose(context, record);
    const root = rootOf(context, record);
    // Mounted now, and written again once the address is known.
    writeEtcFiles(context, record, { endpoints: [], dns: null });
    const message = processMessage(context, record, { root, ...composed });
    const link = record.config.networkDisabled
      ? null
      : context.network.expectedLink(networksOf(record));
    const announced = { record, composed };
    context.announced = announced;
    // Whoever wants anything of the container waits for this first, or takes it away.
    liveOf(context, id).teardown = later(PATIENCE_MS, () => giveBack(context, announced));
    const told = context.supervisor.request({ type: "announce", ...message, link });
    told.catch((cause: unknown) => notAhead(context, id, cause));
  } catch (cause) {
    notAhead(context, id, cause);
  }
}

/** The start meets it too, and tells whoever asked. */
function notAhead({ log }: Context, id: string, cause: unknown): void {
  log.debug(`container ${id} is not made ready ahead`, { error: sentenceOf(cause) });
}

/** For the start that came: what was composed for this very record; null: nothing was. */
export function takeAnnounced(context: Context, record: ContainerRecord): Composed | null {
  const { announced } = context;
  if (announced?.record !== record) return null;
  context.announced = null;
  liveOf(context, record.id).teardown = nothingLater;
  return announced.composed;
}

/** For a start that did not come. Never rejects. */
async function giveBack(context: Context, announced: Announced): Promise<void> {
  if (context.announced !== announced) return;
  context.announced = null;
  const { id } = announced.record;
  // A supervisor that died has nothing to give back.
  await context.supervisor.request({ type: "forget", key: { id } }).catch(() => undefined);
}

/** The engine ends: nobody will ask. */
export function dropAnnounced(context: Context): void {
  if (context.announced !== null) void giveBack(context, context.announced);
}
