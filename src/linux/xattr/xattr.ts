/** Extended attributes: text names, binary values. A path's last link is never followed. */
import {
  addressOf,
  allocate,
  attempt,
  checked,
  cstring,
  errnoNumbers,
  SyscallError,
  type SyscallName,
} from "#linux/ffi";

/** A path (text or raw bytes; links are not followed) or an open descriptor (not O_PATH). */
export type XattrTarget = string | Uint8Array | number;

/** What Linux stores at most under one name, and in one list of names. */
const XATTR_SIZE_MAX = 65536;

const onFd: Record<string, SyscallName> = {
  lgetxattr: "fgetxattr",
  lsetxattr: "fsetxattr",
  llistxattr: "flistxattr",
};

/** The system call for this kind of target, and the target as its argument. */
function call(
  name: "lgetxattr" | "lsetxattr" | "llistxattr",
  target: XattrTarget,
): [SyscallName, number | Uint8Array] {
  if (typeof target !== "number") return [name, cstring(target)];
  return [onFd[name] ?? name, target];
}

const scratch = allocate(XATTR_SIZE_MAX);
const scratchAddress = Number(addressOf(scratch));

/** One attribute's value; null when it is not set. @throws SyscallError */
export function getXattr(target: XattrTarget, name: string): Uint8Array<ArrayBuffer> | null {
  const [syscall, where] = call("lgetxattr", target);
  const length = attempt(syscall, where, cstring(name), scratch, XATTR_SIZE_MAX);
  if (length >= 0) return scratch.slice(0, length);
  if (length === -errnoNumbers.ENODATA || length === -errnoNumbers.EOPNOTSUPP) return null;
  throw new SyscallError(syscall, `${String(target)} ${name}`, -length);
}

/** Sets or replaces one attribute. @throws SyscallError */
export function setXattr(target: XattrTarget, name: string, value: Uint8Array): void {
  const [syscall, where] = call("lsetxattr", target);
  const copy = allocate(value.length);
  copy.set(value);
  checked(syscall, `${String(target)} ${name}`, where, cstring(name), copy, value.length, 0);
}

/** The names of every attribute, in the file system's order; none where it has no attributes. @throws SyscallError */
export function listXattrs(target: XattrTarget): string[] {
  const [syscall, where] = call("llistxattr", target);
  const length = attempt(syscall, where, scratchAddress, XATTR_SIZE_MAX);
  if (length === -errnoNumbers.EOPNOTSUPP) return [];
  if (length < 0) throw new SyscallError(syscall, String(target), -length);
  if (length === 0) return [];
  return new TextDecoder().decode(scratch.subarray(0, length - 1)).split("\0");
}
