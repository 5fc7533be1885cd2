/**
 * The nursery: a mount namespace with nearly nothing in it, where every container's own begins.
 *
 *   /root        an empty directory: a container's detached root is attached here, then becomes /
 *   /null        the host's /dev/null, read-only, proved to be it: masks files
 *   /empty       an empty read-only tmpfs: masks directories
 *   /cgroup/<n>  the hierarchies, in the order of HostFacts.hierarchies
 *   /proc, /sys  only in the one for user namespaces: who has no power over the host may mount a procfs or sysfs of
 *                its own only where it sees a whole one already
 *
 * A birth copies this instead of the host's mounts, so its cost does not grow with the number of layers mounted, and
 * no path of the host is in reach of a container for even a moment: host trees come by descriptor only.
 */
import { mkdirSync, rmdirSync } from "node:fs";

import { internal } from "#base";
import type { CgroupHost } from "#linux/cgroup";
import { allocate, attempt, checked } from "#linux/ffi";
import {
  MNT_DETACH,
  MS_BIND,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_PRIVATE,
  MS_RDONLY,
  MS_REC,
  MS_REMOUNT,
} from "#linux/mount";
import { openNamespace } from "#linux/namespace";
import { closeFd, FileDescriptor, statPath } from "#linux/path";
import { waitPid } from "#linux/process";

import { namespaceFlags } from "./facts.ts";
import { encodePlan } from "./encode.ts";
import { errnoOf, type Plan, PlanWriter, stepFailure } from "./plan.ts";
import { MESSAGE_BYTES, MESSAGE_REPORT, type Trampoline } from "./trampoline.ts";

export interface Nursery {
  /** The mount namespace; it lives as long as this descriptor. */
  readonly namespace: number;
  /** Device number of /empty, as statx lays it out. */
  readonly emptyDevice: bigint;
}

const O_CLOEXEC = 0o2000000;
const S_IFREG = 0o100000;

/** The steps that furnish the nursery on `folder`, then wait. Pure. */
export function compileNursery(request: {
  readonly folder: string;
  readonly mountPoints: readonly string[];
  readonly go: number;
  readonly kernelTrees: boolean;
}): Plan {
  const { folder, mountPoints, go, kernelTrees } = request;
  const writer = new PlanWriter();
  const mount = (source: string, target: string, type: string, flags: number, data: string) =>
    writer.call(
      "mount",
      [{ text: source }, { text: target }, { text: type }, flags, { text: data }],
      `mount ${source} at ${target}`,
    );
  const folderAt = (path: string) =>
    writer.call("mkdirat", [-100, { text: path }, 0o755], `make ${path}`);
  const locked = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  mount("none", "/", "none", MS_REC | MS_PRIVATE, "");
  mount("tmpfs", folder, "tmpfs", locked, "mode=755,size=64k");
  for (const name of ["root", "empty", "cgroup"]) folderAt(`${folder}/${name}`);
  writer.call("mknodat", [-100, { text: `${folder}/null` }, S_IFREG | 0o444, 0], "make /null");
  mount("/dev/null", `${folder}/null`, "none", MS_BIND, "");
  // It is the host's own node: a container that may chown what it is masked with must find it read-only.
  mount("none", `${folder}/null`, "none", MS_BIND | MS_REMOUNT | MS_RDONLY, "");
  mount("tmpfs", `${folder}/empty`, "tmpfs", MS_RDONLY | locked, "mode=755,size=0,nr_inodes=2");
  for (const [index, mountPoint] of mountPoints.entries()) {
    folderAt(`${folder}/cgroup/${index}`);
    mount(mountPoint, `${folder}/cgroup/${index}`, "none", MS_BIND, "");
  }
  for (const [name, type] of kernelTrees
    ? ([
        ["proc", "proc"],
        ["sys", "sysfs"],
      ] as const)
    : []) {
    folderAt(`${folder}/${name}`);
    mount(type, `${folder}/${name}`, type, locked, "");
  }
  mount("none", folder, "none", MS_REMOUNT | MS_RDONLY | locked, "mode=755,size=64k");
  writer.call("chdir", [{ text: folder }], "go there");
  writer.call("pivot_root", [{ text: "." }, { text: "." }], "it becomes /");
  writer.call("umount2", [{ text: "." }, MNT_DETACH], "the host's tree goes out of sight");
  writer.control("report", [], "tell the parent that all is ready");
  writer.call("read", [go, { area: "go", sizeBytes: 8 }, 1], "wait for the parent to look");
  writer.control("fail", [errnoOf("ECANCELED")], "the parent has seen enough");
  return writer.finish();
}

/** Makes the nursery; `folder` is used while it is furnished and removed again. @throws EngineError */
export function openNursery(request: {
  readonly trampoline: Trampoline;
  readonly folder: string;
  readonly cgroups: CgroupHost;
  /** For births in user namespaces. */
  readonly kernelTrees?: boolean;
}): Nursery {
  const { trampoline, folder, cgroups, kernelTrees = false } = request;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  using pipes = openPipes();
  const mountPoints = cgroups.hierarchies.map(({ mountPoint }) => mountPoint);
  const plan = compileNursery({ folder, mountPoints, go: pipes.goReader, kernelTrees });
  const args = allocate(88);
  const view = new DataView(args.buffer);
  view.setBigUint64(0, BigInt(namespaceFlags.mount), true);
  view.setBigUint64(32, 17n, true);
  const encoded = encodePlan(plan, { slotBytes: 0 });
  const pid = trampoline.clone({ arguments: args, plan: encoded, report: pipes.reportWriter });
  pipes.closeChildEnds();
  try {
    const message = allocate(MESSAGE_BYTES);
    checked("read", "nursery", pipes.reportReader, message, message.length);
    const words = new DataView(message.buffer);
    const step = plan.steps[Number(words.getBigInt64(8, true))];
    if (words.getBigInt64(0, true) !== BigInt(MESSAGE_REPORT) && step !== undefined) {
      throw internal(`cannot make the nursery: ${stepFailure(step, words.getInt32(16, true))}`);
    }
    return furnished(pid);
  } finally {
    attempt("write", pipes.goWriter, allocate(1), 1);
    waitPid(pid);
    rmdirSync(folder);
  }
}

function furnished(pid: number): Nursery {
  using namespace = new FileDescriptor(openNamespace(pid, "mnt"));
  const device = statPath(`/proc/${pid}/root/null`);
  const empty = statPath(`/proc/${pid}/root/empty`);
  if (device?.rdevMajor !== 1 || device.rdevMinor !== 3 || empty === null) {
    throw internal("cannot make the nursery: /dev/null of this host is not the null device");
  }
  const emptyDevice = BigInt(empty.devMajor) | (BigInt(empty.devMinor) << 32n);
  return { namespace: namespace.release(), emptyDevice };
}

export interface BirthPipes extends Disposable {
  readonly goReader: number;
  readonly goWriter: number;
  readonly reportReader: number;
  readonly reportWriter: number;
  /** Ends the waiting for reports. */
  readonly signal: AbortSignal | null;
  /** Closes the ends that only the child needs. */
  closeChildEnds(): void;
}

/** A barrier and a way to report, close-on-exec; disposing closes what is still open. */
export function openPipes(signal: AbortSignal | null = null): BirthPipes {
  const open = () => {
    const pair = allocate(8);
    checked("pipe2", "pipe", pair, O_CLOEXEC);
    const view = new DataView(pair.buffer);
    return [view.getInt32(0, true), view.getInt32(4, true)] as const;
  };
  const [goReader, goWriter] = open();
  const [reportReader, reportWriter] = open();
  const left = new Set([goReader, goWriter, reportReader, reportWriter]);
  const close = (fds: Iterable<number>) => {
    for (const fd of fds) if (left.delete(fd)) closeFd(fd);
  };
  return {
    goReader,
    goWriter,
    reportReader,
    reportWriter,
    signal,
    closeChildEnds: () => close([goReader, reportWriter]),
    [Symbol.dispose]: () => close([...left]),
  };
}
