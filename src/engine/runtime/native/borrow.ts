/** Opening what a child borrows: its root, the sources of its mounts, namespaces to join, streams. */
import { fstatSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { invalid } from "#base";
import { checked } from "#linux/ffi";
import {
  anyMayStall,
  MS_PRIVATE,
  mountSetattr,
  OPEN_TREE_CLONE,
  openTree,
  parseMountOptions,
  readMountInfo,
  shiftIds,
} from "#linux/mount";
import { namespaceId, openNamespace, processNamespaceId } from "#linux/namespace";
import {
  AT_RECURSIVE,
  closeFd,
  fileSystemType,
  isType,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  openPath,
  S_IFDIR,
  S_IFIFO,
  statFd,
} from "#linux/path";
import type { MountSpec, NamespaceType, ProcessSpec, RuntimeSpec } from "#oci";

import { type BirthRequest, type ExecRequest, type ProcessStdio, RuntimeError } from "../driver.ts";
import { withIdentity } from "../identity.ts";
import { passageTo } from "../passage.ts";
import { openRoot, openSource } from "../trees.ts";
import { hasHooks, writeBundle } from "./hooks.ts";
import { INIT_PATH } from "./birth-plan.ts";
import {
  createDeviceFolder,
  createDeviceMount,
  devicesElsewhere,
  isDeviceFolder,
} from "./device-folder.ts";
import { hasForeignDev } from "./devices.ts";
import { type BirthShape, type JoinShape, namespaceFlags, type StdioShape } from "./facts.ts";
import { destinationOf, PROC_SUPER_MAGIC, unsafeAtProc } from "./mounts.ts";
import type { BirthPipes } from "./nursery.ts";
import { Targets } from "./targets.ts";
import { giveStreams, type IdMaps, type Shift } from "./user-namespaces.ts";

const NS_GET_NSTYPE = 0xb703;
const F_DUPFD_CLOEXEC = 1030;
const LOWEST_BORROWED = 3;

/** Everything opened for one birth; disposing closes this side's copies. */
export interface BirthLoan extends Disposable {
  readonly shape: BirthShape;
  readonly descriptors: DescriptorSlots;
  /** With the user filled in, and the links in its mounts' targets resolved. */
  readonly spec: RuntimeSpec;
  /** Calls `use` with the network namespace that the process will be in. */
  withNetworkNamespace(pid: number, use: (descriptor: number) => void): void;
}

/** Descriptors by the slot they fill. */
export type DescriptorSlots = Readonly<Record<string, number>>;

class Descriptors implements Disposable {
  readonly #open: number[] = [];

  keep(fd: number): number {
    this.#open.push(fd);
    return fd;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open.splice(0)) closeFd(fd);
  }
}

/** Opens all that a birth needs. @throws RuntimeError, SyscallError, EngineError; nothing stays open then */
export function borrowForBirth(
  request: Omit<BirthRequest, "prepare">,
  own: { readonly pipes: BirthPipes; readonly tasks: readonly number[] },
  shift: Shift | null,
): BirthLoan {
  const descriptors = new Descriptors();
  try {
    const root = descriptors.keep(openRoot(request.root, shift));
    const process = withIdentity(request.spec.process, request.identity, root);
    const slots: Record<string, number> = { root };
    const loan = { descriptors, slots, maps: shift?.maps ?? null };
    const namespaces = openNamespaces(request.spec, loan);
    const { networkNamespace = null } = request;
    if (networkNamespace !== null) {
      slots["join.network"] = networkNamespace;
      namespaces.push("network");
    }
    const targets = new Targets(root);
    const { mounts, binds } = borrowMounts({ request, targets, shift }, loan);
    const spec = { ...request.spec, process, mounts };
    if (request.init !== null) slots["init"] = descriptors.keep(openInit(request.init));
    const init = request.init === null ? null : targets.resolve(INIT_PATH);
    const hooked = hasHooks(spec) ? borrowForHooks(request, shift, loan) : null;
    const joined = borrowForJoin(request.stdio, own, { ...loan, user: process.user.uid });
    return {
      spec,
      shape: {
        ...joined,
        namespaces,
        binds,
        init,
        ...(hasForeignDev(request.spec) ? { foreignDev: true } : {}),
        ...(hooked === null ? {} : { hooked }),
      },
      descriptors: slots,
      withNetworkNamespace: (pid, use) =>
        use(slots["join.network"] ?? descriptors.keep(openNamespace(pid, "net"))),
      [Symbol.dispose]: () => descriptors[Symbol.dispose](),
    };
  } catch (thrown) {
    descriptors[Symbol.dispose]();
    throw thrown;
  }
}

export interface ExecLoan extends Disposable {
  readonly shape: JoinShape;
  readonly descriptors: DescriptorSlots;
  readonly process: ProcessSpec;
}

/** Opens all that an exec needs. @throws RuntimeError, SyscallError */
export function borrowForExec(
  request: ExecRequest,
  own: { readonly pipes: BirthPipes; readonly tasks: readonly number[] },
  maps: IdMaps | null,
): ExecLoan {
  const descriptors = new Descriptors();
  try {
    // The pid is our own child's, not reaped yet: its /proc folder is that process or a zombie's.
    const root = descriptors.keep(openPath(`/proc/${request.pid}/root`, O_PATH | O_DIRECTORY));
    const process = withIdentity(request.process, request.identity, root, () =>
      anyMayStall(readMountInfo(request.pid)),
    );
    const slots: Record<string, number> = { pidfd: request.pidfd };
    const shape = borrowForJoin(request.stdio, own, {
      descriptors,
      slots,
      maps,
      user: process.user.uid,
    });
    return {
      process,
      shape,
      descriptors: slots,
      [Symbol.dispose]: () => descriptors[Symbol.dispose](),
    };
  } catch (thrown) {
    descriptors[Symbol.dispose]();
    throw thrown;
  }
}

/** The host's tree, and where in it the hooks find the bundle and the container's root. */
function borrowForHooks(
  request: Omit<BirthRequest, "prepare">,
  shift: Shift | null,
  { descriptors, slots }: Loan,
): NonNullable<BirthShape["hooked"]> {
  const bundle = writeBundle(request, shift?.identities ?? null);
  const host = descriptors.keep(openHost());
  slots["host"] = host;
  const passage = shift === null ? null : passageTo(bundle);
  if (passage !== null) {
    slots["bundle"] = descriptors.keep(openTree({ path: bundle, flags: OPEN_TREE_CLONE }));
  }
  const [from, path] =
    passage === null ? [host, join(bundle, "rootfs").slice(1)] : [slots["bundle"] ?? -1, "rootfs"];
  slots["rootfs"] = descriptors.keep(openPath(path, O_PATH | O_DIRECTORY, 0, from));
  return { passage };
}

/** All that the host has mounted, for hooks: what happens to it here stays here. */
function openHost(): number {
  const fd = openTree({ path: "/", flags: OPEN_TREE_CLONE | AT_RECURSIVE });
  mountSetattr({ fd, propagation: MS_PRIVATE, recursive: true });
  return fd;
}

interface Loan {
  readonly descriptors: Descriptors;
  readonly slots: Record<string, number>;
}

interface JoinLoan extends Loan {
  readonly maps: IdMaps | null;
  /** Who the process is, in the container. */
  readonly user: number;
}

/** The files by which other processes' namespaces are named, each checked to be a namespace of its type. */
function openNamespaces(
  spec: RuntimeSpec,
  { descriptors, slots, maps }: Loan & Pick<JoinLoan, "maps">,
): NamespaceType[] {
  return spec.linux.namespaces.flatMap(({ type, path }) => {
    if (path === undefined) return [];
    if (type === "mount" || (type === "user" && maps === null)) {
      throw invalid(`cannot join a ${type} namespace by path`);
    }
    const descriptor = descriptors.keep(openPath(path, O_RDONLY));
    const kind = checked("ioctl", path, descriptor, NS_GET_NSTYPE, 0);
    if (kind !== namespaceFlags[type]) throw invalid(`${path} is not a ${type} namespace`);
    // Joining the pid namespace one is in already needs no second clone.
    if (type === "pid" && namespaceId(descriptor) === processNamespaceId("self", "pid")) return [];
    slots[`join.${type}`] = descriptor;
    return [type];
  });
}

/** Opens what is bound, and finds where every mount goes. */
function borrowMounts(
  {
    request,
    targets,
    shift,
  }: { request: Pick<BirthRequest, "spec" | "openTrees">; targets: Targets; shift: Shift | null },
  { descriptors, slots }: Loan,
) {
  const { spec, openTrees } = request;
  const binds = new Map<number, boolean>();
  const mounts = spec.mounts.map((mount, index): MountSpec => {
    if (shift !== null && isDeviceFolder(mount)) {
      slots[`bind${index}`] = descriptors.keep(createDeviceFolder(spec, mount, shift.maps));
      binds.set(index, true);
      targets.mounted("/dev", null);
      return { destination: "/dev", type: "bind", source: "tmpfs", options: ["bind"] };
    }
    const { type = "bind", source = "", subpath, lowers } = mount;
    const { bind, recursiveBind } = parseMountOptions(type, mount.options ?? []);
    // The plan refuses a link where the kernel's own trees go: what masks them would be laid somewhere else.
    const kernelTree = !bind && (type === "proc" || type === "sysfs");
    const wanted = destinationOf(mount);
    const destination = kernelTree ? wanted : targets.resolve(wanted);
    const opened = openTrees?.get(index);
    if (opened !== undefined) {
      refuseAtProc(destination, source);
      if (mount.shifted && shift !== null) shiftIds(opened.descriptor, shift.identities);
      slots[`bind${index}`] = opened.descriptor;
      binds.set(index, opened.directory);
      // The plan follows what links it has: the child may have to wait for them, this process may not.
      targets.mounted(destination, null);
      return { ...mount, destination };
    }
    if (bind) {
      const tree = openSource({
        source,
        lowers,
        subpath,
        destination,
        recursive: recursiveBind,
        identities: mount.shifted ? (shift?.identities ?? null) : null,
      });
      slots[`bind${index}`] = descriptors.keep(tree);
      if (destination === "/proc") requireProcfs(tree, source);
      binds.set(index, isType(statFd(tree).mode, S_IFDIR));
    }
    targets.mounted(destination, slots[`bind${index}`] ?? null);
    return { ...mount, destination };
  });
  // Over all that is mounted, as the nodes of others come.
  if (shift === null) return { mounts, binds };
  for (const device of devicesElsewhere(spec)) {
    const slot = mounts.length;
    slots[`bind${slot}`] = descriptors.keep(createDeviceMount(device, shift.maps));
    binds.set(slot, false);
    const destination = targets.resolve(device.path);
    mounts.push({ destination, type: "bind", source: device.path, options: ["bind", "rprivate"] });
  }
  return { mounts, binds };
}

/** Of a file system of another machine or of a program, which is none of the kernel's. */
function refuseAtProc(destination: string, source: string): void {
  if (destination === "/proc") throw noProcfs(source);
}

/** Whatever else lay at /proc could fake what is read and written there (CVE-2019-16884). */
function requireProcfs(tree: number, source: string): void {
  if (fileSystemType(tree) === PROC_SUPER_MAGIC) return;
  throw noProcfs(source);
}

const noProcfs = (source: string): Error => unsafeAtProc(source, "/proc", "it is not of type proc");

function openInit(path: string): number {
  try {
    return openTree({ path, flags: OPEN_TREE_CLONE });
  } catch (cause) {
    throw new RuntimeError("failed", `the init program ${path} of --init cannot be opened`, {
      cause,
    });
  }
}

/** The barrier, the cgroup files and the streams: what births and execs share. */
function borrowForJoin(
  stdio: ProcessStdio,
  own: { readonly pipes: BirthPipes; readonly tasks: readonly number[] },
  loan: JoinLoan,
): JoinShape {
  const { slots } = loan;
  slots["go"] = own.pipes.goReader;
  slots["goWriter"] = own.pipes.goWriter;
  for (const [index, fd] of own.tasks.entries()) slots[`task${index}`] = fd;
  return { tasks: own.tasks.length, stdio: borrowStdio(stdio, loan) };
}

/** Streams as the plan wants them: above 2, since those are what they become, and known to be given away or not. */
function borrowStdio(
  stdio: ProcessStdio,
  { descriptors, slots, maps, user }: JoinLoan,
): StdioShape {
  if (stdio.type === "terminal") return stdio;
  const { stdin, stdout, stderr } = stdio;
  for (const [slot, fd] of Object.entries({ stdin, stdout, stderr })) {
    slots[slot] =
      fd >= LOWEST_BORROWED
        ? fd
        : descriptors.keep(checked("fcntl", `fd ${fd}`, fd, F_DUPFD_CLOEXEC, LOWEST_BORROWED));
  }
  if (maps !== null) {
    giveStreams([stdin, stdout, stderr], maps, user);
    return { type: "pipes", chown: [] };
  }
  // Only FIFOs are the container's own: a host device or file that happens to be a stream keeps its owner.
  const chown = [stdin, stdout, stderr].flatMap((fd, index) =>
    isType(fstatSync(fd).mode, S_IFIFO) ? [index] : [],
  );
  return { type: "pipes", chown };
}

/** This process' own oom_score_adj: what its children are born with. */
export const ownAdjustment = (): number =>
  Number(readFileSync("/proc/self/oom_score_adj", "utf8").trim());

/** Sets a child's; going below the engine's own needs CAP_SYS_RESOURCE, without which the engine's own stays. */
export function writeAdjustment(pid: number, adjustment: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, `${adjustment}`);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "EACCES") throw thrown;
  }
}
