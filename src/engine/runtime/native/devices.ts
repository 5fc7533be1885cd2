/** Steps for /dev, and for what a container must not see or change: masked and read-only paths. */
import { invalid } from "#base";
import { MOUNT_ATTR_RDONLY, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE } from "#linux/mount";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  O_NOFOLLOW,
  O_PATH,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  S_IFREG,
} from "#linux/path";
import { capabilityMask } from "#linux/security";
import type { DeviceSpec, RuntimeSpec } from "#oci";

import type { HostFacts } from "./facts.ts";
import { openStep, type Root, splitPath, targetStep } from "./files.ts";
import { attach, changeAttributes, PROC_SUPER_MAGIC, STATFS_BYTES } from "./mounts.ts";
import { type Argument, errnoOf, type PlanWriter } from "./plan.ts";

const CLONE_EMPTY = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
const STATX_BASIC_STATS = 0x7ff;
const STATX_BYTES = 256;
const STATX_RDEV = 128;
const STATX_DEV = 136;
const STATFS_FLAGS = 80;
const ST_RDONLY = 1;
// As statx lays them out: major in the low half of the word, minor in the high one.
const NULL_DEVICE = 1n | (3n << 32n);
const ALL_BITS = 0xffff_ffff_ffff_ffffn;

const links: readonly (readonly [name: string, target: string])[] = [
  ["fd", "/proc/self/fd"],
  ["stdin", "/proc/self/fd/0"],
  ["stdout", "/proc/self/fd/1"],
  ["stderr", "/proc/self/fd/2"],
];

export const deviceTypes = { c: S_IFCHR, u: S_IFCHR, b: S_IFBLK, p: S_IFIFO } as const;

/** As mknod wants it: 12 bits of major, 20 of minor, the minor in two pieces. */
export const deviceNumber = (major: number, minor: number): number =>
  (minor & 0xff) + major * 0x100 + (minor >> 8) * 0x10_0000;

const memory = (name: string, minor: number): DeviceSpec => ({
  type: "c",
  path: `/dev/${name}`,
  major: 1,
  minor,
});

/** What every container has, whatever its spec lists (OCI runtime-spec, config-linux.md, "Default Devices"). */
const defaultDevices: readonly DeviceSpec[] = [
  memory("null", 3),
  memory("zero", 5),
  memory("full", 7),
  memory("random", 8),
  memory("urandom", 9),
  { type: "c", path: "/dev/tty", major: 5, minor: 0 },
];

/** Those of the spec, and the defaults that it does not replace. /dev/ptmx is a link to the container's own, as runc has it. */
export function devicesOf(spec: RuntimeSpec, foreignDev?: true): DeviceSpec[] {
  const asked = spec.linux.devices.filter(({ path }) => path !== "/dev/ptmx");
  if (foreignDev === true) return asked;
  const listed = new Set(asked.map(({ path }) => path));
  return [...defaultDevices.filter(({ path }) => !listed.has(path)), ...asked];
}

/** Whether /dev is somebody's own folder, as `-v folder:/dev` makes it. */
export const hasForeignDev = ({ mounts }: RuntimeSpec): boolean =>
  mounts.some(({ destination, type = "bind" }) => destination === "/dev" && type === "bind");

export interface DeviceSteps {
  readonly spec: RuntimeSpec;
  readonly facts: HostFacts;
  readonly root: Root;
  readonly foreignDev?: true | undefined;
}

/** Makes the device nodes and the links of /dev. */
export function writeDevices(writer: PlanWriter, request: DeviceSteps): void {
  const { spec, facts, root, foreignDev } = request;
  if (
    (facts.capabilities & capabilityMask(["CAP_MKNOD"])) === 0n &&
    spec.linux.devices.length > 0
  ) {
    throw invalid("the engine cannot make device nodes: it lacks CAP_MKNOD");
  }
  let open = "";
  for (const device of devicesOf(spec, foreignDev)) {
    const { parent, name } = splitPath(device.path);
    if (parent !== open) {
      targetStep(writer, { root, path: parent, directory: true, result: "devices" });
      open = parent;
    }
    writer.within(`error creating device nodes: mknod ${device.path}`, () =>
      deviceNode(writer, device, name),
    );
  }
  writeDeviceLinks(writer, request);
}

/** Makes the links of /dev, and leaves it open in $dev. */
export function writeDeviceLinks(
  writer: PlanWriter,
  { facts, root, foreignDev }: Omit<DeviceSteps, "spec">,
): void {
  targetStep(writer, { root, path: "/dev", directory: true, result: "dev" });
  if (foreignDev === true) return;
  const pairs = facts.kcore ? [...links, ["core", "/proc/kcore"] as const] : links;
  for (const [name, target] of [...pairs, ["ptmx", "pts/ptmx"] as const]) {
    const args = [{ text: target }, { register: "dev" }, { text: name }];
    writer.call("symlinkat", args, `link /dev/${name} to ${target}`, { allow: ["EEXIST"] });
  }
}

function deviceNode(writer: PlanWriter, device: DeviceSpec, name: string): void {
  const { path, major = 0, minor = 0, fileMode = 0o666, uid = 0, gid = 0 } = device;
  const mode = deviceTypes[device.type] | (fileMode & 0o7777);
  const at = [{ register: "devices" }, { text: name }] as const;
  const made = [...at, mode, deviceNumber(major, minor)];
  writer.call("mknodat", made, `make ${path}`, { result: "made", allow: ["EEXIST"] });
  if (uid === 0 && gid === 0) return;
  writer.ifFine("made", `${path} was there`, () =>
    writer.call("fchownat", [...at, uid, gid, 0x100], `owner of ${path}`),
  );
}

/** Binds a terminal to /dev/console: the file below it is ours, and the terminal comes by descriptor. */
export function writeConsole(writer: PlanWriter, slave: Argument): void {
  const file = [{ register: "dev" }, { text: "console" }] as const;
  writer.call("mknodat", [...file, S_IFREG | 0o600, 0], "make /dev/console", {
    allow: ["EEXIST"],
  });
  const flags = O_PATH | O_NOFOLLOW;
  writer.call("openat", [...file, flags, 0], "open /dev/console", { result: "target" });
  writer.call("open_tree", [slave, { text: "" }, CLONE_EMPTY], "copy the terminal's mount", {
    result: "tree",
  });
  attach(
    writer,
    { register: "tree" },
    { register: "target" },
    "mount the terminal at /dev/console",
  );
}

const statx = { area: "statx", sizeBytes: STATX_BYTES };
const statfs = { area: "statfs", sizeBytes: STATFS_BYTES };

/** Lays masks and makes paths read-only, and looks at each afterwards: it must be what it claims to be. */
export function writeProtection(writer: PlanWriter, { spec, facts, root }: DeviceSteps): void {
  const { maskedPaths, readonlyPaths } = spec.linux;
  for (const path of readonlyPaths) readOnly(writer, root, path);
  if (maskedPaths.length === 0) return;
  const nursery = (path: string, result: string) =>
    writer.call("openat", [AT_FDCWD, { text: path }, O_PATH, 0], `open the nursery's ${path}`, {
      result,
    });
  nursery("/null", "null");
  nursery("/empty", "empty");
  for (const path of maskedPaths) mask(writer, { root, path, emptyDevice: facts.emptyDevice });
}

interface MaskStep {
  readonly root: Root;
  readonly path: string;
  readonly emptyDevice: bigint;
}

function mask(writer: PlanWriter, { root, path, emptyDevice }: MaskStep): void {
  const lay = (what: string, allow?: readonly ["EINVAL"]) => {
    writer.call("open_tree", [{ register: what }, { text: "" }, CLONE_EMPTY], `copy ${what}`, {
      result: "tree",
    });
    // 0x44: both paths are empty, the descriptors say it all.
    const args = [{ register: "tree" }, { text: "" }, { register: "target" }, { text: "" }, 0x44];
    writer.call("move_mount", args, `mask ${path}`, { result: "masked", ...(allow && { allow }) });
  };
  const verify = (offset: number, wanted: bigint) => {
    openStep(writer, { root, path, result: "target" });
    const args = [{ register: "target" }, { text: "" }, AT_EMPTY_PATH, STATX_BASIC_STATS, statx];
    writer.call("statx", args, `look at ${path}`);
    const area = { ...statx, offset };
    writer.control("requireWord", [area, ALL_BITS, wanted, errnoOf("EPERM")], `${path} is masked`);
  };
  writer.within(`can't mask path "${path}"`, () => {
    openStep(writer, { root, path, result: "target", allow: ["ENOENT", "ENOTDIR"] });
    writer.ifFine("target", `${path} does not exist`, () => {
      // A file does not go over a directory: EINVAL.
      lay("null", ["EINVAL"]);
      writer.ifFine("masked", `${path} is a directory`, () => verify(STATX_RDEV, NULL_DEVICE));
      writer.ifFailed("masked", `${path} is no directory`, () => {
        lay("empty");
        verify(STATX_DEV, emptyDevice);
      });
    });
  });
}

function readOnly(writer: PlanWriter, root: Root, path: string): void {
  writer.within(`can't make ${JSON.stringify(path)} read-only`, () => {
    openStep(writer, { root, path, result: "target", allow: ["ENOENT", "ENOTDIR"] });
    writer.ifFine("target", `${path} does not exist`, () => {
      const args = [{ register: "target" }, { text: "" }, CLONE_EMPTY | AT_RECURSIVE];
      writer.call("open_tree", args, `copy ${path}`, { result: "tree" });
      const change = { set: MOUNT_ATTR_RDONLY, recursive: true };
      changeAttributes(writer, { register: "tree" }, change, `${path} becomes read-only`);
      attach(writer, { register: "tree" }, { register: "target" }, `mount ${path} over itself`);
      openStep(writer, { root, path, result: "target" });
      writer.call("fstatfs", [{ register: "target" }, statfs], `look at ${path}`);
      const flags = { ...statfs, offset: STATFS_FLAGS };
      const wanted = [flags, ST_RDONLY, ST_RDONLY, errnoOf("EPERM")];
      writer.control("requireWord", wanted, `${path} is read-only`);
      if (!path.startsWith("/proc/")) return;
      const magic = [statfs, 0xffff_ffff, PROC_SUPER_MAGIC, errnoOf("EPERM")];
      writer.control("requireWord", magic, `${path} is procfs`);
    });
  });
}
