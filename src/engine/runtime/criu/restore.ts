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
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  mountSetattr,
  OPEN_TREE_CLONE,
  openTree,
  openTreeBelow,
  readMountInfo,
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
import { pidfdOpen, pidfdSendSignal, SIGKILL } from "#linux/process";

import { type Born, type RestoreRequest, RuntimeError } from "../driver.ts";
import { withIdentity } from "../identity.ts";
import { INIT_PATH } from "../native/birth-plan.ts";
import { giveAdjustment } from "../native/child.ts";
import type { ExpectedPlaces, Place } from "../native/expected.ts";
import { reap } from "../native/reap.ts";
import type { Trampoline } from "../native/trampoline.ts";
import { launch, type LaunchPlace, type MountChange } from "../oci/launch.ts";
import { createNullFolder } from "../oci/null.ts";
import { openRoot, openSource } from "../trees.ts";
import {
  type Manifest,
  NETWORK_KEY,
  type OutsideMount,
  type OutsideStream,
  readManifest,
} from "./manifest.ts";
import { confinedOf } from "./outside.ts";
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
  for (const mount of manifest.mounts) {
    given.outside.push(`mnt[${mount.key}]:${attachOutside(host, request, { mount, given })}`);
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
  const born = bornOf(join(folder, "pid"));
  checkConfined(born, manifest);
  return born;
}

/** Whatever criu and a hostile file tree made of the mounts. @throws RuntimeError; the processes are killed then */
function checkConfined({ pid, pidfd }: Born, { confined }: Manifest): void {
  const wanted = new Map(confined.map(({ target, attributes }) => [target, attributes]));
  const found = new Map(
    readMountInfo(pid)
      .map(confinedOf)
      .map(({ target, attributes }) => [target, attributes]),
  );
  for (const [target, attributes] of wanted) {
    const now = found.get(target);
    if (now !== undefined && (now & attributes) === attributes) continue;
    pidfdSendSignal(pidfd, SIGKILL);
    closeFd(pidfd);
    reap(pid);
    const what = now === undefined ? "is missing" : "is not as confined as it was";
    throw new RuntimeError("failed", `criu failed: the mount at ${target} ${what}`);
  }
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

/** The path at which criu finds what it binds: a mount of its own, confined already, since criu forgets to now and then. */
function attachOutside(
  host: RestoreHost,
  request: RestoreRequest,
  { mount, given }: { mount: OutsideMount; given: Given },
): string {
  const isNull = mount.source.kind === "null";
  const { tree, isLent } = isNull
    ? { tree: createNullFolder(), isLent: false }
    : openOutside(host, request, mount);
  if (!isLent) given.keep(tree);
  if (isNull) {
    // As it was, and a device must stay one.
    const set = mount.attributes & ~MOUNT_ATTR_NODEV;
    mountSetattr({ fd: tree, set, clear: (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC) & ~set });
  } else if (mount.attributes !== 0) mountSetattr({ fd: tree, set: mount.attributes });
  const folder = join(request.scratch, "mounts");
  const path = join(folder, mount.key);
  const isFolder = isType(statFd(tree).mode, S_IFDIR);
  mkdirSync(isFolder ? path : folder, { recursive: true });
  if (!isFolder) writeFileSync(path, "");
  given.changes.push({ change: "attach", tree, path });
  return isNull ? join(path, "null") : path;
}

/** What is bound, opened as for a birth. @throws RuntimeError, EngineError, SyscallError */
function openOutside(
  { cgroups }: RestoreHost,
  { spec, init, openTrees }: RestoreRequest,
  { source, target }: OutsideMount,
): { readonly tree: number; readonly isLent: boolean } {
  const opened = (tree: number) => ({ tree, isLent: false });
  const flags = OPEN_TREE_CLONE;
  if (source.kind === "cgroup") {
    const wanted = cgroups.hierarchies.find(({ name }) => name === source.hierarchy);
    const hierarchy = wanted ?? cgroups.hierarchies.find(({ version }) => version === 2);
    const path = join(hierarchy?.mountPoint ?? "/sys/fs/cgroup", spec.linux.cgroupsPath);
    return opened(openTree({ path, flags }));
  }
  if (source.kind === "null") throw noSource(target);
  const { destination, below } = source;
  const index = spec.mounts.findIndex((mount) => mount.destination === destination);
  const mount = spec.mounts[index];
  if (mount === undefined) {
    if (init === null || destination !== INIT_PATH) throw noSource(target);
    return opened(openTree({ path: init, flags }));
  }
  const { source: path = "", subpath, lowers } = mount;
  if (below !== "") {
    // Strangers may write to what is bound: no link in it leads out.
    return opened(openTreeBelow({ path, subpath: join(subpath ?? "", `.${below}`), flags }));
  }
  const lent = openTrees?.get(index)?.descriptor;
  if (lent !== undefined) return { tree: lent, isLent: true };
  const recursive = false;
  return opened(
    openSource({ source: path, lowers, subpath, destination, recursive, identities: null }),
  );
}

const noSource = (target: string): RuntimeError =>
  new RuntimeError("failed", `criu failed: nothing is bound at ${target} any more`);

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
