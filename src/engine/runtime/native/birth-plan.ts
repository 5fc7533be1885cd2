/** From a spec to the plan of a container's first process. Pure: the same input gives the same steps. */
import { notImplemented } from "#base";
import {
  MNT_DETACH,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_PRIVATE,
  MS_SHARED,
} from "#linux/mount";
import { AT_FDCWD, O_CLOEXEC, O_NOCTTY, O_RDWR, RESOLVE_NO_SYMLINKS } from "#linux/path";
import type { NamespaceType, RuntimeSpec } from "#oci";

import { writeConsole, writeDevices, writeProtection } from "./devices.ts";
import { type BirthShape, type HostFacts, type JoinShape, namespaceFlags } from "./facts.ts";
import { openStep, type Root } from "./files.ts";
import { attach, bind, changeAttributes, STATFS_BYTES, writeMounts } from "./mounts.ts";
import { type Passage, PASSAGE_OPTIONS } from "../passage.ts";
import { type Argument, errnoOf, type Plan, PlanWriter, type SlotValues } from "./plan.ts";
import {
  filterNumber,
  writeCgroupJoin,
  writeHead,
  writeParting,
  writeSysctl,
  writeTail,
} from "./tail.ts";

const root = { slot: "root" };

export const INIT_PATH = "/sbin/docker-init";
const TIOCSPTLCK = 0x4004_5431;
const TIOCGPTPEER = 0x5441;
const TIOCSWINSZ = 0x5414;
const DEVPTS_SUPER_MAGIC = 0x1cd1;
const STATX_RDEV = 128;
// Major 5, minor 2, as statx lays them out.
const PTMX_DEVICE = 5n | (2n << 32n);

export interface BirthPlanRequest {
  /** `process.user` filled in, HOME in the environment. */
  readonly spec: RuntimeSpec;
  readonly facts: HostFacts;
  readonly shape: BirthShape;
}

/** The namespaces that clone3 makes with the child; the cgroup one comes by unshare, in the plan. */
export function cloneFlagsOf(
  spec: RuntimeSpec,
  { namespaces: joined }: Pick<BirthShape, "namespaces">,
): number {
  const made = spec.linux.namespaces.filter(
    ({ type, path }) => path === undefined && !joined.includes(type),
  );
  const byClone: readonly NamespaceType[] = ["mount", "pid", "network", "ipc", "uts"];
  return made.reduce(
    (flags, { type }) => (byClone.includes(type) ? flags | namespaceFlags[type] : flags),
    0,
  );
}

const makes = (spec: RuntimeSpec, wanted: NamespaceType): boolean =>
  spec.linux.namespaces.some(({ type, path }) => type === wanted && path === undefined);

/** Compiles a birth. @throws EngineError for what a spec may not say, or this driver does not do */
export function compileBirth(request: BirthPlanRequest): Plan {
  const { spec, facts, shape } = request;
  const { stdio } = shape;
  refuseUnsupported(spec);
  if (spec.linux.namespaces.some(({ type }) => type === "user")) {
    throw notImplemented("a user namespace without id mappings");
  }
  const writer = new PlanWriter();
  writeHead(writer);
  writeParting(writer, shape.kept);
  writeCgroupJoin(writer, shape.tasks);
  writeNamespaces(writer, request);
  const joinsPidNamespace = shape.namespaces.includes("pid");
  const { binds, foreignDev } = shape;
  const mounts = { spec, facts, root, binds, joinsPidNamespace, foreignDev };
  writeMounts(writer, mounts);
  writeDevices(writer, mounts);
  if (stdio.type === "terminal") {
    writeTerminal(writer, { root, ...stdio });
    writeConsole(writer, { register: "slave" });
  }
  if (shape.init !== null) writeInit(writer, shape.init);
  writeProtection(writer, mounts);
  writeJail(writer, request);
  writeEnding(writer, request);
  return writer.finish();
}

/** The root becomes /; hooks run before and after. */
export function writeJail(writer: PlanWriter, { spec, shape }: BirthPlanRequest): void {
  const isHooked = shape.hooked !== undefined;
  if (isHooked) writeHookBarrier(writer, "hooks can run beside the container");
  writeRoot(writer, spec);
  if (isHooked) {
    writer.call("umount2", [{ text: "/" }, MNT_DETACH], "what was below the host's tree as well");
  }
  writeNames(writer, spec);
  if (isHooked) writeHookBarrier(writer, "hooks can run in the container");
}

/** What every birth ends with: the parent's turn, what the namespaces are told, and the process itself. */
export function writeEnding(writer: PlanWriter, request: BirthPlanRequest): void {
  const { spec, facts, shape } = request;
  writeBarrier(writer, shape);
  for (const [key, value] of Object.entries(spec.linux.sysctl ?? {})) {
    writeSysctl(writer, key, value);
  }
  writeTail(writer, {
    facts,
    process: { ...spec.process, args: argumentsOf(request) },
    seccomp: spec.linux.seccomp,
    root,
    stdio: shape.stdio,
    joinsPidNamespace: shape.namespaces.includes("pid"),
    makesDirectory: true,
  });
}

/** @throws EngineError for what this driver does not do */
export function refuseUnsupported({ linux }: RuntimeSpec): void {
  const has = (wanted: NamespaceType) => linux.namespaces.some(({ type }) => type === wanted);
  if (has("time")) throw notImplemented("the native runtime has no time namespaces yet");
  if (linux.intelRdt) {
    throw notImplemented("the native runtime shares no caches: use --runtime runc");
  }
  if (linux.mountLabel) throw notImplemented("the native runtime sets no mount label");
  if (!makes({ linux } as RuntimeSpec, "mount")) {
    throw notImplemented("a container without a mount namespace of its own");
  }
}

export function writeNamespaces(writer: PlanWriter, { spec, shape }: BirthPlanRequest): void {
  // Now, not at clone: the namespace's root is the cgroup that its maker is in.
  if (makes(spec, "cgroup")) {
    writer.call("unshare", [namespaceFlags.cgroup], "a cgroup namespace rooted here");
  }
  for (const type of shape.namespaces) {
    // It was the first, of a container with mapped ids.
    if (type === "user") continue;
    const context = `failed to join the ${type} namespace`;
    const args = [{ slot: `join.${type}` }, namespaceFlags[type]];
    writer.call("setns", args, `join the ${type} namespace`, { context });
  }
  if (shape.hooked !== undefined) return attachForHooks(writer, shape.hooked);
  const to = [AT_FDCWD, { text: "/root" }, MOVE_MOUNT_F_EMPTY_PATH] as const;
  writer.call("move_mount", [root, { text: "" }, ...to], "attach the container's root");
}

/** Over the nursery's root: who joins this mount namespace sees the host's files, and the container's among them. */
function attachForHooks(writer: PlanWriter, { passage }: NonNullable<BirthShape["hooked"]>): void {
  const host = { slot: "host" };
  const over = [AT_FDCWD, { text: "/" }, MOVE_MOUNT_F_EMPTY_PATH] as const;
  writer.call("move_mount", [host, { text: "" }, ...over], "attach the host's tree for the hooks");
  if (passage !== null) writePassage(writer, host, passage);
  attach(writer, root, { slot: "rootfs" }, "attach the container's root at the bundle's folder");
}

/** Opens the way to the bundle, which is in slot "bundle". */
function writePassage(writer: PlanWriter, host: Argument, { path, folders }: Passage): void {
  const below = (whole: string) => ({ text: whole.slice(1) });
  writer.call("fchdir", [host], "go to the host's tree");
  const flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  const type = { text: "tmpfs" };
  const args = [type, below(path), type, flags, { text: PASSAGE_OPTIONS }];
  writer.call("mount", args, `lay a folder over ${path}`);
  for (const folder of folders) {
    writer.call("mkdirat", [AT_FDCWD, below(folder), 0o711], `make ${folder}`);
  }
  const to = [AT_FDCWD, below(folders.at(-1) ?? path), MOVE_MOUNT_F_EMPTY_PATH] as const;
  writer.call("move_mount", [{ slot: "bundle" }, { text: "" }, ...to], "attach the bundle there");
}

/** Tells the parent that hooks can run, and waits for them. */
function writeHookBarrier(writer: PlanWriter, says: string): void {
  writer.control("report", [], says);
  const byte = { area: "go", sizeBytes: 8 };
  writer.call("read", [{ slot: "go" }, byte, 1], "wait until the hooks have run", {
    result: "hooksRan",
  });
  const wanted = [{ register: "hooksRan" }, 1, errnoOf("ECANCELED")];
  writer.control("requireEqual", wanted, "the parent wants this to go on");
}

/** What pid 1 is: the program, or the init with the program behind it. */
export const argumentsOf = ({ spec, shape }: Pick<BirthPlanRequest, "spec" | "shape">): string[] =>
  shape.init !== null ? [INIT_PATH, "--", ...spec.process.args] : spec.process.args;

/** What goes into a birth's slots besides descriptors. */
export function birthSlots(request: BirthPlanRequest & { readonly id: string }): SlotValues {
  const { id, spec, facts } = request;
  const slots: Record<string, string | readonly string[]> = {
    args: argumentsOf(request),
    env: spec.process.env,
    keyring: `_ses.${id}`,
    hostname: spec.hostname ?? "",
    domainname: spec.domainname ?? "",
  };
  for (const index of facts.hierarchies.keys()) {
    slots[`cgroup${index}`] = `/cgroup/${index}${spec.linux.cgroupsPath}`;
  }
  return slots;
}

/**
 * Two births with equal keys have equal plans, but for the sentences of failures: what the plan takes from slots,
 * and what only those sentences mention, is left out.
 */
export function birthKey({ spec, shape }: Pick<BirthPlanRequest, "spec" | "shape">): string {
  const { process, linux } = spec;
  const { args, env, ...rest } = process;
  const { seccomp, resources: _resources, cgroupsPath: _path, ...confinement } = linux;
  return JSON.stringify([
    rest,
    shape.init !== null ? "" : args[0],
    args.length === 0,
    env.find((entry) => entry.startsWith("PATH=")),
    confinement.namespaces.map(({ type, path }) => [type, path === undefined]),
    { ...confinement, namespaces: [] },
    spec.mounts.map(({ source, ...mount }, index) =>
      shape.binds.has(index) ? mount : [source, mount],
    ),
    [...shape.binds],
    { ...shape, binds: [] },
    [spec.root.readonly, Boolean(spec.hostname), Boolean(spec.domainname)],
    seccomp === undefined ? 0 : filterNumber(seccomp),
  ]);
}

export interface TerminalSteps {
  readonly root: Root;
  readonly columns: number;
  readonly rows: number;
}

/** A pty of the container's own devpts: its master in $ptmx, its slave in $slave, neither opened by a name in /dev/pts. */
export function writeTerminal(writer: PlanWriter, { root, columns, rows }: TerminalSteps): void {
  const flags = O_RDWR | O_NOCTTY;
  const ptmx = { register: "ptmx" };
  const resolve = RESOLVE_NO_SYMLINKS;
  openStep(writer, { root, path: "/dev/pts/ptmx", flags, resolve, result: "ptmx" });
  const statfs = { area: "statfs", sizeBytes: STATFS_BYTES };
  writer.call("fstatfs", [ptmx, statfs], "ask what that is");
  const magic = [statfs, 0xffff_ffff, DEVPTS_SUPER_MAGIC, errnoOf("EPERM")];
  writer.control("requireWord", magic, "it is of devpts");
  const statx = { area: "statx", sizeBytes: 256 };
  writer.call("statx", [ptmx, { text: "" }, 0x1000, 0x7ff, statx], "ask which device it is");
  const device = [{ ...statx, offset: STATX_RDEV }, 0xffff_ffff_ffff_ffffn, PTMX_DEVICE];
  writer.control("requireWord", [...device, errnoOf("EPERM")], "it is the pty multiplexer");
  writer.call("ioctl", [ptmx, TIOCSPTLCK, { bytes: new Uint8Array(4) }], "unlock the pty");
  const size = new Uint8Array(8);
  const view = new DataView(size.buffer);
  view.setUint16(0, Math.min(Math.max(rows, 0), 0xffff), true);
  view.setUint16(2, Math.min(Math.max(columns, 0), 0xffff), true);
  writer.call("ioctl", [ptmx, TIOCSWINSZ, { bytes: size }], `${columns} columns, ${rows} rows`);
  const peer = [ptmx, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC];
  writer.call("ioctl", peer, "open the other end", { result: "slave" });
}

export function writeInit(writer: PlanWriter, destination: string): void {
  writer.within(`error mounting the init program at ${destination}`, () =>
    bind(writer, {
      root,
      destination,
      tree: { slot: "init" },
      directory: false,
      options: {
        bind: true,
        recursiveBind: false,
        flags: 0,
        set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        clear: 0,
        recursiveSet: 0,
        recursiveClear: 0,
        propagation: { type: MS_PRIVATE, recursive: false },
        data: "",
      },
    }),
  );
}

export function writeRoot(writer: PlanWriter, spec: RuntimeSpec): void {
  writer.call("fchdir", [root], "go to the root");
  writer.call("pivot_root", [{ text: "." }, { text: "." }], "the root becomes /", {
    context: "error jailing process inside rootfs: pivot_root .",
  });
  writer.call("umount2", [{ text: "." }, MNT_DETACH], "the nursery goes out of sight");
  writer.call("chdir", [{ text: "/" }], "go to /");
  const shared = spec.linux.rootfsPropagation?.endsWith("shared") ?? false;
  if (shared) changeAttributes(writer, root, { propagation: MS_SHARED }, "the root is shared");
  if (!spec.root.readonly) return;
  writer.within("error setting rootfs as readonly", () =>
    changeAttributes(writer, root, { set: MOUNT_ATTR_RDONLY }, "the root is read-only"),
  );
}

export function writeNames(writer: PlanWriter, { hostname, domainname }: RuntimeSpec): void {
  const set = (call: "sethostname" | "setdomainname", name: string | undefined) => {
    if (!name) return;
    const slot = call.slice(3);
    writer.call(call, [{ slot }, { slot, part: "length" }], `its ${slot}`, { context: call });
  };
  set("sethostname", hostname);
  set("setdomainname", domainname);
}

/** Waits for the parent's byte; with a terminal, tells it first which descriptor the master is. */
export function writeBarrier(writer: PlanWriter, { stdio }: JoinShape): void {
  if (stdio.type === "terminal") writer.control("report", [], "tell the parent where the pty is");
  const byte = { area: "go", sizeBytes: 8 };
  writer.call("read", [{ slot: "go" }, byte, 1], "wait until the parent built the network", {
    result: "went",
  });
  const wanted = [{ register: "went" }, 1, errnoOf("ECANCELED")];
  writer.control("requireEqual", wanted, "the parent wants this to go on");
}
