/** Steps that build a container's file tree below its detached root: the spec's mounts, in its order. */
import { invalid, notImplemented } from "#base";
import {
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FD,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  type MountOptions,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
  parseMountOptions,
} from "#linux/mount";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  RESOLVE_NO_SYMLINKS,
} from "#linux/path";
import type { MountSpec, RuntimeSpec } from "#oci";

import type { HostFacts } from "./facts.ts";
import { openStep, type Root, targetStep } from "./files.ts";
import { type Argument, errnoOf, type PlanWriter } from "./plan.ts";

export const PROC_SUPER_MAGIC = 0x9fa0;
export const STATFS_BYTES = 120;
const F_DUPFD_CLOEXEC = 1030;
const CLONE_FILES = 0x400;
const SIGCHLD = 17;
const P_PID = 1;
const WEXITED = 4;
const TYPES = new Set(["proc", "sysfs", "tmpfs", "devpts", "mqueue"]);

// What may be mounted inside /proc: files that LXCFS and its kin replace. Everything else could hide or fake it.
const PROC_MOUNTABLE = new Set(
  "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo net/dev sys/kernel/ns_last_pid sys/crypto/fips_enabled"
    .split(" ")
    .map((name) => `/proc/${name}`),
);

export interface MountSteps {
  readonly spec: RuntimeSpec;
  readonly facts: HostFacts;
  readonly root: Root;
  /** Which sources are open, in slots "bind<index>", and whether each is a directory. */
  readonly binds: ReadonlyMap<number, boolean>;
  /** A pid namespace is joined, in slot "join.pid": its processes are what /proc shows. */
  readonly joinsPidNamespace: boolean;
}

/** Normal form of a destination. @throws EngineError "invalid" */
export function destinationOf(mount: MountSpec): string {
  const parts = mount.destination.split("/").filter((part) => part !== "" && part !== ".");
  if (!mount.destination.startsWith("/") || parts.includes("..") || parts.length === 0) {
    throw invalid(`invalid mount path: '${mount.destination}'`);
  }
  return `/${parts.join("/")}`;
}

/** What could hide or fake a part of /proc, in runc's words. */
export const unsafeAtProc = (source: string, destination: string, why: string): Error =>
  invalid(
    `error mounting "${source}" to rootfs at "${destination}": create mountpoint for ${destination} mount: ` +
      `check proc-safety of ${destination} mount: "${destination}" cannot be mounted because ${why}`,
  );

/** Writes the steps of every mount. */
export function writeMounts(writer: PlanWriter, request: MountSteps): void {
  for (const [index, mount] of request.spec.mounts.entries()) {
    const destination = destinationOf(mount);
    const type = mount.type ?? "bind";
    const options = parseMountOptions(type, mount.options ?? []);
    const source = mount.source ?? type;
    const context = `error mounting "${source}" to rootfs at "${destination}": mount src=${source}, dst=${destination}`;
    if (destination.startsWith("/proc/") && !PROC_MOUNTABLE.has(destination)) {
      throw unsafeAtProc(source, destination, "it is inside /proc");
    }
    writer.within(context, () => {
      if (options.bind) {
        const directory = request.binds.get(index);
        if (directory === undefined) throw invalid(`${context}: source is not open`);
        const tree = { slot: `bind${index}` };
        bind(writer, { root: request.root, destination, options, tree, directory });
        if (destination === "/proc") keepProc(writer, request.root);
      } else if (type === "cgroup" || type === "cgroup2") {
        cgroupMount(writer, { ...request, destination, options });
      } else if (TYPES.has(type)) {
        const { root, joinsPidNamespace } = request;
        fileSystem(writer, { root, destination, options, type, source, joinsPidNamespace });
      } else {
        throw notImplemented(`mount type ${type}`);
      }
    });
  }
}

/** Attaches a detached mount to an open target. */
export function attach(writer: PlanWriter, from: Argument, to: Argument, says: string): void {
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  writer.call("move_mount", [from, { text: "" }, to, { text: "" }, flags], says);
}

export interface AttributeChange {
  readonly set?: number;
  readonly clear?: number;
  readonly propagation?: number;
  readonly recursive?: boolean;
}

/** Changes a mount's attributes through its descriptor. */
export function changeAttributes(
  writer: PlanWriter,
  mount: Argument,
  change: AttributeChange,
  says: string,
): void {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  const words = [change.set ?? 0, change.clear ?? 0, change.propagation ?? 0];
  for (const [index, word] of words.entries()) view.setBigUint64(index * 8, BigInt(word), true);
  const flags = AT_EMPTY_PATH | (change.recursive ? AT_RECURSIVE : 0);
  writer.call("mount_setattr", [mount, { text: "" }, flags, { bytes }, 32], says);
}

interface BindStep {
  readonly root: Root;
  readonly destination: string;
  readonly options: MountOptions;
  /** The open source. */
  readonly tree: Argument;
  readonly directory: boolean;
}

/** Attaches a host tree that the supervisor opened, with its attributes set while nobody can reach it. */
export function bind(writer: PlanWriter, step: BindStep): void {
  const { root, destination, options, tree, directory } = step;
  const { propagation, set, clear, recursiveSet, recursiveClear } = options;
  targetStep(writer, { root, path: destination, directory, result: "target" });
  if (propagation !== null) {
    const change = { propagation: propagation.type, recursive: propagation.recursive };
    changeAttributes(writer, tree, change, `propagation of ${destination}`);
  }
  if (set !== 0 || clear !== 0) {
    changeAttributes(writer, tree, { set, clear }, `attributes of ${destination}`);
  }
  if (recursiveSet !== 0 || recursiveClear !== 0) {
    const change = { set: recursiveSet, clear: recursiveClear, recursive: true };
    changeAttributes(writer, tree, change, `attributes of ${destination} and all below`);
  }
  attach(writer, tree, { register: "target" }, `mount the host's tree at ${destination}`);
}

interface FileSystemStep {
  readonly root: Root;
  readonly destination: string;
  readonly options: MountOptions;
  readonly type: string;
  readonly source: string;
  readonly joinsPidNamespace: boolean;
}

function fileSystem(writer: PlanWriter, step: FileSystemStep): void {
  const { root, destination, options, type, source } = step;
  const kernelTree = type === "proc" || type === "sysfs";
  // An image that makes /proc a link would have its masks laid somewhere else (CVE-2019-19921, CVE-2023-27561).
  const resolve = kernelTree ? RESOLVE_NO_SYMLINKS : 0;
  targetStep(writer, { root, path: destination, directory: true, result: "target", resolve });
  if (type === "proc" && step.joinsPidNamespace) {
    foreignProc(writer, options);
    attach(writer, { register: "tree" }, { register: "target" }, `mount proc at ${destination}`);
  } else {
    writer.call("fchdir", [{ register: "target" }], `go to ${destination}`);
    const data = options.data === "" ? 0 : { text: options.data };
    const args = [{ text: source }, { text: "." }, { text: type }, options.flags, data];
    writer.call("mount", args, `mount ${type} at ${destination}`);
  }
  if (options.propagation !== null) {
    openStep(writer, { root, path: destination, result: "mounted" });
    const change = { propagation: options.propagation.type };
    changeAttributes(writer, { register: "mounted" }, change, `propagation of ${destination}`);
  }
  if (type === "proc" && destination === "/proc") keepProc(writer, root);
}

/**
 * A procfs of the joined pid namespace, into $tree. This process is outside of it still, and procfs shows its maker's
 * namespace unless told another (Linux 6.18). Before that a helper inside makes it: the only moment in which
 * a process of that namespace could see one with powers.
 */
function foreignProc(writer: PlanWriter, { data, set }: MountOptions): void {
  const make = () => {
    const context = { register: "context" };
    for (const option of data.split(",").filter(Boolean)) {
      const [key = "", value] = option.split("=", 2);
      const kind = value === undefined ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
      const args = [context, kind, { text: key }, value === undefined ? 0 : { text: value }, 0];
      writer.call("fsconfig", args, `option ${option}`);
    }
    writer.call("fsconfig", [context, FSCONFIG_CMD_CREATE, 0, 0, 0], "make a procfs");
    writer.call("fsmount", [context, FSMOUNT_CLOEXEC, set], "mount it nowhere yet", {
      result: "made",
    });
  };
  const open = () =>
    writer.call("fsopen", [{ text: "proc" }, FSOPEN_CLOEXEC], "configure a procfs", {
      result: "context",
    });
  // A number for the mount, so that the helper can answer through the shared table of descriptors.
  writer.call("fcntl", [{ slot: "go" }, F_DUPFD_CLOEXEC, 3], "a place for it", { result: "tree" });
  open();
  const namespace = [{ text: "pidns" }, 0, { slot: "join.pid" }] as const;
  const args = [{ register: "context" }, FSCONFIG_SET_FD, ...namespace];
  writer.call("fsconfig", args, "of the joined namespace", { result: "told", allow: ["EINVAL"] });
  const place = [{ register: "made" }, { register: "tree" }, O_CLOEXEC];
  writer.ifFine("told", "this kernel's procfs takes no namespace", () => {
    make();
    writer.call("dup3", place, "put it into its place");
  });
  writer.ifFailed("told", "it is made already", () => {
    const clone = [CLONE_FILES | SIGCHLD, 0, 0, 0, 0];
    writer.call("clone", clone, "a helper inside the namespace", { result: "helper" });
    writer.inChild("helper", "leave this to the helper", () => {
      open();
      make();
      writer.call("dup3", place, "put it into its place");
      writer.call("exit_group", [0], "the helper is done");
    });
    const wait = [P_PID, { register: "helper" }, 0, WEXITED, 0];
    writer.call("waitid", wait, "wait for the helper");
  });
}

/** Keeps /proc's descriptor: whatever the plan reads or writes there later is procfs and nothing mounted over it. */
function keepProc(writer: PlanWriter, root: Root): void {
  openStep(writer, { root, path: "/proc", flags: O_PATH | O_DIRECTORY, result: "proc" });
  const statfs = { area: "statfs", sizeBytes: STATFS_BYTES };
  writer.call("fstatfs", [{ register: "proc" }, statfs], "ask what /proc is");
  const magic = [statfs, 0xffff_ffff, PROC_SUPER_MAGIC, errnoOf("EPERM")];
  writer.control("requireWord", magic, "/proc is procfs");
  const clone = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
  writer.call("open_tree", [{ register: "proc" }, { text: "" }, clone], "keep a bare /proc", {
    result: "proc",
  });
}

interface CgroupStep extends MountSteps {
  readonly destination: string;
  readonly options: MountOptions;
}

/**
 * The container's own folders of every hierarchy: the rest of the tree, release_agent with it, is not there at all.
 * Only who has the host's cgroup namespace sees the whole tree of v2, as in Docker: its path in /proc/self/cgroup starts there.
 */
function cgroupMount(writer: PlanWriter, step: CgroupStep): void {
  const { spec, facts, root, destination, options } = step;
  const attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  const set = attributes | (options.set & MOUNT_ATTR_RDONLY);
  const clone = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  const open = (index: number, path: Argument = { slot: `cgroup${index}` }) =>
    writer.call(
      "open_tree",
      [AT_FDCWD, path, clone],
      `open the container's folder of hierarchy ${index}`,
      { result: "tree" },
    );
  targetStep(writer, { root, path: destination, directory: true, result: "target" });
  if (facts.hierarchies.every(({ version }) => version === 2)) {
    if (spec.linux.namespaces.some(({ type }) => type === "cgroup")) open(0);
    else open(0, { text: "/cgroup/0" });
    changeAttributes(writer, { register: "tree" }, { set }, `attributes of ${destination}`);
    attach(writer, { register: "tree" }, { register: "target" }, `mount cgroup2 at ${destination}`);
    return;
  }
  writer.call("fchdir", [{ register: "target" }], `go to ${destination}`);
  const data = { text: "mode=755,size=64k" };
  const flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  const args = [{ text: "tmpfs" }, { text: "." }, { text: "tmpfs" }, flags, data];
  writer.call("mount", args, `mount a folder of hierarchies at ${destination}`);
  openStep(writer, { root, path: destination, result: "hierarchies" });
  for (const [index, { name, controllers }] of facts.hierarchies.entries()) {
    const folder = [{ register: "hierarchies" }, { text: name }] as const;
    writer.call("mkdirat", [...folder, 0o755], `make ${destination}/${name}`);
    writer.call("openat", [...folder, O_PATH | O_DIRECTORY, 0], `open ${destination}/${name}`, {
      result: "target",
    });
    open(index);
    attach(writer, { register: "tree" }, { register: "target" }, `mount ${destination}/${name}`);
    for (const controller of controllers) {
      if (controller === name || !name.split(",").includes(controller)) continue;
      const link = [{ text: name }, { register: "hierarchies" }, { text: controller }];
      writer.call("symlinkat", link, `link ${destination}/${controller}`);
    }
  }
  const change = { set, recursive: true };
  changeAttributes(writer, { register: "hierarchies" }, change, `attributes below ${destination}`);
}
