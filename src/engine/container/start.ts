/**
 * Starting a container. What outlives the process is written down before it is made: the container's own record is
 * there since create, the network room records addresses and ports before it answers, and snapshot, cgroup and
 * folder carry the container's id as their name. So a crash at any line leaves nothing that start-up cannot find.
 */
import { conflict, forbidden, invalid, kindOf, notModified } from "#base";
import { SIGKILL } from "#linux/process";
import type { Endpoint, NetworkAttachment, PortBinding } from "#engine/network";
import type { AnnouncedBirth, BirthMessage, ProcessReport } from "#engine/supervisor";

import { takeAnnounced } from "./announce.ts";
import { withLimits } from "./bandwidth.ts";
import { imagesOf } from "./checkpoint.ts";
import { compose, type Composed, expectBirth, processMessage, rootOf } from "./compose.ts";
import type { StartRequest } from "./container-service.ts";
import { type Context, endEarlyAttachments, inBackground, type Live, liveOf } from "./context.ts";
import { dnsOf } from "./dns.ts";
import { finishRun, writeOrNote } from "./exit.ts";
import { startError, startFailureOf } from "./failures.ts";
import { publishEvent, publishNetworkEvents, publishNetworksLeft } from "./happenings.ts";
import { resetHealth, watchHealth } from "./health-monitor.ts";
import { followLinked } from "./linked-hosts.ts";
import { writeEtcFiles } from "./prepare.ts";
import type { ContainerRecord } from "./records.ts";
import { deleteContainer } from "./remove.ts";
import { sendSignal } from "./signal.ts";
import { bearPatiently, prepareMounts } from "./sources.ts";
import { mountSharedMemory, unmountSharedMemory } from "./shared-memory.ts";
import { settleWaiters } from "./wait.ts";
import { networksOf, portsOf } from "./wishes.ts";

/** @throws EngineError "notModified" when it runs already */
export function startContainer(
  context: Context,
  nameOrId: string,
  { checkpoint, checkpointDirectory }: StartRequest = ORDINARY,
): Promise<void> {
  const { id } = context.records.resolve(nameOrId);
  return liveOf(context, id).queue.run(async () => {
    if (checkpointDirectory !== "") {
      checkStartable(context.records.must(id), liveOf(context, id));
      throw forbidden("custom checkpointdir is not supported");
    }
    await startNow(context, id, { byPolicy: false, checkpoint });
  });
}

const ORDINARY: StartRequest = { checkpoint: "", checkpointDirectory: "" };

/** As `startContainer`, for a caller that is in the container's queue already. */
export async function startNow(
  context: Context,
  id: string,
  { byPolicy, checkpoint = "" }: { byPolicy: boolean; checkpoint?: string },
): Promise<void> {
  const record = context.records.must(id);
  const live = liveOf(context, id);
  checkStartable(record, live);
  if (live.restartTimer !== null) clearTimeout(live.restartTimer);
  live.restartTimer = null;
  if (!byPolicy) live.restartDelayMs = null;
  const announced = checkpoint === "" ? takeAnnounced(context, record) : null;
  // The last run's address, ports and mounts are given back before new ones are asked for.
  await live.teardown.now();
  const starting = { exit: null, giveUp: null };
  live.starting = starting;
  try {
    await run(context, record, { byPolicy, announced, checkpoint });
  } catch (cause) {
    live.starting = null;
    throw await fail(context, id, cause);
  }
  live.starting = null;
  live.earlyAttachments.clear();
  // It was so quick that its end overtook the record of its start.
  if (starting.exit !== null) finishRun(context, starting.exit);
}

function checkStartable({ id, state }: ContainerRecord, live: Live): void {
  if (live.removing) throw conflict("container is marked for removal and cannot be started");
  switch (state.status) {
    case "created":
    case "exited":
    case "restarting":
      return;
    case "running":
      throw notModified(`container ${id} is already running`);
    case "paused":
      throw conflict("cannot start a paused container, try unpause instead");
    case "removing":
      throw conflict("container is marked for removal and cannot be started");
  }
}

async function run(
  context: Context,
  record: ContainerRecord,
  run: { byPolicy: boolean; announced: Composed | null; checkpoint: string },
): Promise<void> {
  const { id } = record;
  const { network } = context;
  const { byPolicy, announced, checkpoint } = run;
  const images = checkpoint === "" ? {} : { images: imagesOf(context, record, checkpoint) };
  const composed = announced ?? compose(context, record);
  if (announced === null) expectBirth(context, record, composed);
  const attached = await attachNetwork(context, record);
  const dns = dnsOf(context, record, attached.endpoints);
  writeEtcFiles(context, record, { endpoints: attached.endpoints, dns });
  followLinked(context, id);
  const place = {
    network: withDevices(attached.attachment, composed.netDevices),
    ...(dns === null ? {} : { dns }),
    ...images,
  };
  const whole = () => wholeBirth(context, record, composed, place);
  using birth = announced === null ? await whole() : null;
  // Whoever is attached already must not miss a byte. One that could not join has been told.
  await Promise.allSettled([...liveOf(context, id).earlyAttachments].map(({ joined }) => joined));
  // The ports lead to an address that nobody answers at until the birth: both may go on at once.
  const published = attached.ports.length > 0 ? network.publish(id, attached.ports) : null;
  published?.catch(() => undefined);
  const report = await (birth === null
    ? goOn(context, { type: "birth", id, spec: null, ...place }, whole)
    : birth.bear());
  try {
    await published;
    recordRunning(context, id, { report, ports: attached.ports, byPolicy });
  } catch (cause) {
    // No process may run that is on no record: a full disk, or a firewall that is not ours any more.
    await sendSignal(context, id, SIGKILL);
    throw cause;
  }
}

/** A birth with all that it needs, and the descriptors it lends until it is over. */
interface WholeBirth extends Disposable {
  bear(): Promise<ProcessReport>;
}

async function wholeBirth(
  context: Context,
  record: ContainerRecord,
  composed: Composed,
  place: Pick<BirthMessage, "network" | "dns" | "images">,
): Promise<WholeBirth> {
  mountSharedMemory(context, record);
  const lowers = context.snapshots.rootLowers(record.layers);
  const opened = await prepareMounts(context, record, { spec: composed.spec, lowers });
  try {
    const root = rootOf(context, record);
    const process = processMessage(context, record, { root, ...composed });
    const message: BirthMessage = { type: "birth", ...process, ...place };
    return {
      bear: () =>
        opened === null
          ? context.supervisor.request(message)
          : bearPatiently(context, { ...message, trees: opened.trees }),
      [Symbol.dispose]: () => opened?.[Symbol.dispose](),
    };
  } catch (thrown) {
    opened?.[Symbol.dispose]();
    throw thrown;
  }
}

/** The birth that was announced; from the beginning when the supervisor knows nothing of it, or cannot use it. */
async function goOn(
  { supervisor }: Context,
  rest: AnnouncedBirth,
  whole: () => Promise<WholeBirth>,
): Promise<ProcessReport> {
  try {
    return await supervisor.request(rest);
  } catch (cause) {
    if (kindOf(cause) !== "notFound") throw cause;
    using birth = await whole();
    return await birth.bear();
  }
}

/** @throws EngineError "invalid" where there is no namespace to move them to */
function withDevices(
  attachment: NetworkAttachment,
  devices: Composed["netDevices"],
): NetworkAttachment {
  if (devices.length === 0) return attachment;
  if (attachment.mode === "shared") {
    throw invalid("unable to move network devices without a NET namespace");
  }
  return { ...attachment, devices };
}

interface Attached {
  readonly attachment: NetworkAttachment;
  readonly endpoints: readonly Endpoint[];
  readonly ports: readonly PortBinding[];
}

async function attachNetwork(context: Context, record: ContainerRecord): Promise<Attached> {
  const { networkMode } = record.host;
  const nothing = { endpoints: [], ports: [] };
  switch (networkMode.mode) {
    case "host":
    case "container":
      return { attachment: { mode: "shared" }, ...nothing };
    case "none":
    case "network":
      // Also a container that has left its last network, or one without any that was connected to one.
      if (record.config.networkDisabled || networksOf(record).length === 0)
        return { attachment: { mode: "none" }, ...nothing };
      return await context.network.attach({
        containerId: record.id,
        containerName: record.name,
        hostname: record.config.hostname,
        networks: networksOf(record).map((one) => withLimits(record, one)),
        ports: portsOf(record),
      });
  }
}

/** One transaction: from here the container runs, whatever becomes of the daemon. */
export function recordRunning(
  context: Context,
  id: string,
  started: { report: ProcessReport; ports: readonly PortBinding[]; byPolicy: boolean },
): void {
  const { report, ports, byPolicy } = started;
  const before = context.records.must(id);
  const { pid, startTime, bootId, startedAt } = report;
  const last = before.state;
  const finishedAt =
    last.status === "exited" || last.status === "restarting" ? last.finishedAt : null;
  resetHealth(context, before);
  const change = {
    state: {
      status: "running",
      pid,
      startedAt,
      ...(finishedAt === null ? {} : { finishedAt }),
    },
    process: { pid, startTime, bootId },
    manuallyStopped: false,
    restartCount: byPolicy ? before.restartCount + 1 : 0,
    ports,
  } as const;
  const record = context.records.update(id, change, () => {
    publishNetworkEvents(context, before, "connect");
    publishEvent(context, before, "start");
  });
  watchHealth(context, record);
}

/** A start that came to nothing: everything is given back, the record says why. @returns what the caller is told */
async function fail(context: Context, id: string, cause: unknown): Promise<Error> {
  const failure = startFailureOf(cause);
  const record = context.records.get(id);
  if (record === undefined) return startError(failure, cause);
  unmountSharedMemory(context, record);
  publishNetworksLeft(context, record, networksOf(record));
  context.volumes.release(id);
  await giveBack(context, id);
  const { exitCode, sentence } = failure;
  const { state } = record;
  const { ended: failed } = writeOrNote(context, id, {
    state:
      state.status === "exited" || state.status === "restarting"
        ? { ...state, status: "exited", exitCode, error: sentence }
        : { status: "created", exitCode, error: sentence },
    process: null,
    ports: [],
  });
  const live = liveOf(context, id);
  endEarlyAttachments(live);
  // The sentence goes to whoever started it: the docker CLI would print one that comes with a wait a second time.
  const result = { exitCode, error: null };
  settleWaiters(context, id, "next-exit", result);
  if (failed.host.autoRemove) deleteContainer(context, failed, { volumes: true, result });
  return startError(failure, cause);
}

async function giveBack(context: Context, id: string): Promise<void> {
  try {
    await context.network.release(id);
    await context.supervisor.request({ type: "forget", key: { id } });
  } catch (cause) {
    // The start's own failure is the one to tell; start-up compares and repairs.
    inBackground(context, `give back what the failed start of ${id} took`, Promise.reject(cause));
  }
}
