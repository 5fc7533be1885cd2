/** What a container that runs has from outside: mounts of the host's files, and the streams that the supervisor holds. */
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";

import { SyscallError } from "#linux/ffi";
import {
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  type MountEntry,
  parseMountOptions,
  readMountInfo,
} from "#linux/mount";
import {
  FileDescriptor,
  isType,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  openInRoot,
  openPath,
  S_IFCHR,
  statFd,
} from "#linux/path";
import { listChildren } from "#linux/process";
import type { MountSpec, RuntimeSpec } from "#oci";

import { INIT_PATH } from "../native/birth-plan.ts";
import { type CheckpointRequest, RuntimeError } from "../driver.ts";
import type { Confined, Manifest, OutsideMount, OutsideStream } from "./manifest.ts";

/** File systems that a checkpoint can hold, or that are made anew. */
const OWN_TYPES: ReadonlySet<string> = new Set(["proc", "sysfs", "tmpfs", "devpts", "mqueue"]);
const CGROUP_TYPES: ReadonlySet<string> = new Set(["cgroup", "cgroup2"]);
/** A tree is walked this far: what is not seen is met, and told of, by criu. */
const PROCESS_LIMIT = 32_768;
const OLD = "the container was started by an earlier version of the engine: restart it first";

/** What is asked of a container's mounts. */
export interface MountFacts {
  /** The spec's binds, by the number of the mount that each has become. */
  readonly binds: ReadonlyMap<number, string>;
  /** Whether the null device lies there. */
  readonly isNull: (target: string) => boolean;
}

/** Pure: which mounts are the host's. */
export function outsideMounts(mounts: readonly MountEntry[], facts: MountFacts): OutsideMount[] {
  const byId = new Map(mounts.map((mount) => [mount.id, mount]));
  const found: OutsideMount[] = [];
  for (const mount of mounts) {
    if (mount.target === "/") continue;
    const source = sourceOf(mount, { mounts, byId, facts });
    if (source === null) continue;
    const { target, attributes } = confinedOf(mount);
    found.push({ key: `m${found.length}`, target, attributes, source });
  }
  return found;
}

/** Pure. */
export const confinedOf = ({ target, options }: MountEntry): Confined => ({
  target,
  attributes: ATTRIBUTES.reduce(
    (sum, [option, bit]) => (options.includes(option) ? sum | bit : sum),
    0,
  ),
});

const ATTRIBUTES = [
  ["ro", MOUNT_ATTR_RDONLY],
  ["nosuid", MOUNT_ATTR_NOSUID],
  ["nodev", MOUNT_ATTR_NODEV],
  ["noexec", MOUNT_ATTR_NOEXEC],
] as const;

interface Mounts {
  readonly mounts: readonly MountEntry[];
  readonly byId: ReadonlyMap<number, MountEntry>;
  readonly facts: MountFacts;
}

function sourceOf(mount: MountEntry, all: Mounts): OutsideMount["source"] | null {
  for (let above: MountEntry | undefined = mount; above !== undefined;) {
    const destination = all.facts.binds.get(above.id);
    if (destination !== undefined) {
      const below = mount.target.slice(above.target.length);
      return { kind: "bind", destination, below };
    }
    above = all.byId.get(above.parentId);
  }
  if (CGROUP_TYPES.has(mount.type)) {
    return { kind: "cgroup", hierarchy: mount.target.slice(mount.target.lastIndexOf("/") + 1) };
  }
  if (OWN_TYPES.has(mount.type) && isWholeInside(mount, all.mounts)) return null;
  // What is neither is told of by criu, in its own words.
  return all.facts.isNull(mount.target) ? { kind: "null" } : null;
}

/** Its whole file system is in the container, or what it shows a part of is. */
const isWholeInside = ({ device, root }: MountEntry, mounts: readonly MountEntry[]): boolean =>
  root === "/" ||
  mounts.some(
    (other) =>
      other.root === "/" &&
      other.device.major === device.major &&
      other.device.minor === device.minor,
  );

/** Everything that a checkpoint of it leaves out. @throws SyscallError when it has ended */
export function outsideOf({
  pid,
  spec,
  streams,
}: Pick<CheckpointRequest, "pid" | "spec" | "streams">): Manifest {
  const mounts = readMountInfo(pid);
  using root = new FileDescriptor(openPath(`/proc/${pid}/root`, O_PATH | O_DIRECTORY));
  const binds = new Map<number, string>();
  for (const { destination } of [...spec.mounts.filter(isOutside), { destination: INIT_PATH }]) {
    const id = mountAt(root.fd, destination);
    const isMount = mounts.some((mount) => mount.id === id && mount.target !== "/");
    if (id !== null && isMount) binds.set(id, destination);
  }
  const isNull = (target: string) => isNullAt(root.fd, target);
  const rootId = mounts.find(({ target }) => target === "/")?.id;
  return {
    version: 1,
    mounts: outsideMounts(mounts, { binds, isNull }),
    files: outsideFiles(pid, streams, new Set(mounts.map(({ id }) => id))),
    network: statSync(`/proc/${pid}/ns/net`).ino !== statSync("/proc/self/ns/net").ino,
    points: mounts.flatMap(({ parentId, target }) =>
      parentId === rootId && target !== "/" ? [target] : [],
    ),
    confined: mounts.map(confinedOf),
  };
}

/** A container's shared memory, though a bind, is memory of its own: it goes into the images. */
function isOutside({ type = "bind", destination, source, options = [] }: MountSpec): boolean {
  return (
    parseMountOptions(type, options).bind && (destination !== "/dev/shm" || source === "/dev/shm")
  );
}

function mountAt(rootFd: number, path: string): number | null {
  try {
    using file = new FileDescriptor(openInRoot({ rootFd, path, flags: O_PATH }));
    return Number(statFd(file.fd).mountId);
  } catch (thrown) {
    if (thrown instanceof SyscallError) return null;
    throw thrown;
  }
}

function isNullAt(rootFd: number, path: string): boolean {
  try {
    using file = new FileDescriptor(openInRoot({ rootFd, path, flags: O_PATH }));
    const { mode, rdevMajor, rdevMinor } = statFd(file.fd);
    return isType(mode, S_IFCHR) && rdevMajor === 1 && rdevMinor === 3;
  } catch (thrown) {
    if (thrown instanceof SyscallError) return false;
    throw thrown;
  }
}

/** What a process has open. */
interface OpenFile {
  readonly link: string;
  readonly mountId: number;
  readonly inode: number;
  /** By criu, with its own flags. */
  readonly reopens: boolean;
}

function outsideFiles(pid: number, streams: string, inside: ReadonlySet<number>) {
  const found = new Map<string, OutsideStream>();
  for (const process of treeOf(pid)) {
    for (const file of openFilesOf(process)) {
      if (inside.has(file.mountId)) continue;
      const stream = streamOf(file.link, streams);
      if (stream === null) continue;
      if (!file.reopens) throw new RuntimeError("failed", `criu failed: ${OLD}`);
      found.set(nameOf(file), stream);
    }
  }
  return [...found].map(([key, stream]) => ({ key, stream }));
}

/** Pure: criu's name for an open file that is given from outside. */
export const nameOf = ({ mountId, inode }: Pick<OpenFile, "mountId" | "inode">): string =>
  `file[${mountId.toString(16)}:${inode.toString(16)}]`;

/** Pure: which stream a path is; null for any other file. */
export function streamOf(link: string, streams: string): OutsideStream | null {
  if (link === "/dev/null") return "null";
  // Unlinked when its last writer has closed it.
  if (link === `${streams}/stdin (deleted)`) return "ended";
  const name = link.startsWith(`${streams}/`) ? link.slice(streams.length + 1) : "";
  return name === "stdin" || name === "stdout" || name === "stderr" ? name : null;
}

function treeOf(pid: number): number[] {
  const tree = [pid];
  for (let at = 0; at < tree.length && tree.length < PROCESS_LIMIT; at += 1) {
    for (const thread of namesIn(`/proc/${tree[at]}/task`)) {
      tree.push(...listChildren(tree[at] ?? 0, Number(thread)));
    }
  }
  return tree;
}

function openFilesOf(pid: number): OpenFile[] {
  return namesIn(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const link = readlinkSync(`/proc/${pid}/fd/${fd}`);
      if (!link.startsWith("/")) return [];
      const info = text(`/proc/${pid}/fdinfo/${fd}`);
      const [, mountId] = /^mnt_id:\s*(\d+)/m.exec(info) ?? [];
      const [, flags = "0"] = /^flags:\s*([0-7]+)/m.exec(info) ?? [];
      const { ino: inode } = statSync(`/proc/${pid}/fd/${fd}`);
      const reopens = (Number.parseInt(flags, 8) & O_NOFOLLOW) === 0;
      return [{ link, mountId: Number(mountId), inode, reopens }];
    } catch {
      return []; // closed meanwhile
    }
  });
}

const text = (path: string): string => readFileSync(path, "utf8");

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // it has ended
  }
}

/** What this engine cannot write down, in a sentence; null: nothing. */
export function refusalOf({ process, linux }: RuntimeSpec): string | null {
  const joins = (wanted: string) =>
    linux.namespaces.some(({ type, path }) => type === wanted && path !== undefined);
  const has = (wanted: string) => linux.namespaces.some(({ type }) => type === wanted);
  if (process.terminal) return "external terminals are not supported";
  if (has("user")) return "user namespaces are not supported";
  if (joins("pid") || !has("pid")) return "containers without a PID namespace are not supported";
  if (joins("ipc")) return "the IPC namespace of another container is not supported";
  return null;
}
