/**
 * What an OCI runtime is given: a spec of paths only, and the trees that are attached at these paths in the mount
 * namespace that it runs in. The sources of binds are opened here as for the native driver, so that no link leads out of a volume,
 * images' layers can be shown, and ids are shifted for a container with a user namespace.
 *
 *   <scratch>/rootfs         the container's root
 *   <scratch>/mounts/<n>     the source of the spec's n-th mount
 *   <scratch>/devices/<n>    nodes for a container that may make none
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { OPEN_TREE_CLONE, openTree, parseMountOptions, shiftIds } from "#linux/mount";
import {
  closeFd,
  isType,
  mountFlags,
  O_NOFOLLOW,
  O_PATH,
  openPath,
  S_IFDIR,
  S_IFLNK,
  statFd,
} from "#linux/path";
import { parseResourceName, readResourceLimit } from "#linux/process";
import { hostCapabilities } from "#linux/security";
import type { MountSpec, ProcessSpec, ResourcesSpec, RuntimeSpec } from "#oci";

import type { BirthRequest, ProcessStdio } from "../driver.ts";
import { withIdentity } from "../identity.ts";
import { createDeviceMount } from "../native/device-folder.ts";
import { ownAdjustment } from "../native/borrow.ts";
import { giveStreams, type Shift } from "../native/user-namespaces.ts";
import { passageTo } from "../passage.ts";
import { openRoot, openSource } from "../trees.ts";
import type { MountChange } from "./launch.ts";
import { createError } from "./sentences.ts";

const INIT_PATH = "/sbin/docker-init";

export interface Bundle extends Disposable {
  /** How the runtime's `create` is to see mounts; the trees are closed by disposing. */
  readonly changes: readonly MountChange[];
  /** What attached sources are called where people know them, by their paths in the spec. */
  readonly names: ReadonlyMap<string, string>;
}

/** Opens what the container gets and writes `<scratch>/config.json`. @throws RuntimeError, EngineError, SyscallError */
export function openBundle(request: BirthRequest, shift: Shift | null): Bundle {
  const { scratch, spec } = request;
  const rootfs = join(scratch, "rootfs");
  using open = new DisposableStack();
  const keep = (fd: number): number => {
    open.defer(() => closeFd(fd));
    return fd;
  };
  mkdirSync(rootfs, { recursive: true });
  const root = keep(openRoot(request.root, shift));
  checkFolders(root);
  const process = processFor(withIdentity(spec.process, request.identity, root), request.stdio);
  giveAway(request.stdio, shift, process.user.uid);
  const changes: MountChange[] = shift === null ? [] : passage(scratch, keep);
  changes.push({ change: "attach", tree: root, path: rootfs });
  const sources = new Sources(request, { shift, changes, keep });
  const mounts = spec.mounts.map((mount, index) => sources.add(mount, index));
  const init = request.init === null ? [] : [sources.add(initMount(request.init), mounts.length)];
  const args = request.init === null ? process.args : [INIT_PATH, "--", ...process.args];
  const devices = shift === null ? null : deviceMounts(request, { shift, changes, keep });
  const linux = {
    ...spec.linux,
    ...(devices === null ? {} : { devices: [] }),
    resources: withoutEndlessQuota(spec.linux.resources),
  };
  const { domainname } = spec;
  // As Docker has it: runc learnt the specification's own field late. A remapped root may not write it.
  if (domainname !== undefined && shift === null) {
    linux.sysctl = { ...linux.sysctl, "kernel.domainname": domainname };
  }
  const document: RuntimeSpec = {
    ...spec,
    root: { ...spec.root, path: rootfs },
    process: { ...process, args: [...args] },
    mounts: [...mounts, ...init, ...(devices ?? [])],
    linux,
  };
  // It holds the container's environment, and the folder may be passed through.
  writeFileSync(join(scratch, "config.json"), JSON.stringify(document), { mode: 0o600 });
  const kept = open.move();
  return { changes, names: sources.names, [Symbol.dispose]: () => kept.dispose() };
}

/** A quota below zero is what a new cgroup has; crun cannot write it. */
function withoutEndlessQuota(resources: ResourcesSpec): ResourcesSpec {
  const { quota, ...cpu } = resources.cpu ?? {};
  return quota === undefined || quota >= 0 ? resources : { ...resources, cpu };
}

interface Places {
  readonly shift: Shift | null;
  readonly changes: MountChange[];
  /** Closes a descriptor with the bundle. */
  readonly keep: (fd: number) => number;
}

class Sources {
  readonly names = new Map<string, string>();
  readonly #request: BirthRequest;
  readonly #places: Places;

  constructor(request: BirthRequest, places: Places) {
    this.#request = request;
    this.#places = places;
  }

  /** The mount as the runtime is to make it: a bind's source is what was opened. */
  add(mount: MountSpec, index: number): MountSpec {
    const { subpath, lowers, shifted, ...plain } = mount;
    const { type = "bind", source = "", destination, options = [] } = mount;
    const { bind, recursiveBind } = parseMountOptions(type, options);
    if (!bind) return plain;
    const { shift, changes, keep } = this.#places;
    const identities = shifted === true ? (shift?.identities ?? null) : null;
    const lent = this.#request.openTrees?.get(index)?.descriptor;
    if (lent !== undefined && identities !== null) shiftIds(lent, identities);
    const recursive = recursiveBind;
    const tree =
      lent ?? keep(openSource({ source, lowers, subpath, destination, recursive, identities }));
    const isFolder =
      this.#request.openTrees?.get(index)?.directory ?? isType(statFd(tree).mode, S_IFDIR);
    const folder = join(this.#request.scratch, "mounts");
    const path = join(folder, String(index));
    mkdirSync(isFolder ? path : folder, { recursive: true });
    if (!isFolder) writeFileSync(path, "");
    changes.push({ change: "attach", tree, path });
    this.names.set(path, source);
    const kept = lent === undefined ? attributesOf(tree) : [];
    const own = isFolder ? options : options.map((option) => (option === "rro" ? "ro" : option));
    return { ...plain, type: "bind", source: path, options: [...kept, ...own] };
  }
}

/** A bind is confined as its source is; crun would take that away. */
function attributesOf(tree: number): string[] {
  const flags = mountFlags(tree);
  return ATTRIBUTES.flatMap(([flag, option]) => ((flags & flag) === 0 ? [] : [option]));
}

const ATTRIBUTES = [
  [1, "ro"],
  [2, "nosuid"],
  [4, "nodev"],
  [8, "noexec"],
] as const;

const initMount = (init: string): MountSpec => ({
  destination: INIT_PATH,
  type: "bind",
  source: init,
  options: ["bind", "ro"],
});

/** The way to the bundle, where the container's root has to find it. */
function passage(scratch: string, keep: Places["keep"]): MountChange[] {
  const way = passageTo(scratch);
  if (way === null) return [];
  const tree = keep(openTree({ path: scratch, flags: OPEN_TREE_CLONE }));
  return [
    { change: "open", ...way },
    { change: "attach", tree, path: scratch },
  ];
}

/**
 * Nodes that were asked for, as binds of nodes made here: a runtime would bind the host's own of the same name, which need
 * not be the one that was meant.
 */
function deviceMounts({ spec, scratch }: BirthRequest, places: Places): MountSpec[] {
  const { shift, changes, keep } = places;
  // Its own of /dev/pts, as the runtime makes it.
  const devices = spec.linux.devices.filter(({ path }) => path !== "/dev/ptmx");
  if (shift === null || devices.length === 0) return [];
  const folder = join(scratch, "devices");
  mkdirSync(folder);
  return devices.map((device, index) => {
    const source = join(folder, String(index));
    writeFileSync(source, "");
    const tree = keep(createDeviceMount(device, shift.maps));
    changes.push({ change: "attach", tree, path: source });
    return {
      destination: device.path,
      type: "bind",
      source,
      options: ["bind", "rprivate", "nosuid", "noexec"],
    };
  });
}

/**
 * runc makes the links of /dev (fd, stdin, ptmx) by path before it changes root: where an image's /dev is a link,
 * it makes them on the host.
 */
function checkFolders(root: number): void {
  let dev: number;
  try {
    dev = openPath("dev", O_PATH | O_NOFOLLOW, 0, root);
  } catch {
    return; // The runtime makes it.
  }
  const isLink = isType(statFd(dev).mode, S_IFLNK);
  closeFd(dev);
  if (!isLink) return;
  throw createError(
    'error mounting "tmpfs" to rootfs at "/dev": filesystem "tmpfs" must be mounted on ordinary directory',
  );
}

function giveAway(stdio: ProcessStdio, shift: Shift | null, user: number): void {
  if (shift === null || stdio.type !== "pipes") return;
  giveStreams([stdio.stdin, stdio.stdout, stdio.stderr], shift.maps, user);
}

/** A process, its user known, as the runtime gets it. */
export function processFor(process: ProcessSpec, stdio: ProcessStdio): ProcessSpec {
  const rlimits = process.rlimits?.map(clampToHost);
  // The runtime sets the size before the program runs; afterwards would be a race that programs see.
  const size =
    stdio.type === "terminal" && stdio.rows > 0 && stdio.columns > 0
      ? { consoleSize: { height: stdio.rows, width: stdio.columns } }
      : {};
  const oomScoreAdj = process.oomScoreAdj === undefined ? {} : adjustmentFor(process.oomScoreAdj);
  return { ...process, ...size, ...oomScoreAdj, ...(rlimits === undefined ? {} : { rlimits }) };
}

/** Below our own adjustment nobody goes without CAP_SYS_RESOURCE: it stays. */
function adjustmentFor(asked: number): Pick<ProcessSpec, "oomScoreAdj"> {
  const own = ownAdjustment();
  const mayLower = hostCapabilities().includes("CAP_SYS_RESOURCE");
  return { oomScoreAdj: asked < own && !mayLower ? own : asked };
}

type Rlimit = NonNullable<ProcessSpec["rlimits"]>[number];

/** Without CAP_SYS_RESOURCE a limit above our own hard limit cannot be set: it is clamped, not refused. */
function clampToHost(limit: Rlimit): Rlimit {
  const name = parseResourceName(limit.type);
  if (name === null) return limit;
  const { hard } = readResourceLimit(0, name);
  const highest = hard > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(hard);
  return { ...limit, soft: Math.min(limit.soft, highest), hard: Math.min(limit.hard, highest) };
}
