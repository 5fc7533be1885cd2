/**
 * A mount needs something to stand on: an empty file or folder that the runtime made where the image has none. It
 * is no change of the program's, and stays out of the step's layer.
 */
import type { RootTree } from "#engine/build/source";
import { SyscallError } from "#linux/ffi";
import {
  FileDescriptor,
  type FileStat,
  isType,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  openPath,
  openWithoutLinks,
  readDirectory,
  S_IFDIR,
  S_IFREG,
  statFd,
} from "#linux/path";
import { bytesOf, rawOf } from "#wire/tar";

/** Paths below an upper directory (byte strings) that only hold what mounts stood on. */
export function mountStubs(
  upper: string,
  root: RootTree,
  targets: readonly string[],
): ReadonlySet<string> {
  const stubs = new Set<string>();
  using top = new FileDescriptor(openPath(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  for (const target of targets) {
    const path = placeOf(root, rawOf(target));
    if (path === null || !isEmpty(top.fd, path)) continue;
    stubs.add(path);
    // What was made on the way there goes with it, as long as nothing else is in it.
    for (let at = parentOf(path); at !== "" && holdsOnly(top.fd, at, stubs); at = parentOf(at)) {
      const old = root.at(at);
      if (old !== null && !isSame(top.fd, at, old)) break;
      stubs.add(at);
    }
  }
  return stubs;
}

const parentOf = (path: string): string => path.slice(0, Math.max(path.lastIndexOf("/"), 0));

/** Where a target that the root does not have was made; null for one that it has. */
function placeOf(root: RootTree, target: string): string | null {
  const parts = target.split("/").filter((part) => part !== "" && part !== ".");
  for (let known = parts.length; known >= 0; known -= 1) {
    const found = root.find(parts.slice(0, known).join("/"), { follow: true });
    if (found === null) continue;
    if (known === parts.length) return null;
    return [found.path, ...parts.slice(known)].filter((part) => part !== "").join("/");
  }
  return null;
}

function lookAt<T>(topFd: number, path: string, flags: number, look: (fd: number) => T): T | null {
  try {
    using opened = new FileDescriptor(
      openWithoutLinks({ rootFd: topFd, path: bytesOf(path), flags }),
    );
    return look(opened.fd);
  } catch (error) {
    if (error instanceof SyscallError) return null;
    throw error;
  }
}

const statOf = (topFd: number, path: string): FileStat | null =>
  lookAt(topFd, path, O_PATH, statFd);

const namesIn = (topFd: number, path: string): string[] | null =>
  lookAt(topFd, path, O_RDONLY | O_DIRECTORY, (fd) =>
    readDirectory(fd).map(({ name }) => rawOf(name)),
  );

function isEmpty(topFd: number, path: string): boolean {
  const stat = statOf(topFd, path);
  if (stat === null) return false;
  if (isType(stat.mode, S_IFREG)) return stat.sizeBytes === 0;
  return isType(stat.mode, S_IFDIR) && namesIn(topFd, path)?.length === 0;
}

const holdsOnly = (topFd: number, path: string, stubs: ReadonlySet<string>): boolean =>
  namesIn(topFd, path)?.every((name) => stubs.has(`${path}/${name}`)) === true;

function isSame(
  topFd: number,
  path: string,
  old: { readonly mode: number; readonly uid: number; readonly gid: number },
): boolean {
  const stat = statOf(topFd, path);
  return (
    stat !== null &&
    (stat.mode & 0o7777) === old.mode &&
    stat.uid === old.uid &&
    stat.gid === old.gid
  );
}
