/**
 * Deleting what a container left. Usually that is an ordinary tree; but a container can nest directories deeper than
 * any path can say, so what plain deletion cannot reach is brought to the top by rename and deleted there.
 */
import { rm } from "node:fs/promises";

import { newId } from "#base";
import { attempt, checked, cstring, errnoNumbers, SyscallError } from "#linux/ffi";
import {
  AT_REMOVEDIR,
  FileDescriptor,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  openPath,
  readDirectory,
  S_IFDIR,
} from "#linux/path";

/** Entries that are deleted before others get a turn. */
const BATCH = 256;

/** Deletes a directory and all below it, following no link. Nothing there is no error. @throws SyscallError */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch {
    await removeFlat(path);
  }
}

/** Works at any depth with two descriptors: every directory found is first moved beside the first. */
async function removeFlat(path: string): Promise<void> {
  using top = openedOrNull(path);
  if (!top) return;
  let done = 0;
  for (;;) {
    const entries = readDirectory(top.fd);
    if (entries.length === 0) break;
    for (const entry of entries) {
      if (entry.type << 12 === S_IFDIR) done += await flatten(top.fd, entry.name);
      else checked("unlinkat", path, top.fd, cstring(entry.name), 0);
      if ((done += 1) % BATCH === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    checked("lseek", path, top.fd, 0, 0);
  }
  checked("unlinkat", path, -100, cstring(path), AT_REMOVEDIR);
}

function openedOrNull(path: string): FileDescriptor | null {
  try {
    return new FileDescriptor(openPath(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  } catch (error) {
    if (error instanceof SyscallError && error.code === "ENOENT") return null;
    throw error;
  }
}

/** Empties one directory at the top, its own directories going beside it, and deletes it. @returns how many entries it had */
async function flatten(topFd: number, name: Uint8Array): Promise<number> {
  let count = 0;
  {
    using directory = new FileDescriptor(
      openPath(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, topFd),
    );
    for (const entry of readDirectory(directory.fd)) {
      const child = cstring(entry.name);
      const isDirectory = entry.type << 12 === S_IFDIR;
      if (isDirectory) {
        checked("renameat2", "trash", directory.fd, child, topFd, cstring(`moved-${newId()}`), 0);
      } else checked("unlinkat", "trash", directory.fd, child, 0);
      if ((count += 1) % BATCH === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }
  const result = attempt("unlinkat", topFd, cstring(name), AT_REMOVEDIR);
  if (result < 0 && result !== -errnoNumbers.ENOENT) {
    throw new SyscallError("unlinkat", "trash", -result);
  }
  return count;
}
