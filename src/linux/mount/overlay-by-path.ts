/**
 * Overlays on kernels that know only mount(2) for them (before Linux 6.8; Debian 12 has 6.1). Its options are one page of
 * text, so layers are named through descriptors, some 200 of them; and it mounts on a path only, so the overlay is mounted
 * on a place of its own, cloned from there and taken away again:
 *
 *   /run/naru-overlay-<pid>/top   where the overlay, or a tree of which a part is wanted, is for an instant
 *   /run/naru-overlay-<pid>/<n>   likewise the detached mounts that layers are part of: overlayfs takes attached ones only
 *
 * A place that a killed process left is taken away by the next one that comes here.
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync } from "node:fs";

import { errnoNumbers, SyscallError } from "#linux/ffi";
import { FileDescriptor, O_PATH, openBeneath, openPath } from "#linux/path";

import { MNT_DETACH, MOUNT_ATTR_RDONLY, MS_PRIVATE, OPEN_TREE_CLONE } from "./constants.ts";
import { fsconfig, fsopen, mount, mountSetattr, moveMount, openTree, unmount } from "./mount.ts";
import type { OverlayRequest } from "./overlay.ts";

const PLACES = "/run";
const PREFIX = "naru-overlay-";
/** What mount(2) copies of the options, its NUL included. */
const OPTIONS_BYTES = 4096;

type Descriptor = Pick<FileDescriptor, "fd">;

let known: boolean | null = null;
let swept = false;

/**
 * Whether this kernel's overlayfs takes its lowers one by one. Older ones either do not know the parameter or keep any
 * for later; one that knows it looks the path up at once.
 */
export function takesLowersOneByOne(): boolean {
  known ??= (() => {
    using context = new FileDescriptor(fsopen("overlay"));
    try {
      fsconfig(context.fd, { kind: "string", key: "lowerdir+", value: "/proc/naru" });
      return false;
    } catch (thrown) {
      return thrown instanceof SyscallError && thrown.code === "ENOENT";
    }
  })();
  return known;
}

/** As `createDetachedOverlay`, through a path. @throws SyscallError */
export function createOverlayByPath(request: OverlayRequest): number {
  sweep();
  const place = `${PLACES}/${PREFIX}${process.pid}`;
  const top = `${place}/top`;
  mkdirSync(top, { recursive: true, mode: 0o700 });
  const open: FileDescriptor[] = [];
  const attached: string[] = [];
  try {
    for (const fd of request.mounts ?? []) {
      const at = `${place}/${attached.length}`;
      mkdirSync(at, { recursive: true });
      attached.push(at);
      moveMount({ fromFd: fd, toPath: at });
    }
    const named = (layer: string | number) => {
      if (typeof layer === "number") return `/proc/self/fd/${layer}`;
      const opened = new FileDescriptor(openPath(layer, O_PATH));
      open.push(opened);
      return `/proc/self/fd/${opened.fd}`;
    };
    const data = optionsText(request, named);
    mount({ source: "overlay", target: top, type: "overlay", data });
    using tree = new FileDescriptor(openTree({ path: top, flags: OPEN_TREE_CLONE }));
    // As fsmount makes it: what is mounted below /run is shared where /run is.
    const set = request.readOnly === true ? MOUNT_ATTR_RDONLY : 0;
    mountSetattr({ fd: tree.fd, set, propagation: MS_PRIVATE });
    return tree.release();
  } finally {
    for (const fd of open) fd[Symbol.dispose]();
    for (const at of attached) removePlace(at);
    removePlace(top);
    removePlace(place);
  }
}

/**
 * A part of a detached tree as a tree of its own; links are followed inside. Before Linux 6.15 only what is attached can
 * be cloned, so there the tree is, for an instant.
 * @throws SyscallError "EXDEV" when a link would leave
 */
export function clonePart(tree: FileDescriptor, subpath: string): number {
  using part = new FileDescriptor(openBeneath({ rootFd: tree.fd, path: subpath, flags: O_PATH }));
  return cloneOrAttach(tree, part);
}

/** A clone of a part of the tree, which may be detached, or of all of it. @throws SyscallError */
export function cloneOrAttach(tree: Descriptor, part = tree): number {
  const clone = () => openTree({ dirFd: part.fd, path: "", flags: OPEN_TREE_CLONE });
  try {
    return clone();
  } catch (thrown) {
    if (!(thrown instanceof SyscallError) || thrown.code !== "EINVAL") throw thrown;
  }
  return cloneAttached(tree, clone);
}

/** Clones while the tree is attached; what is mounted on it meanwhile is part of the clone or gone. @throws what `clone` does */
export function cloneAttached(tree: Descriptor, clone: () => number): number {
  sweep();
  const place = `${PLACES}/${PREFIX}${process.pid}`;
  const top = `${place}/top`;
  mkdirSync(top, { recursive: true, mode: 0o700 });
  try {
    moveMount({ fromFd: tree.fd, toPath: top });
    using cloned = new FileDescriptor(clone());
    // Before the place is cleared: the end of what is mounted there would be the clone's as well.
    mountSetattr({ fd: cloned.fd, propagation: MS_PRIVATE, recursive: true });
    return cloned.release();
  } finally {
    removePlace(top);
    removePlace(place);
  }
}

function optionsText(
  { lowers, upper, work, options = {} }: OverlayRequest,
  named: (layer: string | number) => string,
): string {
  const words = [`lowerdir=${lowers.map(named).join(":")}`];
  if (upper !== undefined) words.push(`upperdir=${named(upper)}`);
  if (work !== undefined) words.push(`workdir=${named(work)}`);
  for (const [key, value] of Object.entries(options)) {
    words.push(value === true ? key : `${key}=${value}`);
  }
  const text = words.join(",");
  if (text.length >= OPTIONS_BYTES) {
    throw new SyscallError("mount", `an overlay of ${lowers.length} layers`, errnoNumbers.E2BIG);
  }
  return text;
}

/** Places of processes that are gone. */
function sweep(): void {
  if (swept) return;
  swept = true;
  for (const name of readdirSync(PLACES)) {
    const pid = name.startsWith(PREFIX) ? name.slice(PREFIX.length) : "";
    if (pid === "" || existsSync(`/proc/${pid}`)) continue;
    const place = `${PLACES}/${name}`;
    for (const part of readdirSync(place)) removePlace(`${place}/${part}`);
    removePlace(place);
  }
}

function removePlace(path: string): void {
  unmount(path, MNT_DETACH);
  try {
    rmdirSync(path);
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "EBUSY" && code !== "ENOTEMPTY") throw thrown;
  }
}
