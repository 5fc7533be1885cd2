/**
 * /dev of a container in a user namespace: who has no power over the host makes no device nodes, and finds none in a
 * file system of its own. So the supervisor makes the folder, its nodes in it and owned by the container's users.
 */
import { notImplemented } from "#base";
import { attempt, checked, cstring, SyscallError } from "#linux/ffi";
import {
  fsconfig,
  fsmount,
  fsopen,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_STRICTATIME,
  parseMountOptions,
} from "#linux/mount";
import { FileDescriptor } from "#linux/path";
import type { MountSpec, RuntimeSpec } from "#oci";

import { deviceNumber, devicesOf, deviceTypes } from "./devices.ts";
import { splitPath } from "./files.ts";
import { hostIdOf, type IdMaps } from "./user-namespaces.ts";

const EEXIST = -17;

/** A detached tmpfs with the nodes. @throws EngineError for a device elsewhere, SyscallError */
export function createDeviceFolder(spec: RuntimeSpec, mount: MountSpec, maps: IdMaps): number {
  const root = { uid: hostIdOf(maps.uids, 0), gid: hostIdOf(maps.gids, 0) };
  const { set, data } = parseMountOptions("tmpfs", mount.options ?? []);
  using context = new FileDescriptor(fsopen("tmpfs"));
  for (const option of [...data.split(",").filter(Boolean), `uid=${root.uid}`, `gid=${root.gid}`]) {
    const [key = "", value] = option.split("=", 2);
    fsconfig(
      context.fd,
      value === undefined ? { kind: "flag", key } : { kind: "string", key, value },
    );
  }
  fsconfig(context.fd, { kind: "create" });
  const attributes = set & (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_STRICTATIME);
  using folder = new FileDescriptor(fsmount(context.fd, attributes));
  for (const device of devicesOf(spec)) {
    const { parent, name } = splitPath(device.path);
    if (parent !== "/dev" && !parent.startsWith("/dev/")) {
      throw notImplemented(
        `error creating device nodes: mknod ${device.path}: a container in a user namespace has its devices below /dev`,
      );
    }
    const { major = 0, minor = 0, fileMode = 0o666, uid = 0, gid = 0 } = device;
    const below = makeFolders(folder.fd, parent.slice("/dev".length), root);
    const path = cstring(`${below}${name}`);
    const mode = deviceTypes[device.type] | (fileMode & 0o7777);
    const made = attempt("mknodat", folder.fd, path, mode, deviceNumber(major, minor));
    if (made === EEXIST) continue;
    if (made < 0) throw new SyscallError("mknod", device.path, -made);
    const owner = [hostIdOf(maps.uids, uid), hostIdOf(maps.gids, gid)] as const;
    checked("fchownat", device.path, folder.fd, path, ...owner, 0x100);
    // mknod heeds the umask.
    checked("fchmodat", device.path, folder.fd, path, fileMode & 0o7777);
  }
  return folder.release();
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
