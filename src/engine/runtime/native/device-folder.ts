/**
 * Devices of a container in a user namespace: who has no power over the host makes no device nodes, and finds none in a
 * file system of its own. So the supervisor makes them, owned by the container's users: /dev as a folder with its nodes,
 * and each device that is not in there as a mount of its own, to be laid over a file as runc does it.
 */
import { posix } from "node:path";

import { attempt, checked, cstring, SyscallError } from "#linux/ffi";
import {
  clonePart,
  fsconfig,
  fsmount,
  fsopen,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_STRICTATIME,
  parseMountOptions,
} from "#linux/mount";
import { FileDescriptor } from "#linux/path";
import type { DeviceSpec, MountSpec, RuntimeSpec } from "#oci";

import { deviceNumber, devicesOf, deviceTypes } from "./devices.ts";
import { splitPath } from "./files.ts";
import { destinationOf } from "./mounts.ts";
import { hostIdOf, type IdMaps } from "./user-namespaces.ts";

const EEXIST = -17;

/** Whether this is the /dev that the engine makes, and fills. */
export const isDeviceFolder = (mount: MountSpec): boolean =>
  mount.type === "tmpfs" && destinationOf(mount) === "/dev";

/** A detached tmpfs with the nodes that are in /dev itself. @throws EngineError, SyscallError */
export function createDeviceFolder(spec: RuntimeSpec, mount: MountSpec, maps: IdMaps): number {
  const root = { uid: hostIdOf(maps.uids, 0), gid: hostIdOf(maps.gids, 0) };
  const { set, data } = parseMountOptions("tmpfs", mount.options ?? []);
  const options = [...data.split(",").filter(Boolean), `uid=${root.uid}`, `gid=${root.gid}`];
  const attributes = set & (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_STRICTATIME);
  using folder = createTmpfs(options, attributes);
  for (const device of devicesOf(spec).filter((one) => isInFolder(spec, one))) {
    const { parent, name } = splitPath(pathOf(device));
    const below = makeFolders(folder.fd, parent.slice("/dev".length), root);
    makeNode(folder.fd, { device, path: `${below}${name}`, maps });
  }
  return folder.release();
}

/** The devices that are elsewhere: beside /dev, in what is mounted inside of it, or in a /dev of somebody else's. */
export const devicesElsewhere = (spec: RuntimeSpec): DeviceSpec[] =>
  spec.linux.devices
    .map((device) => ({ ...device, path: pathOf(device) }))
    .filter((device) => device.path !== "/dev/ptmx" && !isInFolder(spec, device));

/** One node as a detached mount. @throws EngineError, SyscallError */
export function createDeviceMount(device: DeviceSpec, maps: IdMaps): number {
  using folder = createTmpfs(["mode=700"], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  makeNode(folder.fd, { device, path: "node", maps });
  return clonePart(folder, "node");
}

const pathOf = ({ path }: DeviceSpec): string => posix.normalize(path);

/** What is mounted below /dev comes after its nodes, and hides those that are below it. */
function isInFolder({ mounts }: RuntimeSpec, device: DeviceSpec): boolean {
  const path = pathOf(device);
  return (
    path.startsWith("/dev/") &&
    mounts.some(isDeviceFolder) &&
    mounts.every((mount) => {
      const at = destinationOf(mount);
      return at === "/dev" || !at.startsWith("/dev/") || !path.startsWith(`${at}/`);
    })
  );
}

function createTmpfs(options: readonly string[], attributes: number): FileDescriptor {
  using context = new FileDescriptor(fsopen("tmpfs"));
  for (const option of options) {
    const [key = "", value] = option.split("=", 2);
    fsconfig(
      context.fd,
      value === undefined ? { kind: "flag", key } : { kind: "string", key, value },
    );
  }
  fsconfig(context.fd, { kind: "create" });
  return new FileDescriptor(fsmount(context.fd, attributes));
}

interface NodeRequest {
  readonly device: DeviceSpec;
  /** In the folder. */
  readonly path: string;
  readonly maps: IdMaps;
}

/** The first of two at one place stays. */
function makeNode(folder: number, { device, path, maps }: NodeRequest): void {
  const { major = 0, minor = 0, fileMode = 0o666, uid = 0, gid = 0 } = device;
  const name = cstring(path);
  const mode = deviceTypes[device.type] | (fileMode & 0o7777);
  const made = attempt("mknodat", folder, name, mode, deviceNumber(major, minor));
  if (made === EEXIST) return;
  if (made < 0) throw new SyscallError("mknod", device.path, -made);
  const owner = [hostIdOf(maps.uids, uid), hostIdOf(maps.gids, gid)] as const;
  checked("fchownat", device.path, folder, name, ...owner, 0x100);
  // mknod heeds the umask.
  checked("fchmodat", device.path, folder, name, fileMode & 0o7777);
}

/** Nobody else sees the folder yet: names are what they are. @returns the relative path with its slash, or "" */
function makeFolders(fd: number, path: string, { uid, gid }: { uid: number; gid: number }): string {
  let below = "";
  for (const part of path.split("/").filter(Boolean)) {
    below += part;
    const made = attempt("mkdirat", fd, cstring(below), 0o755);
    if (made < 0 && made !== EEXIST) throw new SyscallError("mkdir", `/dev/${below}`, -made);
    if (made === 0) checked("fchownat", below, fd, cstring(below), uid, gid, 0x100);
    below += "/";
  }
  return below;
}
