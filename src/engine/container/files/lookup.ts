/** Paths in a container as `docker cp` means them: the last link is what it is, unless a slash follows it. */
import { invalid, notFound, sentenceOf } from "#base";
import { SyscallError } from "#linux/ffi";
import {
  FileDescriptor,
  type FileStat,
  isType,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  openInRoot,
  readLinkAt,
  S_IFLNK,
  statFd,
  statPath,
} from "#linux/path";

import type { PathStat } from "../container-service.ts";
import type { Files } from "./view.ts";

const LINK_LIMIT = 40;

/** A path of a container, cleaned. */
export interface AskedPath {
  /** As people wrote it, for errors. */
  readonly asked: string;
  /** Absolute and clean; with the slash or dot at its end that was asked for. */
  readonly path: string;
  /** Go's filepath.Base of it: "/" for the root, "." for `dir/.`. */
  readonly base: string;
  /** The last link is followed. */
  readonly follows: boolean;
  readonly parent: string;
}

/** @throws EngineError "invalid" */
export function parseAskedPath(asked: string): AskedPath {
  if (asked === "") throw invalid("missing parameter 'path'");
  if (asked.includes("\0")) throw invalid("the path holds a NUL byte");
  const parts: string[] = [];
  for (const part of asked.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  const clean = `/${parts.join("/")}`;
  const dotted = asked === "." || asked.endsWith("/.");
  const suffix = dotted ? (clean === "/" ? "." : "/.") : asked.endsWith("/") ? "/" : "";
  const path = clean === "/" && suffix === "/" ? "/" : clean + suffix;
  return {
    asked,
    path,
    base: dotted ? "." : (parts.at(-1) ?? "/"),
    follows: suffix !== "" || clean === "/",
    parent: `/${parts.slice(0, -1).join("/")}`,
  };
}

/** What a view's path is. @throws EngineError "notFound" in Docker's words */
export function statIn(view: Files, asked: AskedPath): FileStat {
  return withWords(view, asked, () => {
    const { rootFd } = view;
    if (asked.follows) {
      using opened = new FileDescriptor(openInRoot({ rootFd, path: asked.path, flags: O_PATH }));
      return statFd(opened.fd);
    }
    using parent = new FileDescriptor(
      openInRoot({ rootFd, path: asked.parent, flags: O_PATH | O_DIRECTORY }),
    );
    const stat = statPath(asked.base, parent.fd);
    if (stat === null) throw fileNotFound(view, asked);
    return stat;
  });
}

/** As Docker's path-stat header tells it. */
export function pathStatIn(view: Files, asked: AskedPath): PathStat {
  const stat = statIn(view, asked);
  const { mode, sizeBytes, mtimeSec, mtimeNsec } = stat;
  const isLink = isType(mode, S_IFLNK);
  return {
    name: asked.base,
    sizeBytes,
    mode,
    mtimeSec,
    mtimeNsec,
    linkTarget: isLink ? evaluate(view.rootFd, asked.path) : "",
  };
}

export const fileNotFound = ({ record }: Files, { asked }: AskedPath): Error =>
  notFound(`Could not find the file ${asked} in container ${record.name}`);

/** Runs a look into a container; what is not there is told in Docker's words. */
export function withWords<T>(view: Files, asked: AskedPath, look: () => T): T {
  try {
    return look();
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    if (error.code === "ENOENT") throw fileNotFound(view, asked);
    if (["ENOTDIR", "ELOOP", "ENAMETOOLONG", "EACCES"].includes(error.code)) {
      throw invalid(`lstat ${asked.path}: ${sentenceOf(error).replace(/^.*: /, "")}`, {
        cause: error,
      });
    }
    throw error;
  }
}

/** The absolute path that a link leads to inside the root, as far as it leads somewhere. */
function evaluate(rootFd: number, path: string): string {
  let done: string[] = [];
  let pending = path.split("/");
  let links = 0;
  while (pending.length > 0) {
    const [part = "", ...rest] = pending;
    pending = rest;
    if (part === "" || part === ".") continue;
    if (part === "..") {
      done.pop();
      continue;
    }
    const target = linkAt(rootFd, `/${[...done, part].join("/")}`);
    if (target === null || links === LINK_LIMIT) {
      done.push(part);
      continue;
    }
    links += 1;
    if (target.startsWith("/")) done = [];
    pending = [...target.split("/"), ...pending];
  }
  return `/${done.join("/")}`;
}

function linkAt(rootFd: number, path: string): string | null {
  try {
    using opened = new FileDescriptor(openInRoot({ rootFd, path, flags: O_PATH | O_NOFOLLOW }));
    if (!isType(statFd(opened.fd).mode, S_IFLNK)) return null;
    return new TextDecoder().decode(readLinkAt(opened.fd, ""));
  } catch (error) {
    if (error instanceof SyscallError) return null;
    throw error;
  }
}
