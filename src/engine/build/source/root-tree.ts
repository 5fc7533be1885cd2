/**
 * The root of a stage or an image as a tree: a read-only overlay of its layers that is attached nowhere, looked at
 * through its descriptor. Nobody can change it, and its links are resolved by the kernel below that descriptor.
 */
import { readlinkSync, readSync } from "node:fs";

import { readApart } from "#base";
import { createDetachedOverlay } from "#linux/mount";
import {
  FileDescriptor,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  openInRoot,
  openWithoutLinks,
  readDirectory,
  readLinkAt,
  statFd,
} from "#linux/path";
import { SyscallError } from "#linux/ffi";
import { ownXattrs, treeTar } from "#linux/tree";
import { bytesOf, rawOf } from "#wire/tar";

import { typeOf } from "./archive-tree.ts";
import type { Found, SourceNode, SourceTree } from "./tree.ts";

const HASH_PIECE_BYTES = 1024 * 1024;
const MISSING = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG"]);

export class RootTree implements SourceTree, Disposable {
  readonly #root: FileDescriptor;

  /** @param lowers mounted layers, topmost first; or a detached mount, which is the tree's from now on */
  constructor(lowers: readonly string[] | FileDescriptor) {
    this.#root =
      lowers instanceof FileDescriptor
        ? lowers
        : new FileDescriptor(createDetachedOverlay({ lowers, readOnly: true }));
  }

  get fd(): number {
    return this.#root.fd;
  }

  find(path: string, { follow }: { readonly follow: boolean }): Found | null {
    try {
      const flags = O_PATH | (follow ? 0 : O_NOFOLLOW);
      using opened = new FileDescriptor(
        openInRoot({ rootFd: this.fd, path: bytesOf(path === "" ? "." : path), flags }),
      );
      // Of a mount that is attached nowhere the kernel names what is below its top.
      const real = readlinkSync(`/proc/self/fd/${opened.fd}`, { encoding: "buffer" });
      const found = rawOf(real).replace(/^\/+/, "");
      return { path: found, node: this.#described(opened.fd, found) };
    } catch (error) {
      if (error instanceof SyscallError && MISSING.has(error.code)) return null;
      throw error;
    }
  }

  list(path: string): readonly string[] {
    using directory = new FileDescriptor(
      openWithoutLinks({
        rootFd: this.fd,
        path: bytesOf(path === "" ? "." : path),
        flags: O_RDONLY,
      }),
    );
    return readDirectory(directory.fd)
      .map(({ name }) => rawOf(name))
      .sort();
  }

  at(path: string): SourceNode | null {
    const found = this.find(path, { follow: false });
    return found === null || found.path !== path ? null : found.node;
  }

  digestOf(path: string, { sizeBytes }: Pick<SourceNode, "sizeBytes">): string | Promise<string> {
    return sizeBytes < HASH_PIECE_BYTES ? this.#digestNow(path) : this.#digestInPieces(path);
  }

  #digestNow(path: string): string {
    using file = this.#open(path);
    const hasher = new Bun.CryptoHasher("sha256");
    const buffer = Buffer.allocUnsafe(HASH_PIECE_BYTES);
    for (;;) {
      const read = readSync(file.fd, buffer, 0, buffer.length, null);
      if (read === 0) return hasher.digest("hex");
      hasher.update(buffer.subarray(0, read));
    }
  }

  /** Others go on while the disk is read, and between two pieces. */
  async #digestInPieces(path: string): Promise<string> {
    using file = this.#open(path);
    const hasher = new Bun.CryptoHasher("sha256");
    const buffer = Buffer.allocUnsafe(HASH_PIECE_BYTES);
    for (;;) {
      const count = await readApart(file.fd, buffer, null);
      if (count === 0) return hasher.digest("hex");
      hasher.update(buffer.subarray(0, count));
    }
  }

  #open(path: string): FileDescriptor {
    const flags = O_RDONLY | O_NONBLOCK;
    return new FileDescriptor(openWithoutLinks({ rootFd: this.fd, path: bytesOf(path), flags }));
  }

  /** All of it as entries of a plain archive, which does not end with them. @param prefix in front of every name */
  *tar(prefix = ""): Generator<Uint8Array, void, void> {
    using top = new FileDescriptor(
      openWithoutLinks({ rootFd: this.fd, path: bytesOf("."), flags: O_RDONLY | O_DIRECTORY }),
    );
    yield* treeTar({ fd: top.fd, prefix, sparse: true, isPart: true });
  }

  [Symbol.dispose](): void {
    this.#root[Symbol.dispose]();
  }

  #described(fd: number, path: string): SourceNode {
    const stat = statFd(fd);
    const type = typeOf(stat.mode);
    const through = Buffer.from(`/proc/self/fd/${this.fd}/${path}`, "latin1");
    return {
      type,
      mode: stat.mode & 0o7777,
      uid: stat.uid,
      gid: stat.gid,
      sizeBytes: type === "file" ? stat.sizeBytes : 0,
      mtimeSec: stat.mtimeSec,
      devMajor: stat.rdevMajor,
      devMinor: stat.rdevMinor,
      link: type === "symlink" ? rawOf(readLinkAt(fd, "")) : null,
      xattrs: ownXattrs(path === "" ? Buffer.from(`/proc/self/fd/${this.fd}/.`) : through),
      data: type === "file" ? { kind: "root", rootFd: this.fd, path } : null,
      identity: stat.nlink > 1 ? `${stat.devMajor}:${stat.devMinor}:${stat.ino}` : "",
    };
  }
}
