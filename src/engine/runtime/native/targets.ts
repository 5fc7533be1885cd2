/**
 * Where mounts go. An image may say that /etc/resolv.conf is a link to a file that only a running system has: the
 * kernel cannot open such a target, and a name cannot be made where the link itself is. So links are read here,
 * before the birth, and the plan gets the path they lead to, which it opens, or makes, inside the root as any other.
 * Nothing is made here, and what is answered is only a path: a link planted meanwhile still leads nowhere outside.
 */
import { SyscallError } from "#linux/ffi";
import {
  closeFd,
  FileDescriptor,
  O_NOFOLLOW,
  O_PATH,
  openInRoot,
  openWithoutLinks,
  readLinkAt,
} from "#linux/path";

/** As the kernel: a path through more symbolic links is a loop. */
const LINK_LIMIT = 40;
/** Names that are looked at for one target, however long its links are. */
const NAME_LIMIT = 1024;

interface Tree {
  readonly at: readonly string[];
  /** Null for a file system that does not exist yet: it has no links. */
  readonly fd: number | null;
}

const partsOf = (path: string): string[] =>
  path.split("/").filter((part) => part !== "" && part !== ".");

const isBelow = (path: readonly string[], top: readonly string[]): boolean =>
  top.every((name, index) => path[index] === name);

/** A container's file tree as its mounts, one after the other, will build it. */
export class Targets {
  readonly #trees: Tree[];

  constructor(rootFd: number) {
    this.#trees = [{ at: [], fd: rootFd }];
  }

  /** From now on this is mounted there; null: something new and empty. */
  mounted(path: string, fd: number | null): void {
    this.#trees.push({ at: partsOf(path), fd });
  }

  /** The path with its links resolved; as it is when it has none, or when they make no sense. @throws SyscallError */
  resolve(path: string): string {
    return this.#mayHaveLinks(path) ? this.#follow(path) : path;
  }

  /** One system call for nearly every path there is. */
  #mayHaveLinks(path: string): boolean {
    const { fd, below } = this.#find(partsOf(path));
    if (fd === null || below === "") return false;
    try {
      closeFd(openWithoutLinks({ rootFd: fd, path: below, flags: O_PATH }));
      return false;
    } catch (error) {
      if (isMissing(error)) return false;
      if (error instanceof SyscallError && error.code === "ELOOP") return true;
      throw error;
    }
  }

  #follow(path: string): string {
    const pending = partsOf(path);
    let done: string[] = [];
    let links = 0;
    for (let names = 0; names < NAME_LIMIT; names += 1) {
      const name = pending.shift();
      if (name === undefined) return `/${done.join("/")}`;
      if (name === "..") {
        done.pop();
        continue;
      }
      const target = this.#linkAt([...done, name]);
      if (target === null) {
        done.push(name);
        continue;
      }
      links += 1;
      // The plan takes text. Neither this nor a loop is a reason to fail here: the plan's own sentence names the mount.
      if (links > LINK_LIMIT || target.includes("\u{FFFD}")) return path;
      if (target.startsWith("/")) done = [];
      pending.unshift(...partsOf(target));
    }
    return path;
  }

  #linkAt(path: readonly string[]): string | null {
    const { fd, below } = this.#find(path);
    if (fd === null || below === "") return null;
    try {
      const flags = O_PATH | O_NOFOLLOW;
      using file = new FileDescriptor(openInRoot({ rootFd: fd, path: below, flags }));
      return new TextDecoder().decode(readLinkAt(file.fd, ""));
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }

  /** What is mounted last hides what was there. */
  #find(path: readonly string[]): { readonly fd: number | null; readonly below: string } {
    const tree = this.#trees.findLast(({ at }) => isBelow(path, at));
    return { fd: tree?.fd ?? null, below: path.slice(tree?.at.length ?? 0).join("/") };
  }
}

/** Nothing is there, or, to readlink, something that is no link. */
const isMissing = (error: unknown): boolean =>
  error instanceof SyscallError && ["ENOENT", "ENOTDIR", "EINVAL"].includes(error.code);
