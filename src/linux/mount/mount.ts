/**
 * Mounting: the old call (mount(2), umount2) and the new ones, which work on descriptors
 * (open_tree, move_mount, mount_setattr, fsopen, fsconfig, fsmount).
 */
import { allocate, attempt, checked, cstring, SyscallError } from "#linux/ffi";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  FileDescriptor,
  O_DIRECTORY,
  O_PATH,
  openBeneath,
  openPath,
} from "#linux/path";

import {
  FSCONFIG_CMD_CREATE,
  FSCONFIG_CMD_RECONFIGURE,
  FSCONFIG_SET_FD,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  OPEN_TREE_CLOEXEC,
  UMOUNT_NOFOLLOW,
} from "./constants.ts";

export interface MountRequest {
  readonly source?: string;
  readonly target: string;
  readonly type?: string;
  /** MS_*. */
  readonly flags?: number;
  /** The file system's options, comma separated. */
  readonly data?: string;
}

/** A mount that disposing takes away again. */
export interface Mounted extends Disposable {
  readonly target: string;
}

const optional = (text: string | undefined) => (text === undefined ? null : cstring(text));

/** mount(2); disposing detaches the target. @throws SyscallError, `code` such as "EBUSY" */
export function mount({ source, target, type, flags = 0, data }: MountRequest): Mounted {
  const [from, at, kind, options] = [
    cstring(source ?? "none"),
    cstring(target),
    optional(type),
    optional(data),
  ];
  checked("mount", target, from, at, kind, flags, options);
  return { target, [Symbol.dispose]: () => void unmount(target) };
}

/** umount2, never through a link. @returns false when nothing was mounted there. @throws SyscallError */
export function unmount(target: string, flags = 0): boolean {
  const result = attempt("umount2", cstring(target), flags | UMOUNT_NOFOLLOW);
  if (result === 0) return true;
  if (result === -22 || result === -2) return false;
  throw new SyscallError("umount2", target, -result);
}

/** A descriptor of the mount at a path; with OPEN_TREE_CLONE (and AT_RECURSIVE) of a detached copy. @throws SyscallError */
export function openTree(request: { dirFd?: number; path: string; flags?: number }): number {
  const { dirFd = AT_FDCWD, path, flags = 0 } = request;
  const empty = path === "" ? AT_EMPTY_PATH : 0;
  return checked("open_tree", path, dirFd, cstring(path), flags | OPEN_TREE_CLOEXEC | empty);
}

/**
 * As `openTree`, of a path below one of ours that strangers write to: no link there leads out of it.
 * @param request.subpath absent: the path itself
 */
export function openTreeBelow(request: {
  path: string;
  subpath: string | undefined;
  flags: number;
}): number {
  const { path, subpath, flags } = request;
  if (subpath === undefined) return openTree({ path, flags });
  using top = new FileDescriptor(openPath(path, O_PATH | O_DIRECTORY));
  using place = new FileDescriptor(openBeneath({ rootFd: top.fd, path: subpath, flags: O_PATH }));
  return openTree({ dirFd: place.fd, path: "", flags });
}

export interface MoveMountRequest {
  /** A descriptor of open_tree or fsmount; with `fromPath`, the directory it starts at. */
  readonly fromFd: number;
  readonly fromPath?: string;
  readonly toFd?: number;
  readonly toPath?: string;
  /** MOVE_MOUNT_*; those for empty paths are added. */
  readonly flags?: number;
}

/** Attaches or moves a mount. An empty or missing path means the descriptor itself. @throws SyscallError */
export function moveMount(request: MoveMountRequest): void {
  const { fromFd, fromPath = "", toFd = AT_FDCWD, toPath = "", flags = 0 } = request;
  const empty =
    (fromPath === "" ? MOVE_MOUNT_F_EMPTY_PATH : 0) | (toPath === "" ? MOVE_MOUNT_T_EMPTY_PATH : 0);
  const [from, to] = [cstring(fromPath), cstring(toPath)];
  checked("move_mount", toPath || `fd ${toFd}`, fromFd, from, toFd, to, flags | empty);
}

export interface MountAttributes {
  /** The mount: a descriptor, or one with a path below it. */
  readonly fd: number;
  readonly path?: string;
  /** MOUNT_ATTR_* to set and to clear. */
  readonly set?: number;
  readonly clear?: number;
  /** MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE. */
  readonly propagation?: number;
  /** For MOUNT_ATTR_IDMAP: a descriptor of the user namespace whose maps apply. */
  readonly userNamespaceFd?: number;
  readonly recursive?: boolean;
}

/** mount_setattr. @throws SyscallError */
export function mountSetattr(request: MountAttributes): void {
  const { fd, path = "", set = 0, clear = 0, propagation = 0, userNamespaceFd = 0 } = request;
  const attributes = allocate(32);
  const view = new DataView(attributes.buffer);
  for (const [index, word] of [set, clear, propagation, userNamespaceFd].entries()) {
    view.setBigUint64(index * 8, BigInt(word), true);
  }
  const flags = (path === "" ? AT_EMPTY_PATH : 0) | (request.recursive ? AT_RECURSIVE : 0);
  const name = cstring(path);
  checked("mount_setattr", path || `fd ${fd}`, fd, name, flags, attributes, attributes.length);
}

/** A context to configure a new mount of a file system type in; close it after fsmount. @throws SyscallError */
export const fsopen = (type: string): number =>
  checked("fsopen", type, cstring(type), FSOPEN_CLOEXEC);

/** One step of configuring a context. */
export type FsConfig =
  | { readonly kind: "flag"; readonly key: string }
  | { readonly kind: "string"; readonly key: string; readonly value: string }
  | { readonly kind: "fd"; readonly key: string; readonly fd: number }
  | { readonly kind: "create" }
  | { readonly kind: "reconfigure" };

/** fsconfig. @throws SyscallError whose subject carries what the file system itself wrote about the failure */
export function fsconfig(contextFd: number, step: FsConfig): void {
  const key = "key" in step ? cstring(step.key) : null;
  const value = step.kind === "string" ? cstring(step.value) : null;
  const fd = step.kind === "fd" ? step.fd : 0;
  const result = attempt("fsconfig", contextFd, commands[step.kind], key, value, fd);
  if (result >= 0) return;
  const about = [
    step.kind === "string" ? `${step.key}=${step.value}` : "key" in step ? step.key : step.kind,
    ...contextLog(contextFd),
  ];
  throw new SyscallError("fsconfig", about.join(": "), -result);
}

const commands = {
  flag: FSCONFIG_SET_FLAG,
  string: FSCONFIG_SET_STRING,
  fd: FSCONFIG_SET_FD,
  create: FSCONFIG_CMD_CREATE,
  reconfigure: FSCONFIG_CMD_RECONFIGURE,
} as const satisfies Record<FsConfig["kind"], number>;

/** The messages that wait in a context: "e overlay: …" without their level. */
function contextLog(contextFd: number): string[] {
  const lines: string[] = [];
  const buffer = allocate(1024);
  for (;;) {
    const length = attempt("read", contextFd, buffer, buffer.length);
    if (length <= 0) return lines;
    lines.push(new TextDecoder().decode(buffer.subarray(2, length)).trim());
  }
}

/** The detached mount of a created context, as a descriptor. @param attributes MOUNT_ATTR_* @throws SyscallError */
export const fsmount = (contextFd: number, attributes = 0): number =>
  checked("fsmount", `fd ${contextFd}`, contextFd, FSMOUNT_CLOEXEC, attributes);
