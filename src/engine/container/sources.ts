/**
 * What is bound into a starting container. Folders of ordinary file systems are looked at here; one that a hung FUSE
 * server or a network server which is gone may keep waiting for ever is opened by an errand, whose descriptors the
 * supervisor takes over: neither of the two processes on which everybody else depends asks such a file system anything.
 */
import { existsSync, mkdirSync, realpathSync } from "node:fs";

import { conflict, invalid, unavailable } from "#base";
import type { BirthMessage, ProcessReport } from "#engine/supervisor";
import { leadsToStalling, readMountInfo, stallingTargets } from "#linux/mount";
import { SIGKILL } from "#linux/process";
import type { MountSpec, RuntimeSpec } from "#oci";

import type { MountRequest } from "./config.ts";
import { type Context, liveOf } from "./context.ts";
import { sendErrand, type Source } from "./errand.ts";
import type { ContainerRecord } from "./records.ts";
import { sendSignal } from "./signal.ts";
import { volumeMounts } from "./volumes.ts";

/** As long as a birth may take that a file system can keep waiting. */
const BIRTH_LIMIT_MS = 60_000;

type Bind = Extract<MountRequest, { type: "bind" }>;

/** Opened mounts on their way to the supervisor; disposing lets go of them. The birth that gets them may stall, too. */
export interface OpenSources extends Disposable {
  readonly trees: NonNullable<BirthMessage["trees"]>;
}

/**
 * Volumes ready, bind sources there.
 * @returns what had to be opened aside; null for nearly every container
 * @throws EngineError, "unavailable" for a file system that does not answer
 */
export async function prepareMounts(
  context: Context,
  record: ContainerRecord,
  { spec, lowers }: { spec: RuntimeSpec; lowers: readonly string[] },
): Promise<OpenSources | null> {
  const volumes = volumeMounts(record);
  const binds = record.mounts.filter((mount) => mount.type === "bind");
  if (volumes.length === 0 && binds.length === 0) return null;
  const stalling = stallingTargets();
  const aside: Bind[] = [];
  for (const bind of binds) {
    if (mayStall(context, bind.source, stalling)) aside.push(bind);
    else ensureSource(bind);
  }
  if (volumes.length > 0) {
    await whileCancellable(context, record.id, (signal) =>
      context.volumes.acquire({ containerId: record.id, mounts: volumes, lowers, signal }),
    );
  }
  // What a volume's options have just mounted may be another one.
  const now = volumes.length === 0 ? stalling : stallingTargets();
  if (now.length === 0) return null;
  return await openAside(context, { record, spec, aside, stalling: now });
}

/** Whether a person's bind source may be looked at in this process. */
export const mayStall = (
  { filesCommand }: Pick<Context, "filesCommand">,
  source: string,
  stalling: readonly string[] = stallingTargets(),
): boolean => filesCommand !== undefined && leadsToStalling(source, stalling);

async function openAside(
  context: Context,
  request: {
    readonly record: ContainerRecord;
    readonly spec: RuntimeSpec;
    readonly aside: readonly Bind[];
    readonly stalling: readonly string[];
  },
): Promise<OpenSources | null> {
  const { record, spec, aside, stalling } = request;
  const places = spec.mounts.flatMap((mount, index) =>
    isStalling(context, mount, stalling) ? [index] : [],
  );
  if (places.length === 0) return null;
  const sources = places.map((index): Source => {
    const { source = "", subpath, options = [] } = spec.mounts[index] ?? { destination: "" };
    const create = aside.some((bind) => bind.source === source && bind.createSource);
    const below = subpath === undefined ? {} : { subpath };
    return { path: source, ...below, recursive: options.includes("rbind"), create };
  });
  const opened = await whileCancellable(context, record.id, (signal) =>
    sendErrand<"open">({
      command: [...(context.filesCommand?.() ?? []), "errand"],
      task: { errand: "open", sources },
      what: `error mounting ${sources.map(({ path }) => `"${path}"`).join(", ")} to rootfs`,
      signal,
    }),
  );
  const trees = opened.answer.map(({ descriptor, directory }, at) => ({
    mount: places[at] ?? 0,
    descriptor,
    directory,
  }));
  try {
    for (const bind of aside) {
      const at = sources.findIndex(({ path }) => path === bind.source);
      checkPropagation(bind, opened.answer[at]?.realPath ?? bind.source);
    }
  } catch (cause) {
    opened[Symbol.dispose]();
    throw cause;
  }
  const { pid, startTime } = opened;
  return { trees: { pid, startTime, trees }, [Symbol.dispose]: () => opened[Symbol.dispose]() };
}

const isStalling = (
  context: Context,
  { type = "bind", source = "", lowers }: MountSpec,
  stalling: readonly string[],
): boolean =>
  type === "bind" &&
  lowers === undefined &&
  (mayStall(context, source, stalling) || holdsStalling(context, source, stalling));

/** Whether one of these mounts is below the source, so that a mount's target may be in it. */
function holdsStalling(
  { filesCommand }: Pick<Context, "filesCommand">,
  source: string,
  stalling: readonly string[],
): boolean {
  if (filesCommand === undefined || !existsSync(source)) return false;
  const real = realpathSync(source);
  return stalling.some((target) => target.startsWith(real === "/" ? real : `${real}/`));
}

/**
 * The birth of a container with such sources: a mount below one may have to wait inside it, and ends as the waiting for the
 * sources does. @throws EngineError
 */
export async function bearPatiently(
  context: Context,
  message: BirthMessage,
): Promise<ProcessReport> {
  const { id, spec } = message;
  return await whileCancellable(context, id, async (signal) => {
    // Hooks have limits of their own.
    const late = spec.hooks === undefined ? AbortSignal.timeout(BIRTH_LIMIT_MS) : signal;
    const end = AbortSignal.any([signal, late]);
    const abandon = () =>
      void context.supervisor.request({ type: "abandon", id }).catch(() => undefined);
    end.addEventListener("abort", abandon, { once: true });
    const reason = () =>
      signal.aborted
        ? (signal.reason as Error)
        : unavailable(`error mounting to rootfs of ${id}: the file system does not answer`);
    try {
      const report = await context.supervisor.request({ ...message, mayStall: true });
      if (!end.aborted) return report;
      // It was born in the same moment.
      await sendSignal(context, id, SIGKILL);
    } catch (cause) {
      if (!end.aborted) throw cause;
    } finally {
      end.removeEventListener("abort", abandon);
    }
    throw reason();
  });
}

/** A start that waits for a file system ends when somebody stops, kills or removes its container. */
async function whileCancellable<T>(
  context: Context,
  id: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { starting } = liveOf(context, id);
  const cancelled = new AbortController();
  if (starting !== null) {
    starting.giveUp = () => cancelled.abort(conflict(`the start of container ${id} was given up`));
  }
  try {
    return await work(cancelled.signal);
  } finally {
    if (starting !== null) starting.giveUp = null;
  }
}

/** Ends a start that waits for a file system. @returns false when none does */
export function giveUpStart(context: Context, id: string): boolean {
  const giveUp = context.lives.get(id)?.starting?.giveUp ?? null;
  giveUp?.();
  return giveUp !== null;
}

function ensureSource(mount: Bind): void {
  if (existsSync(mount.source)) {
    checkPropagation(mount, null);
    return;
  }
  if (!mount.createSource) {
    throw invalid(
      `invalid mount config for type "bind": bind source path does not exist: ${mount.source}`,
    );
  }
  mkdirSync(mount.source, { recursive: true, mode: 0o755 });
}

/**
 * Mounts can only come and go between host and container where the host's mount passes them on.
 * @param path where the source leads to; null: it may be asked
 */
function checkPropagation({ source, propagation }: Bind, path: string | null): void {
  const shared = propagation === "shared" || propagation === "rshared";
  if (!shared && propagation !== "slave" && propagation !== "rslave") return;
  const real = path ?? realpathSync(source);
  const below = (target: string) => target === "/" || `${real}/`.startsWith(`${target}/`);
  // The last of the longest is the one on top.
  const mount = readMountInfo()
    .filter(({ target }) => below(target))
    .reduce((best, next) => (next.target.length >= best.target.length ? next : best));
  const has = (tag: string) => mount.tags.some((each) => each.startsWith(tag));
  if (has("shared:") || (!shared && has("master:"))) return;
  throw invalid(
    `path ${source} is mounted on ${mount.target} but it is not a ${shared ? "shared" : "shared or slave"} mount`,
  );
}
