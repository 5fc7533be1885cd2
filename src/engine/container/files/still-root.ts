/** The root of a container that does not run: an overlay that is attached nowhere, with its volumes mounted on it. */
import { existsSync } from "node:fs";

import { SyscallError } from "#linux/ffi";
import {
  cloneAttached,
  createDetachedOverlay,
  createDetachedView,
  MOUNT_ATTR_RDONLY,
  mountSetattr,
  moveMount,
  OPEN_TREE_CLONE,
  openTree,
  openTreeBelow,
} from "#linux/mount";
import {
  AT_RECURSIVE,
  FileDescriptor,
  makeDirectoriesInRoot,
  O_DIRECTORY,
  O_PATH,
  openInRoot,
  openPath,
} from "#linux/path";

/** Said in words that another process understands. */
export interface StillRoot {
  readonly lowers: readonly string[];
  readonly upper: string;
  readonly work: string;
  readonly mounts: readonly StillMount[];
  readonly readOnly: boolean;
}

export interface StillMount {
  readonly source: string;
  /** Shown as one tree instead of the source. */
  readonly lowers?: readonly string[];
  /** Only this part of it, as whoever writes to it left it. */
  readonly subpath?: string;
  readonly target: string;
  readonly readOnly: boolean;
  readonly recursive: boolean;
}

/** What is mounted and is not there is left out. */
export function openStillRoot(still: StillRoot): FileDescriptor {
  const { lowers, upper, work, mounts, readOnly } = still;
  using bare = new FileDescriptor(createDetachedOverlay({ lowers, upper, work }));
  using root = new FileDescriptor(furnished(bare, mounts));
  if (readOnly) mountSetattr({ fd: root.fd, set: MOUNT_ATTR_RDONLY });
  return new FileDescriptor(root.release());
}

/** The tree with the mounts on it. Before Linux 6.15 nothing is mounted on what is attached nowhere: there it is, for an instant. */
function furnished(bare: FileDescriptor, mounts: readonly StillMount[]): number {
  const furnish = () => {
    for (const mount of mounts) if (existsSync(mount.source)) attach(bare.fd, mount);
  };
  try {
    furnish();
    return bare.release();
  } catch (error) {
    if (!(error instanceof SyscallError) || error.code !== "EINVAL") throw error;
  }
  return cloneAttached(bare, () => {
    furnish();
    return openTree({ dirFd: bare.fd, path: "", flags: OPEN_TREE_CLONE | AT_RECURSIVE });
  });
}

function attach(rootFd: number, mount: StillMount): void {
  const { source, lowers, subpath, target, readOnly, recursive } = mount;
  const flags = OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0);
  using tree = new FileDescriptor(
    lowers === undefined
      ? openTreeBelow({ path: source, subpath, flags })
      : createDetachedView({ lowers, subpath }),
  );
  if (readOnly) mountSetattr({ fd: tree.fd, set: MOUNT_ATTR_RDONLY, recursive });
  const at = targetFd(rootFd, target, source);
  if (at === null) return;
  using place = new FileDescriptor(at);
  moveMount({ fromFd: tree.fd, toFd: place.fd });
}

/** The mount point inside the root; null where it cannot be: a start would fail over it, a copy goes without. */
function targetFd(rootFd: number, target: string, source: string): number | null {
  try {
    return openInRoot({ rootFd, path: target, flags: O_PATH });
  } catch (error) {
    if (!(error instanceof SyscallError) || error.code !== "ENOENT") throw error;
    if (!isDirectory(source)) return null;
    return makeDirectoriesInRoot({ rootFd, path: target });
  }
}

function isDirectory(path: string): boolean {
  try {
    using opened = new FileDescriptor(openPath(path, O_PATH | O_DIRECTORY));
    return opened.fd >= 0;
  } catch {
    return false;
  }
}
