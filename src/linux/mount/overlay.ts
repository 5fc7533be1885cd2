/**
 * Overlays as detached mounts: made in the initial user namespace, attached later by whoever gets the
 * descriptor. Lowers go in one by one (`lowerdir+`, Linux 6.8), so a stack is not limited by the one page that
 * mount(2) gives to options. Older kernels: overlay-by-path.ts.
 */
import { SyscallError } from "#linux/ffi";
import { FileDescriptor } from "#linux/path";

import {
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  OPEN_TREE_CLONE,
} from "./constants.ts";
import { fsconfig, fsmount, fsopen, mountSetattr, openTree } from "./mount.ts";
import {
  cloneOrAttach,
  clonePart,
  createOverlayByPath,
  takesLowersOneByOne,
} from "./overlay-by-path.ts";

export interface OverlayRequest {
  /** Topmost first: paths, or descriptors (of idmapped mounts for example; Linux 6.13). */
  readonly lowers: readonly (string | number)[];
  readonly upper?: string | number;
  readonly work?: string | number;
  /** Further options of overlayfs, such as `userxattr: true` (one without a value). */
  readonly options?: Readonly<Record<string, string | true>>;
  readonly readOnly?: boolean;
  /** The detached mounts that `lowers`, `upper` and `work` are part of, where these are descriptors. */
  readonly mounts?: readonly number[];
}

/**
 * What a writable overlay of ours never does, whatever the kernel's build defaults are: with these features a
 * file's content or place would be in attributes that point elsewhere, and the upper directory alone would not be what
 * the container changed.
 */
const PLAIN_UPPER = { redirect_dir: "nofollow", metacopy: "off", index: "off" } as const;

/**
 * A detached overlay. One lower alone without an upper is a read-only clone of it, since overlayfs refuses that.
 * @returns the mount's descriptor; closing it before it is attached unmounts it
 * @throws SyscallError
 */
export function createDetachedOverlay(request: OverlayRequest): number {
  const { lowers, upper, options = {} } = request;
  const [only, second] = lowers;
  if (upper === undefined && only !== undefined && second === undefined) return cloneOf(only);
  const plain = upper === undefined ? {} : PLAIN_UPPER;
  const complete = { ...request, options: { ...plain, ...options } };
  if (!takesLowersOneByOne()) return createOverlayByPath(complete);
  try {
    return createOverlayByParts(complete);
  } catch (thrown) {
    // Layers by descriptor came with Linux 6.13 (before: EBADF), those of detached mounts later still.
    const mayBeOld = thrown instanceof SyscallError && ["EBADF", "EINVAL"].includes(thrown.code);
    if (!mayBeOld || request.mounts === undefined) throw thrown;
    return createOverlayByPath(complete);
  }
}

function createOverlayByParts(request: OverlayRequest): number {
  const { lowers, upper, work, options = {}, readOnly } = request;
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

/**
 * The lowers as one read-only tree, or a part of it: links are followed inside, and lead nowhere else.
 * @throws SyscallError "EXDEV" when one would leave
 */
export function createDetachedView(request: {
  lowers: readonly string[];
  subpath: string | undefined;
}): number {
  const { lowers, subpath } = request;
  using tree = new FileDescriptor(createDetachedOverlay({ lowers, readOnly: true }));
  if (subpath === undefined) return tree.release();
  return clonePart(tree, subpath);
}

function cloneOf(lower: string | number): number {
  using tree = new FileDescriptor(
    typeof lower === "number"
      ? cloneOrAttach({ fd: lower })
      : openTree({ path: lower, flags: OPEN_TREE_CLONE }),
  );
  // As in an overlay, what the lower mount is itself kept from does not count.
  const clear = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  mountSetattr({ fd: tree.fd, set: MOUNT_ATTR_RDONLY, clear });
  return tree.release();
}
