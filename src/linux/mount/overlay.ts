/**
 * Overlays as detached mounts: made in the initial user namespace, attached later by whoever gets the
 * descriptor. Lowers go in one by one (`lowerdir+`, Linux 6.8), so a stack is not limited by the one page that
 * mount(2) gives to options.
 */
import { FileDescriptor } from "#linux/path";

import { MOUNT_ATTR_RDONLY, OPEN_TREE_CLONE } from "./constants.ts";
import { fsconfig, fsmount, fsopen, mountSetattr, openTree } from "./mount.ts";

export interface OverlayRequest {
  /** Topmost first: paths, or descriptors (of idmapped mounts for example; Linux 6.13). */
  readonly lowers: readonly (string | number)[];
  readonly upper?: string | number;
  readonly work?: string | number;
  /** Further options of overlayfs, such as `metacopy: "off"`; true for one without a value. */
  readonly options?: Readonly<Record<string, string | true>>;
  readonly readOnly?: boolean;
}

/**
 * A detached overlay. One lower alone without an upper is a read-only clone of it, since overlayfs refuses that.
 * @returns the mount's descriptor; closing it before it is attached unmounts it
 * @throws SyscallError
 */
export function createDetachedOverlay(request: OverlayRequest): number {
  const { lowers, upper, work, options = {}, readOnly } = request;
  const [only, second] = lowers;
  if (upper === undefined && only !== undefined && second === undefined) return cloneOf(only);
  using context = new FileDescriptor(fsopen("overlay"));
  const set = (key: string, value: string | number) =>
    fsconfig(
      context.fd,
      typeof value === "number" ? { kind: "fd", key, fd: value } : { kind: "string", key, value },
    );
  fsconfig(context.fd, { kind: "string", key: "source", value: "overlay" });
  for (const lower of lowers) set("lowerdir+", lower);
  if (upper !== undefined) set("upperdir", upper);
  if (work !== undefined) set("workdir", work);
  for (const [key, value] of Object.entries(options)) {
    if (value === true) fsconfig(context.fd, { kind: "flag", key });
    else set(key, value);
  }
  fsconfig(context.fd, { kind: "create" });
  return fsmount(context.fd, readOnly ? MOUNT_ATTR_RDONLY : 0);
}

function cloneOf(lower: string | number): number {
  using tree = new FileDescriptor(
    typeof lower === "number"
      ? openTree({ dirFd: lower, path: "", flags: OPEN_TREE_CLONE })
      : openTree({ path: lower, flags: OPEN_TREE_CLONE }),
  );
  mountSetattr({ fd: tree.fd, set: MOUNT_ATTR_RDONLY });
  return tree.release();
}
