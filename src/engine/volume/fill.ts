/** A new volume gets what the image has at its place: all of it or, after a crash, nothing, to be done again. */
import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";

import { removeTree } from "#engine/snapshot";
import { SyscallError } from "#linux/ffi";
import { createDetachedOverlay } from "#linux/mount";
import {
  FileDescriptor,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  openInRoot,
  openPath,
} from "#linux/path";

import { copyTree } from "./copy-tree.ts";

/** An image's files while they are asked for; nothing is mounted before that. */
export class ImageView implements Disposable {
  readonly #lowers: readonly string[];
  #root: FileDescriptor | null = null;

  /** @param lowers the image's layers as directories, topmost first */
  constructor(lowers: readonly string[]) {
    this.#lowers = lowers;
  }

  /** The image's folder at a path, links followed inside the image; null when there is none. */
  folder(path: string): FileDescriptor | null {
    // Made without being attached anywhere: it is gone when the descriptor closes, whatever happens.
    this.#root ??= new FileDescriptor(
      createDetachedOverlay({ lowers: this.#lowers, readOnly: true }),
    );
    try {
      return new FileDescriptor(
        openInRoot({ rootFd: this.#root.fd, path, flags: O_PATH | O_DIRECTORY }),
      );
    } catch (thrown) {
      const absent =
        thrown instanceof SyscallError && ["ENOENT", "ENOTDIR", "ELOOP"].includes(thrown.code);
      if (absent) return null;
      throw thrown;
    }
  }

  [Symbol.dispose](): void {
    this.#root?.[Symbol.dispose]();
  }
}

/**
 * Fills a volume that nobody else has: beside it, then in one rename, which the kernel refuses when the volume is not
 * empty any more.
 * @param volumeFolder holds `_data`
 */
export async function fillAside(source: FileDescriptor, volumeFolder: string): Promise<void> {
  const aside = join(volumeFolder, "filling");
  await removeTree(aside);
  mkdirSync(aside, { mode: 0o700 });
  {
    using target = new FileDescriptor(openPath(aside, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    await copyTree(source.fd, target.fd);
  }
  try {
    renameSync(aside, join(volumeFolder, "_data"));
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code;
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw thrown;
    await removeTree(aside);
  }
}
