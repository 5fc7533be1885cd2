/**
 * File systems that may never answer: those of programs (FUSE) and of other machines. The kernel keeps whoever asks one
 * waiting for as long as its server is silent, so no thread that others depend on may be that. Which they are is read
 * from the mount table, which asks none of them.
 */
import { readFileSync, readlinkSync } from "node:fs";

import { type MountEntry, parseMountInfo } from "./mountinfo.ts";

/** As the kernel: a path through more symbolic links is a loop. */
const LINK_LIMIT = 40;

const TYPES =
  "fuse(?:blk)?(?:\\.[^ ]*)?|nfs4?|cifs|smb3?|9p|ceph|afs|coda|lustre|glusterfs|ocfs2|gfs2|beegfs|orangefs|pvfs2|autofs|virtiofs|davfs";
const MAY_STALL = new RegExp(`^(?:${TYPES})$`);
const LISTED = new RegExp(` - (?:${TYPES}) `);

/** Whether a file system of this type may keep its users waiting. */
export const typeMayStall = (type: string): boolean => MAY_STALL.test(type);

export const anyMayStall = (mounts: readonly Pick<MountEntry, "type">[]): boolean =>
  mounts.some(({ type }) => typeMayStall(type));

/** Where this process sees such file systems: nearly always nowhere, which one read tells. */
export function stallingTargets(): string[] {
  const text = readFileSync("/proc/self/mountinfo", "utf8");
  if (!LISTED.test(text)) return [];
  return parseMountInfo(text).flatMap(({ type, target }) => (typeMayStall(type) ? [target] : []));
}

/**
 * Whether to follow an absolute path may mean to wait for one of these mounts. None of them is asked: the walk ends at
 * the first, and before that it only reads links of other file systems.
 */
export function leadsToStalling(path: string, targets: readonly string[]): boolean {
  if (targets.length === 0) return false;
  if (targets.includes("/")) return true;
  let done = "";
  const pending = partsOf(path);
  for (let links = 0; pending.length > 0 && links <= LINK_LIMIT;) {
    const name = pending.shift() ?? "";
    if (name === "..") {
      done = done.slice(0, Math.max(done.lastIndexOf("/"), 0));
      continue;
    }
    const next = `${done}/${name}`;
    if (targets.includes(next)) return true;
    const link = linkAt(next);
    if (link === null) {
      done = next;
      continue;
    }
    links += 1;
    if (link.startsWith("/")) done = "";
    pending.unshift(...partsOf(link));
  }
  return false;
}

const partsOf = (path: string): string[] =>
  path.split("/").filter((part) => part !== "" && part !== ".");

/** null: it is no link, or not there. */
function linkAt(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
