/** `rm -r` of one name below a descriptor, for a tree that a stranger may be changing: no link is followed. */
import { attempt, checked, cstring, errnoNumbers, SyscallError } from "#linux/ffi";
import {
  AT_REMOVEDIR,
  FileDescriptor,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  openPath,
  readDirectory,
} from "#linux/path";

/** Every level costs a descriptor; no path of Linux has more. */
const DEPTH_LIMIT = 2048;

/** Removes a file, or a directory with all it holds; nothing there is no error. @throws SyscallError */
export function removeEntry(parentFd: number, name: Uint8Array, depth = 0): void {
  const path = cstring(name);
  const result = attempt("unlinkat", parentFd, path, 0);
  if (result === 0 || result === -errnoNumbers.ENOENT) return;
  const shown = new TextDecoder().decode(name);
  // Linux says EISDIR, POSIX EPERM.
  if (result !== -errnoNumbers.EISDIR && result !== -errnoNumbers.EPERM) {
    throw new SyscallError("unlinkat", shown, -result);
  }
  if (depth > DEPTH_LIMIT) throw new SyscallError("unlinkat", shown, errnoNumbers.ENAMETOOLONG);
  using directory = new FileDescriptor(
    openPath(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, parentFd),
  );
  for (const entry of readDirectory(directory.fd)) {
    removeEntry(directory.fd, entry.name, depth + 1);
  }
  checked("unlinkat", shown, parentFd, path, AT_REMOVEDIR);
}
