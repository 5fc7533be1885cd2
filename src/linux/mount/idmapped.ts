/**
 * Mounts that show ids shifted: what 0 owns on disk is the mapped root's, by the maps of a user namespace.
 * An overlay cannot be such a mount itself; its layers can, the upper one too. Then whoever makes the overlay must be
 * one of the ids that the upper layer can store, since overlayfs makes its own files in that name.
 */
import { attempt, checked, cstring, SyscallError } from "#linux/ffi";
import {
  AT_EMPTY_PATH,
  FileDescriptor,
  fileSystemType,
  O_DIRECTORY,
  O_PATH,
  openPath,
  statFd,
} from "#linux/path";

import { MOUNT_ATTR_IDMAP, OPEN_TREE_CLONE } from "./constants.ts";
import { mountSetattr, openTree } from "./mount.ts";
import { clonePart } from "./overlay-by-path.ts";
import { createDetachedOverlay } from "./overlay.ts";

const TMPFS_MAGIC = 0x01021994;
const PR_SET_SECUREBITS = 28;
// The change of the file system's user takes no capability away.
const SECBIT_NO_SETUID_FIXUP = 4;

export interface Identities {
  /** A user namespace with the maps. */
  readonly userNamespaceFd: number;
  /** What the host calls the container's root. */
  readonly uid: number;
  readonly gid: number;
}

/** Shifts the ids of a detached mount of ours. @throws SyscallError "EINVAL" where its file system cannot */
export const shiftIds = (fd: number, { userNamespaceFd }: Identities, recursive = false): void =>
  mountSetattr({ fd, set: MOUNT_ATTR_IDMAP, userNamespaceFd, recursive });

/**
 * As `shiftIds`; a tmpfs of a kernel that cannot shift one (before Linux 6.3) is given to the container's root
 * instead, as Docker does: what is made in it has the host's names of the container's ids.
 * @throws SyscallError "EINVAL" where any other file system cannot
 */
export function shiftOrGive(fd: number, identities: Identities): void {
  try {
    shiftIds(fd, identities);
  } catch (thrown) {
    const cannot = thrown instanceof SyscallError && thrown.code === "EINVAL";
    if (!cannot || fileSystemType(fd) !== TMPFS_MAGIC) throw thrown;
    const { uid, gid } = statFd(fd);
    const owner = [uid === 0 ? identities.uid : -1, gid === 0 ? identities.gid : -1] as const;
    checked("fchownat", "a tmpfs", fd, cstring(""), ...owner, AT_EMPTY_PATH);
  }
}

/**
 * Runs `make` with this thread's files made in another's name, its powers kept. `make` must be synchronous.
 * If the way back fails the process aborts: no code may run as somebody else.
 */
export function asFileOwner<T>(
  { uid, gid }: Pick<Identities, "uid" | "gid">,
  make: () => T extends PromiseLike<unknown> ? never : T,
): T {
  checked("prctl", "securebits", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
  try {
    attempt("setfsgid", gid);
    attempt("setfsuid", uid);
    return make();
  } finally {
    attempt("setfsuid", 0);
    attempt("setfsgid", 0);
    // Both answer the id that was: asking again tells whether the thread is root again.
    const home = attempt("setfsuid", 0) === 0 && attempt("setfsgid", 0) === 0;
    if (!home || attempt("prctl", PR_SET_SECUREBITS, 0, 0, 0, 0) !== 0) process.abort();
  }
}

export interface ShiftedOverlayRequest {
  readonly lowers: readonly string[];
  /** Absent: read-only. Both lie in one folder. */
  readonly writable?: { readonly folder: string; readonly upper: string; readonly work: string };
  readonly identities: Identities;
}

/** As `createDetachedOverlay`, of layers that store the container's own ids (Linux 5.19). @throws SyscallError */
export function createShiftedOverlay(request: ShiftedOverlayRequest): number {
  const { lowers, writable, identities } = request;
  const open: FileDescriptor[] = [];
  const keep = (fd: number) => {
    open.push(new FileDescriptor(fd));
    return fd;
  };
  const shifted = (path: string) => {
    const fd = keep(openTree({ path, flags: OPEN_TREE_CLONE }));
    shiftIds(fd, identities);
    return fd;
  };
  try {
    const layers = lowers.map(shifted);
    if (writable === undefined) {
      return createDetachedOverlay({ lowers: layers, readOnly: true, mounts: layers });
    }
    // One mount for both: overlayfs renames from the one to the other.
    const folder = shifted(writable.folder);
    const mounts = [...layers, folder];
    const below = (name: string) => keep(openPath(name, O_PATH | O_DIRECTORY, 0, folder));
    const [upper, work] = [below(writable.upper), below(writable.work)];
    return asFileOwner(identities, () =>
      createDetachedOverlay({ lowers: layers, upper, work, mounts }),
    );
  } finally {
    for (const fd of open) fd[Symbol.dispose]();
  }
}

/** As `createDetachedView`, shifted. @throws SyscallError "EXDEV" when a link would leave */
export function createShiftedView(request: {
  readonly lowers: readonly string[];
  readonly subpath: string | undefined;
  readonly identities: Identities;
}): number {
  const { lowers, subpath, identities } = request;
  using tree = new FileDescriptor(createShiftedOverlay({ lowers, identities }));
  if (subpath === undefined) return tree.release();
  return clonePart(tree, subpath);
}
