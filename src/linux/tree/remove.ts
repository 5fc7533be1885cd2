/** `rm -r` of one name below a descriptor, for a tree that a stranger may be changing: no link is followed. */
import { attempt, checked, cstring, errnoNumbers, SyscallError } from "#linux/ffi";
import {
  AT_REMOVEDIR,
  FileDescriptor,
  type FileStat,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  openPath,
  readDirectory,
  statFd,
  statPath,
} from "#linux/path";

/** Every level costs a descriptor; no path of Linux has more. */
const DEPTH_LIMIT = 2048;

const textOf = (name: Uint8Array): string => new TextDecoder().decode(name);

/**
 * Something is mounted there, in the container: who removed the name here would take that mount away, where inside it is
 * an error. @throws SyscallError "EBUSY"
 */
export function refuseMount({
  there,
  mountId,
  shown,
}: {
  readonly there: FileStat | null;
  /** Of the folder. */
  readonly mountId: bigint;
  readonly shown: string;
}): void {
  if (there === null || there.mountId === mountId) return;
  throw new SyscallError("unlinkat", shown, errnoNumbers.EBUSY);
}

/**
 * Removes a file, or a directory with all it holds; nothing there is no error.
 * @param folder where it is, for errors
 * @throws SyscallError
 */
export function removeEntry(parentFd: number, name: Uint8Array, folder: string, depth = 0): void {
  const path = cstring(name);
  const result = attempt("unlinkat", parentFd, path, 0);
  if (result === 0 || result === -errnoNumbers.ENOENT) return;
  const shown = `${folder}/${textOf(name)}`;
  // Linux says EISDIR, POSIX EPERM.
  if (result !== -errnoNumbers.EISDIR && result !== -errnoNumbers.EPERM) {
    throw new SyscallError("unlinkat", shown, -result);
  }
  if (depth > DEPTH_LIMIT) throw new SyscallError("unlinkat", shown, errnoNumbers.ENAMETOOLONG);
  using directory = new FileDescriptor(
    openPath(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, parentFd),
  );
  const { mountId } = statFd(directory.fd);
  for (const entry of readDirectory(directory.fd)) {
    refuseMount({
      there: statPath(entry.name, directory.fd),
      mountId,
      shown: `${shown}/${textOf(entry.name)}`,
    });
    removeEntry(directory.fd, entry.name, shown, depth + 1);
  }
  checked("unlinkat", shown, parentFd, path, AT_REMOVEDIR);
}
