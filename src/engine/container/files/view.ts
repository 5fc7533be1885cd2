/**
 * A container's files behind one descriptor of its root: of a running one as its processes see them, of a stopped one
 * through an overlay that is attached nowhere, with its volumes mounted on it. Closing the descriptors takes
 * everything away again, whatever happens.
 *
 * While a stopped container's view is open its queue is held: a start or a removal waits, since two overlays must
 * never write to one upper directory.
 */
import { existsSync } from "node:fs";

import { conflict, unavailable } from "#base";
import { type IdMaps, readIdMaps } from "#engine/runtime";
import { SyscallError } from "#linux/ffi";
import {
  createDetachedOverlay,
  createDetachedView,
  MOUNT_ATTR_RDONLY,
  mountSetattr,
  moveMount,
  OPEN_TREE_CLONE,
  openTreeBelow,
} from "#linux/mount";
import {
  AT_RECURSIVE,
  FileDescriptor,
  makeDirectoriesInRoot,
  O_DIRECTORY,
  O_PATH,
  openInRoot,
  openPath,
} from "#linux/path";
import { readStartTime } from "#linux/process";

import { type Context, liveOf } from "../context.ts";
import type { ResolvedMount } from "../mounts.ts";
import { etcPaths } from "../prepare.ts";
import { volumeMounts } from "../volumes.ts";
import type { ContainerRecord } from "../records.ts";
import type { Patience } from "./stall.ts";
import { snapshotOf } from "../storage.ts";

export interface FilesView extends Disposable, Patience {
  readonly record: ContainerRecord;
  /** The container's root, O_PATH. */
  readonly rootFd: number;
  /** What its ids are on the host, where descriptors show those: in a running container with a user namespace. */
  readonly maps: IdMaps | null;
}

/** @throws EngineError "notFound" for no such container */
export function openFiles(context: Context, nameOrId: string): Promise<FilesView> {
  const asked = context.records.resolve(nameOrId);
  const live = isLive(asked) ? liveView(asked) : null;
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
function liveView(record: ContainerRecord): FilesView | null {
  const { process } = record;
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
  if (readStartTime(process.pid) !== process.startTime) {
    root[Symbol.dispose]();
    return null;
  }
  try {
    const maps = readIdMaps(process.pid);
    return {
      record,
      rootFd: root.fd,
      maps,
      isAwaited: () => false,
      [Symbol.dispose]: () => root[Symbol.dispose](),
    };
  } catch {
    // It ended just now: what it leaves is seen as what it was.
    root[Symbol.dispose]();
    return null;
  }
}

async function heldView(context: Context, id: string): Promise<FilesView> {
  const opened = Promise.withResolvers<FilesView>();
  const released = Promise.withResolvers<void>();
  const { queue, teardown } = liveOf(context, id);
  const holding = queue.run(async () => {
    await teardown.now();
    const record = context.records.must(id);
    const live = isLive(record) ? liveView(record) : null;
    if (live !== null) return opened.resolve(live);
    if (isLive(record)) throw conflict(`container ${id} is ending`);
    const mounts = volumeMounts(record);
    try {
      // As a start does: a volume that is new gets what the image has there before anything is copied into it.
      if (mounts.length > 0) {
        const lowers = context.snapshots.lowers(record.layers);
        await context.volumes.acquire({ containerId: id, mounts, lowers });
      }
      using root = stillRoot(context, record);
      opened.resolve({
        record,
        rootFd: root.fd,
        maps: null,
        isAwaited: () => queue.isAwaited,
        [Symbol.dispose]: () => released.resolve(),
      });
      await released.promise;
    } finally {
      if (mounts.length > 0) context.volumes.release(id);
    }
  });
  holding.catch((error: unknown) => opened.reject(error));
  return await opened.promise;
}

function stillRoot(context: Context, record: ContainerRecord): FileDescriptor {
  const { layers, host } = record;
  const { upper, work } = snapshotOf(context, record);
  const lowers = context.snapshots.lowers(layers);
  const root = new FileDescriptor(createDetachedOverlay({ lowers, upper, work }));
  try {
    for (const mount of mountsOf(context, record)) attach(root.fd, mount);
    if (host.readOnlyRoot) mountSetattr({ fd: root.fd, set: MOUNT_ATTR_RDONLY });
    return root;
  } catch (error) {
    root[Symbol.dispose]();
    throw error;
  }
}

interface StillMount {
  readonly source: string;
  /** Shown as one tree instead of the source. */
  readonly lowers?: readonly string[];
  /** Only this part of it, as whoever writes to it left it. */
  readonly subpath?: string;
  readonly target: string;
  readonly readOnly: boolean;
  readonly recursive: boolean;
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
  return [...etcMounts, ...record.mounts.flatMap((mount) => stillMount(context, mount))].filter(
    ({ source }) => existsSync(source),
  );
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

function attach(rootFd: number, mount: StillMount): void {
  const { source, lowers, subpath, target, readOnly, recursive } = mount;
  const flags = OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0);
  using tree = new FileDescriptor(
    lowers === undefined
      ? openTreeBelow({ path: source, subpath, flags })
      : createDetachedView({ lowers, subpath }),
  );
  if (readOnly) mountSetattr({ fd: tree.fd, set: MOUNT_ATTR_RDONLY, recursive });
  const at = targetFd(rootFd, target, source);
  if (at === null) return;
  using place = new FileDescriptor(at);
  try {
    moveMount({ fromFd: tree.fd, toFd: place.fd });
  } catch (error) {
    if (!(error instanceof SyscallError) || error.code !== "EINVAL") throw error;
    throw unavailable(
      "the files of a stopped container that has volumes can be reached from Linux 6.15 on: start it first",
      { cause: error },
    );
  }
}

/** The mount point inside the root; null where it cannot be: a start would fail over it, a copy goes without. */
function targetFd(rootFd: number, target: string, source: string): number | null {
  try {
    return openInRoot({ rootFd, path: target, flags: O_PATH });
  } catch (error) {
    if (!(error instanceof SyscallError) || error.code !== "ENOENT") throw error;
    if (!isDirectory(source)) return null;
    return makeDirectoriesInRoot({ rootFd, path: target });
  }
}

function isDirectory(path: string): boolean {
  try {
    using opened = new FileDescriptor(openPath(path, O_PATH | O_DIRECTORY));
    return opened.fd >= 0;
  } catch {
    return false;
  }
}
