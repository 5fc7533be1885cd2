/**
 * A container's files behind one descriptor of its root: of a running one as its processes see them, of a stopped one
 * through an overlay that is attached nowhere, with its volumes mounted on it. Closing the descriptors takes
 * everything away again, whatever happens.
 *
 * While a stopped container's view is open its queue is held: a start or a removal waits, since two overlays must
 * never write to one upper directory. Either goes before the copies that wait for each other.
 */
import { conflict } from "#base";
import { type IdMaps, readIdMaps } from "#engine/runtime";
import { SyscallError } from "#linux/ffi";
import { anyMayStall, readMountInfo } from "#linux/mount";
import { FileDescriptor, O_DIRECTORY, O_PATH, openPath } from "#linux/path";
import { readStartTime } from "#linux/process";

import { type Context, liveOf } from "../context.ts";
import type { ResolvedMount } from "../mounts.ts";
import { etcPaths } from "../prepare.ts";
import type { ContainerRecord } from "../records.ts";
import { snapshotOf } from "../storage.ts";
import { volumeMounts } from "../volumes.ts";
import { type Aside, pathsMayStall } from "./aside.ts";
import { COPY_PATIENCE_MS, LIFE_PATIENCE_MS, type Patience } from "./stall.ts";
import { openStillRoot, type StillMount, type StillRoot } from "./still-root.ts";

/** What is needed to read and write them, in whichever process. */
export interface Files extends Patience {
  readonly record: { readonly name: string; readonly config: { readonly user: string } };
  /** The container's root, O_PATH. */
  readonly rootFd: number;
  /** What its ids are on the host, where descriptors show those: in a running container with a user namespace. */
  readonly maps: IdMaps | null;
}

export interface FilesView extends Files, Disposable {
  readonly record: ContainerRecord;
  /** Set where a file system might not answer: then nobody touches `rootFd` in this process. */
  readonly aside: Aside | null;
}

/** @throws EngineError "notFound" for no such container */
export function openFiles(context: Context, nameOrId: string): Promise<FilesView> {
  const asked = context.records.resolve(nameOrId);
  const live = isLive(asked) ? liveView(context, asked) : null;
  return live === null ? heldView(context, asked.id) : Promise.resolve(live);
}

/** Runs `work` while no start, stop of a start, or removal of a stopped container can happen. */
export async function whileStill<T>(
  context: Context,
  id: string,
  work: (record: ContainerRecord) => Promise<T>,
): Promise<T> {
  const { queue } = liveOf(context, id);
  const record = context.records.must(id);
  if (isLive(record)) return await work(record);
  return await queue.run(() => work(context.records.must(id)));
}

const isLive = ({ state }: ContainerRecord): boolean =>
  state.status === "running" || state.status === "paused";

/** null when the process has just ended. */
function liveView(context: Context, record: ContainerRecord): FilesView | null {
  const { process } = record;
  const root = openLiveRoot(record);
  if (process === null || root === null) return null;
  try {
    const maps = readIdMaps(process.pid);
    const mayStall = anyMayStall(readMountInfo(process.pid));
    return {
      record,
      rootFd: root.fd,
      maps,
      aside: mayStall ? asideOf(context, { record, maps, rootFd: root.fd, still: null }) : null,
      patienceMs: () => null,
      [Symbol.dispose]: () => root[Symbol.dispose](),
    };
  } catch {
    // It ended just now: what it leaves is seen as what it was.
    root[Symbol.dispose]();
    return null;
  }
}

/** The root of a container that runs, O_PATH; null when its process has just ended. */
export function openLiveRoot({ process }: Pick<ContainerRecord, "process">): FileDescriptor | null {
  if (process === null) return null;
  let fd: number;
  try {
    fd = openPath(`/proc/${process.pid}/root`, O_PATH | O_DIRECTORY);
  } catch (error) {
    if (error instanceof SyscallError && ["ENOENT", "ESRCH"].includes(error.code)) return null;
    throw error;
  }
  const root = new FileDescriptor(fd);
  // A pid is reused; its start time tells whether it still was the container's when the descriptor was taken.
  if (readStartTime(process.pid) === process.startTime) return root;
  root[Symbol.dispose]();
  return null;
}

/** The same files by a process of their own, where one can be started: for what would keep everybody waiting here. */
export const bulkAside = (context: Context, view: FilesView): Aside | null =>
  asideOf(context, { record: view.record, maps: view.maps, rootFd: view.rootFd, still: null });

/** null where no process for it can be started: then it is done here. */
function asideOf(
  { filesCommand }: Pick<Context, "filesCommand">,
  of: {
    readonly record: ContainerRecord;
    readonly maps: IdMaps | null;
    readonly rootFd: number | null;
    readonly still: StillRoot | null;
  },
): Aside | null {
  if (filesCommand === undefined) return null;
  const { record, maps, rootFd, still } = of;
  const about = { name: record.name, user: record.config.user, maps, still };
  return { command: filesCommand(), rootFd, about };
}

async function heldView(context: Context, id: string): Promise<FilesView> {
  const opened = Promise.withResolvers<FilesView>();
  const released = Promise.withResolvers<void>();
  const { queue, teardown } = liveOf(context, id);
  const holding = queue.runWhenIdle(async () => {
    await teardown.now();
    const record = context.records.must(id);
    const live = isLive(record) ? liveView(context, record) : null;
    if (live !== null) return opened.resolve(live);
    if (isLive(record)) throw conflict(`container ${id} is ending`);
    const mounts = volumeMounts(record);
    try {
      // As a start does: a volume that is new gets what the image has there before anything is copied into it.
      if (mounts.length > 0) {
        const lowers = context.snapshots.rootLowers(record.layers);
        await context.volumes.acquire({ containerId: id, mounts, lowers });
      }
      const still = describeRoot(context, record);
      const mayStall = pathsMayStall(still.mounts.map(({ source }) => source));
      const aside = mayStall ? asideOf(context, { record, maps: null, rootFd: null, still }) : null;
      const root = aside === null ? openStillRoot(still) : null;
      opened.resolve({
        record,
        rootFd: root?.fd ?? -1,
        maps: null,
        aside,
        patienceMs: () => {
          if (queue.isAwaited) return LIFE_PATIENCE_MS;
          return queue.isAwaitedPatiently ? COPY_PATIENCE_MS : null;
        },
        [Symbol.dispose]: () => released.resolve(),
      });
      await released.promise;
      await root?.closeApart();
    } finally {
      if (mounts.length > 0) context.volumes.release(id);
    }
  });
  holding.catch((error: unknown) => opened.reject(error));
  return await opened.promise;
}

function describeRoot(context: Context, record: ContainerRecord): StillRoot {
  const { layers, host } = record;
  const { upper, work } = snapshotOf(context, record);
  const lowers = context.snapshots.rootLowers(layers);
  const mounts = mountsOf(context, record);
  return { lowers, upper, work, mounts, readOnly: host.readOnlyRoot };
}

/** What a start would mount and a stopped container still has: not its tmpfs, which ended with it. */
function mountsOf(context: Context, record: ContainerRecord): StillMount[] {
  const etc = etcPaths(context, record);
  const own = { hosts: etc.hosts, hostname: etc.hostname, "resolv.conf": etc.resolv };
  const etcMounts = Object.entries(own).map(([name, source]) => ({
    source,
    target: `/etc/${name}`,
    readOnly: false,
    recursive: false,
  }));
  return [...etcMounts, ...record.mounts.flatMap((mount) => stillMount(context, mount))];
}

function stillMount(context: Context, mount: ResolvedMount): StillMount[] {
  switch (mount.type) {
    case "tmpfs":
      return [];
    case "image": {
      const { target, subpath } = mount;
      const lowers = context.snapshots.lowers(mount.layers);
      const below = subpath === undefined ? {} : { subpath };
      const [source = ""] = lowers;
      return [{ source, lowers, ...below, target, readOnly: true, recursive: false }];
    }
    case "bind": {
      const { source, target, readOnly, recursive } = mount;
      return [{ source, target, readOnly, recursive }];
    }
    case "volume": {
      const source = context.volumes.path(mount.name);
      const { target, readOnly, subpath } = mount;
      const below = subpath === undefined ? {} : { subpath };
      return [{ source, ...below, target, readOnly, recursive: false }];
    }
  }
}
