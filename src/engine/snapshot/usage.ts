/** How much disk a tree takes. */
import { breathe } from "#base";
import {
  FileDescriptor,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  openBeneath,
  openPath,
  readDirectory,
  S_IFDIR,
  statPath,
} from "#linux/path";
import { SyscallError } from "#linux/ffi";

const BLOCK_BYTES = 512;

/**
 * The blocks of every file below a directory, hard links once, no link followed, directories themselves not counted.
 * The tree may change meanwhile: what vanishes is not counted.
 */
export async function usageOf(path: string): Promise<number> {
  using root = new FileDescriptor(openPath(path, O_PATH | O_DIRECTORY | O_NOFOLLOW));
  const linked = new Set<bigint>();
  const pending: Uint8Array[] = [Buffer.from(".")];
  let blocks = 0;
  for (let below = pending.pop(); below; below = pending.pop()) {
    using directory = openedOrNull(root.fd, below);
    if (!directory) continue;
    for (const { name, type } of readDirectory(directory.fd)) {
      await breathe();
      if (type << 12 === S_IFDIR) {
        pending.push(Buffer.concat([below, Buffer.from("/"), name]));
        continue;
      }
      const stat = statPath(name, directory.fd);
      if (!stat || linked.has(stat.ino)) continue;
      if (stat.nlink > 1) linked.add(stat.ino);
      blocks += stat.blocks;
    }
  }
  return blocks * BLOCK_BYTES;
}

/** null for a directory that vanished, became something else, or lies deeper than a path can say. */
function openedOrNull(rootFd: number, path: Uint8Array): FileDescriptor | null {
  try {
    const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    return new FileDescriptor(openBeneath({ rootFd, path, flags }));
  } catch (error) {
    if (error instanceof SyscallError) return null;
    throw error;
  }
}
