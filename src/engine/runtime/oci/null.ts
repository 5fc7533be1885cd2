/**
 * A null device of a container's own. crun gives standard streams to the container's user, whatever they are: the host's
 * /dev/null would be that user's from then on.
 */
import { fstatSync } from "node:fs";

import { checked, cstring } from "#linux/ffi";
import { fsconfig, fsmount, fsopen, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID } from "#linux/mount";
import { FileDescriptor, isType, O_RDWR, openPath, S_IFCHR } from "#linux/path";

/** Major 1, minor 3. */
const NULL_DEVICE = 0x103;

/** Whether a stream is a device that is not the container's to have. */
export function isNullDevice(fd: number): boolean {
  const { mode, rdev } = fstatSync(fd);
  return isType(mode, S_IFCHR) && rdev === NULL_DEVICE;
}

/** Of a file system that nothing else is in; the caller's to close. @throws SyscallError */
export function openNullDevice(): number {
  using folder = new FileDescriptor(createNullFolder());
  return openPath("null", O_RDWR, 0, folder.fd);
}

/** A detached folder with nothing but `null` in it; the caller's to close. @throws SyscallError */
export function createNullFolder(): number {
  using context = new FileDescriptor(fsopen("tmpfs"));
  fsconfig(context.fd, { kind: "create" });
  const attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  using folder = new FileDescriptor(fsmount(context.fd, attributes));
  checked("mknodat", "null", folder.fd, cstring("null"), S_IFCHR | 0o666, NULL_DEVICE);
  checked("fchmodat", "null", folder.fd, cstring("null"), 0o666);
  return folder.release();
}
