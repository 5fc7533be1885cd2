/**
 * `docker diff`: what a container changed. Only its upper directory is walked; each entry is compared with what the
 * image has at that place. A directory counts as changed when its owner or mode did, or something in it.
 */
import { breathe } from "#base";
import { SyscallError } from "#linux/ffi";
import { createDetachedOverlay } from "#linux/mount";
import {
  FileDescriptor,
  type FileStat,
  isType,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  openPath,
  readDirectory,
  S_IFCHR,
  S_IFDIR,
  statPath,
} from "#linux/path";
import { getXattr } from "#linux/xattr";
import { rawOf, textOf } from "#wire/tar";

import type { FileChange } from "../container-service.ts";
import type { Context } from "../context.ts";
import { engineMarks } from "./marks.ts";
import { whileStill } from "./view.ts";

/** As in an archive: every level costs two descriptors, and no path of Linux has more. */
const DEPTH_LIMIT = 1024;
/** PATH_MAX: what lies deeper has no path to be told by. */
const PATH_LIMIT_BYTES = 4096;

/** In the order of their paths. @throws EngineError "notFound" */
export async function changesOf(context: Context, nameOrId: string): Promise<FileChange[]> {
  const { id } = context.records.resolve(nameOrId);
  return await whileStill(context, id, async ({ layers }) => {
    if (!context.snapshots.list().includes(id)) return [];
    const { upper } = context.snapshots.get(id, layers);
    const skip = engineMarks(upper, context.snapshots.lowers(layers));
    using image = new FileDescriptor(
      createDetachedOverlay({ lowers: context.snapshots.rootLowers(layers), readOnly: true }),
    );
    using top = new FileDescriptor(openPath(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    const changes: FileChange[] = [];
    await compare({ changes, skip }, { upperFd: top.fd, lowerFd: image.fd, path: "", depth: 0 });
    return changes.sort((a, b) => (a.path < b.path ? -1 : 1));
  });
}

interface Walk {
  readonly changes: FileChange[];
  readonly skip: ReadonlySet<string>;
}

interface Place {
  readonly upperFd: number;
  /** null: the image has no directory here. */
  readonly lowerFd: number | null;
  /** A byte string; "" for the root. */
  readonly path: string;
  readonly depth: number;
}

/** @returns true when something below changed */
async function compare(walk: Walk, { upperFd, lowerFd, path, depth }: Place): Promise<boolean> {
  const before = walk.changes.length;
  const entries = readDirectory(upperFd);
  for (const { name } of entries) {
    await breathe();
    const below = `${path}/${rawOf(name)}`;
    if (below.length >= PATH_LIMIT_BYTES || walk.skip.has(below.slice(1))) continue;
    const now = statPath(name, upperFd);
    if (now === null) continue;
    const then = lowerFd === null ? null : statPath(name, lowerFd);
    if (isWhiteout(now)) {
      if (then !== null) walk.changes.push({ kind: "deleted", path: textOf(below) });
      continue;
    }
    const kind = then === null ? "added" : "modified";
    const isDirectory = isType(now.mode, S_IFDIR);
    let changed = then === null || differs(now, then);
    if (isDirectory && depth < DEPTH_LIMIT) {
      using inUpper = opened(upperFd, name);
      using inLower = then !== null && lowerFd !== null ? opened(lowerFd, name) : null;
      if (inUpper !== null) {
        const place = {
          upperFd: inUpper.fd,
          lowerFd: inLower?.fd ?? null,
          path: below,
          depth: depth + 1,
        };
        if (await compare(walk, place)) changed = true;
      }
    }
    if (changed) walk.changes.push({ kind, path: textOf(below) });
  }
  if (lowerFd !== null && isOpaque(upperFd)) {
    tellHidden(walk, { lowerFd, path, there: new Set(entries.map(({ name }) => rawOf(name))) });
  }
  return walk.changes.length > before;
}

/** What a directory that was made anew no longer has. */
function tellHidden(
  walk: Walk,
  { lowerFd, path, there }: { lowerFd: number; path: string; there: ReadonlySet<string> },
): void {
  using readable = new FileDescriptor(openPath(".", O_RDONLY | O_DIRECTORY, 0, lowerFd));
  for (const { name } of readDirectory(readable.fd)) {
    const raw = rawOf(name);
    if (!there.has(raw)) walk.changes.push({ kind: "deleted", path: textOf(`${path}/${raw}`) });
  }
}

const isOpaque = (fd: number): boolean => getXattr(fd, "trusted.overlay.opaque")?.[0] === 0x79;

const isWhiteout = ({ mode, rdevMajor, rdevMinor }: FileStat): boolean =>
  isType(mode, S_IFCHR) && rdevMajor === 0 && rdevMinor === 0;

/** null for a directory that vanished, or of which the other side has something else. */
function opened(parentFd: number, name: Uint8Array): FileDescriptor | null {
  try {
    const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    return new FileDescriptor(openPath(name, flags, 0, parentFd));
  } catch (error) {
    if (error instanceof SyscallError && ["ENOENT", "ENOTDIR", "ELOOP"].includes(error.code)) {
      return null;
    }
    throw error;
  }
}

/** Docker's comparison: a directory's size and time say nothing, a time without nanoseconds is compared by its seconds. */
function differs(now: FileStat, then: FileStat): boolean {
  if (now.mode !== then.mode || now.uid !== then.uid || now.gid !== then.gid) return true;
  if (now.rdevMajor !== then.rdevMajor || now.rdevMinor !== then.rdevMinor) return true;
  if (isType(now.mode, S_IFDIR)) return false;
  if (now.sizeBytes !== then.sizeBytes || now.mtimeSec !== then.mtimeSec) return true;
  const whole = now.mtimeNsec === 0 || then.mtimeNsec === 0;
  return !whole && now.mtimeNsec !== then.mtimeNsec;
}
