/**
 * A container from a checkpoint's files: criu makes its processes anew, in the cgroup, with the network, over the file
 * tree and with the streams that the engine makes as for any birth.
 *
 *   <scratch>/rootfs        the container's root, in criu's own mount namespace: gone with it, whatever becomes of us
 *   <scratch>/mounts/<n>    what is bound into it
 *   <scratch>/criu/         its log, and the number of the first process
 *
 * criu lives in the container's cgroup and cgroup namespace, so what it makes does, and whoever kills the cgroup ends
 * a half-made container. The first process becomes the supervisor's child when criu has ended: a subreaper's.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { sentenceOf } from "#base";
import type { CgroupHost } from "#linux/cgroup";
import { checked, cstring, SyscallError } from "#linux/ffi";
import {
  MOUNT_ATTR_RDONLY,
  mountSetattr,
  OPEN_TREE_CLONE,
  openTree,
  parseMountOptions,
} from "#linux/mount";
import { newNetworkNamespace, openNamespace } from "#linux/namespace";
import {
  AT_FDCWD,
  closeFd,
  isType,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  openPath,
  openWithoutLinks,
  S_IFDIR,
  S_IFIFO,
  statFd,
} from "#linux/path";
import { pidfdOpen } from "#linux/process";
import type { MountSpec } from "#oci";

import { type Born, type RestoreRequest, RuntimeError } from "../driver.ts";
import { withIdentity } from "../identity.ts";
import { INIT_PATH } from "../native/birth-plan.ts";
import { giveAdjustment } from "../native/child.ts";
import type { ExpectedPlaces, Place } from "../native/expected.ts";
import type { Trampoline } from "../native/trampoline.ts";
import { launch, type LaunchPlace, type MountChange } from "../oci/launch.ts";
import { openRoot, openSource } from "../trees.ts";
import {
  type Manifest,
  NETWORK_KEY,
  type OutsideMount,
  type OutsideStream,
  readManifest,
} from "./manifest.ts";
import { forgetPipeData } from "./pipe-data.ts";
import { criuEnvironment, criuError, findCriu } from "./program.ts";

const LOG = "restore.log";

export interface RestoreHost {
  readonly trampoline: Trampoline;
  readonly cgroups: CgroupHost;
  readonly expected: ExpectedPlaces;
}

/** What criu is given, and the descriptors behind it. */
interface Given {
  readonly keep: (fd: number) => number;
  readonly changes: MountChange[];
  readonly outside: string[];
  readonly inherited: { readonly fd: number; readonly key: string }[];
}

/** @throws RuntimeError; nothing is left then but what `release` removes */
export async function restore(host: RestoreHost, request: RestoreRequest): Promise<Born> {
  const { cgroupsPath, resources } = request.spec.linux;
  let place: Place | null = null;
  try {
    place = host.expected.take({ id: request.id, cgroupsPath, resources });
    return await restoreInside(host, request, place);
  } catch (cause) {
    place?.cgroup.sendKill();
    place?.cgroup.tryRemove();
    const sentence = `OCI runtime restore failed: ${sentenceOf(cause)}: unknown`;
    throw new RuntimeError("failed", sentence, { cause });
  } finally {
    place?.join[Symbol.dispose]();
  }
}

async function restoreInside(
  host: RestoreHost,
  request: RestoreRequest,
  place: Place,
): Promise<Born> {
  const program = findCriu();
  const { images, scratch, signal = null } = request;
  const manifest = readManifest(images);
  forgetPipeData(images, manifest);
  using open = new DisposableStack();
  const keep = (fd: number): number => {
    open.defer(() => closeFd(fd));
    return fd;
  };
  const given: Given = { keep, changes: [], outside: [], inherited: [] };
  const rootfs = join(scratch, "rootfs");
  const folder = join(scratch, "criu");
  mkdirSync(rootfs, { recursive: true });
  mkdirSync(folder, { recursive: true });
  const root = keep(openRoot(request.root, null));
  checkPoints(root, manifest);
  given.changes.push({ change: "attach", tree: root, path: rootfs });
  const trees = new Map<string, string>();
  for (const mount of manifest.mounts) {
    given.outside.push(`mnt[${mount.key}]:${sourceOf(host, request, { mount, given, trees })}`);
  }
  giveStreams(request, { manifest, root, given });
  const network = manifest.network ? giveNetwork(request, given) : null;
  const nothing = keep(openPath("/dev/null", O_RDWR));
  const exitCode = await launch({
    trampoline: host.trampoline,
    words: [program, ...restoreArguments({ images, folder, rootfs, ...given })],
    environment: criuEnvironment(),
    folder,
    streams: [nothing, nothing, nothing],
    changes: given.changes,
    look: () => undefined,
    signal,
    place: placeOf({ request, place, given, network }),
  });
  if (exitCode !== 0) throw criuError(join(folder, LOG), exitCode);
  return bornOf(join(folder, "pid"));
}

/** Pure. */
export function restoreArguments(request: {
  readonly images: string;
  readonly folder: string;
  readonly rootfs: string;
  readonly outside: readonly string[];
  readonly inherited: Given["inherited"];
}): string[] {
  const { images, folder, rootfs, outside, inherited } = request;
  return [
    "restore",
    "--no-default-config",
    `--images-dir=${images}`,
    `--work-dir=${folder}`,
    `--log-file=${LOG}`,
    "-v2",
    `--root=${rootfs}`,
    "--restore-detached",
    `--pidfile=${join(folder, "pid")}`,
    "--manage-cgroups=ignore",
    "--file-locks",
    "--evasive-devices",
    ...outside.map((name) => `--external=${name}`),
    ...inherited.map(({ fd, key }) => `--inherit-fd=fd[${fd}]:${key}`),
  ];
}

/** criu mounts by path: one that became a link since would lead it elsewhere. @throws RuntimeError */
function checkPoints(rootFd: number, { points }: Manifest): void {
  for (const path of points) {
    try {
      closeFd(openWithoutLinks({ rootFd, path, flags: O_PATH }));
    } catch (cause) {
      if (!(cause instanceof SyscallError)) throw cause;
      const why = cause.code === "ELOOP" ? "a link" : "gone";
      throw new RuntimeError("failed", `criu failed: the mount point ${path} is ${why} by now`, {
        cause,
      });
    }
  }
}

/** The path at which criu finds what it binds. */
function sourceOf(
  { cgroups }: RestoreHost,
  request: RestoreRequest,
  { mount, given, trees }: { mount: OutsideMount; given: Given; trees: Map<string, string> },
): string {
  const { source, target } = mount;
  switch (source.kind) {
    case "null":
      return "/dev/null";
    case "cgroup": {
      const wanted = cgroups.hierarchies.find(({ name }) => name === source.hierarchy);
      const hierarchy = wanted ?? cgroups.hierarchies.find(({ version }) => version === 2);
      return join(hierarchy?.mountPoint ?? "/sys/fs/cgroup", request.spec.linux.cgroupsPath);
    }
    case "bind": {
      const tree = trees.get(source.destination) ?? attachBind(request, source.destination, given);
      trees.set(source.destination, tree);
      if (source.below.split("/").includes("..")) throw noSource(target);
      return `${tree}${source.below}`;
    }
  }
}

const noSource = (target: string): RuntimeError =>
  new RuntimeError("failed", `criu failed: nothing is bound at ${target} any more`);

/** Attaches what is bound at a destination, opened as for a birth. @returns where */
function attachBind(request: RestoreRequest, destination: string, given: Given): string {
  const { spec, scratch } = request;
  const index = spec.mounts.findIndex((mount) => mount.destination === destination);
  const mount = spec.mounts[index];
  const fd = mount === undefined ? openInit(request, destination) : openBind(request, mount, index);
  const lent = request.openTrees?.get(index)?.descriptor === fd;
  const tree = lent ? fd : given.keep(fd);
  const path = join(scratch, "mounts", String(index < 0 ? "init" : index));
  if (isType(statFd(tree).mode, S_IFDIR)) mkdirSync(path, { recursive: true });
  else {
    mkdirSync(join(scratch, "mounts"), { recursive: true });
    writeFileSync(path, "");
  }
  given.changes.push({ change: "attach", tree, path });
  return path;
}

function openInit({ init }: RestoreRequest, destination: string): number {
  if (init === null || destination !== INIT_PATH) throw noSource(destination);
  const tree = openTree({ path: init, flags: OPEN_TREE_CLONE });
  mountSetattr({ fd: tree, set: MOUNT_ATTR_RDONLY });
  return tree;
}

function openBind({ openTrees }: RestoreRequest, mount: MountSpec, index: number): number {
  const { type = "bind", source = "", destination, subpath, lowers, options = [] } = mount;
  const { recursiveBind: recursive } = parseMountOptions(type, options);
  const opened = openTrees?.get(index)?.descriptor;
  return (
    opened ?? openSource({ source, lowers, subpath, destination, recursive, identities: null })
  );
}

/** The new streams take the places of the old ones. */
function giveStreams(
  { stdio, spec, identity, scratch }: RestoreRequest,
  { manifest, root, given }: { manifest: Manifest; root: number; given: Given },
): void {
  if (stdio.type === "terminal") {
    throw new RuntimeError("failed", "criu failed: external terminals are not supported");
  }
  const nothing = given.keep(openPath("/dev/null", O_RDWR));
  const { uid, gid } = withIdentity(spec.process, identity, root).user;
  const open = (stream: OutsideStream): number => {
    if (stream === "null") return nothing;
    return stream === "ended" ? given.keep(openEnded(join(scratch, "criu/ended"))) : stdio[stream];
  };
  for (const { key, stream } of manifest.files) {
    const fd = open(stream);
    // As at a birth: or /dev/stdout could not be opened again.
    if (isType(statFd(fd).mode, S_IFIFO)) checked("fchown", stream, fd, uid, gid);
    given.inherited.push({ key, fd });
  }
}

/** A FIFO whose only writer is gone when criu has opened it. */
function openEnded(path: string): number {
  if (!existsSync(path)) checked("mknodat", path, AT_FDCWD, cstring(path), S_IFIFO | 0o600, 0);
  return openPath(path, O_RDWR);
}

/** The namespace that the processes will be in: a spare one, another container's, or a new one. */
function giveNetwork(request: RestoreRequest, given: Given): number {
  const path = request.spec.linux.namespaces.find(({ type }) => type === "network")?.path;
  const fd =
    request.networkNamespace ??
    given.keep(path === undefined ? newNetworkNamespace() : openPath(path, O_RDONLY));
  given.inherited.push({ fd, key: NETWORK_KEY });
  return fd;
}

function placeOf(request: {
  readonly request: RestoreRequest;
  readonly place: Place;
  readonly given: Given;
  readonly network: number | null;
}): LaunchPlace {
  const { given, network } = request;
  const { spec, prepare } = request.request;
  const made = spec.linux.namespaces.filter(({ path }) => path === undefined);
  const home = given.keep(openNamespace("self", "net"));
  const ofNetwork = Object.entries(spec.linux.sysctl ?? {}).filter(([key]) => /^net[./]/.test(key));
  const isOwn = made.some(({ type }) => type === "network");
  return {
    join: request.place.join,
    cgroupNamespace: made.some(({ type }) => type === "cgroup"),
    network:
      network === null || !isOwn
        ? null
        : { descriptor: network, home, sysctls: Object.fromEntries(ofNetwork) },
    kept: given.inherited.map(({ fd }) => fd),
    prepare: (pid) => {
      giveAdjustment(pid, spec.process.oomScoreAdj);
      prepare({ pid, networkNamespace: network ?? home });
    },
  };
}

/** The first process, our child by now. @throws RuntimeError */
function bornOf(pidFile: string): Born {
  const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, "utf8")) : 0;
  if (!Number.isInteger(pid) || pid <= 1) {
    throw new RuntimeError("failed", "criu failed: it does not tell what it has made");
  }
  return { pid, pidfd: pidfdOpen(pid), ptyMaster: null, mountNamespace: null };
}
