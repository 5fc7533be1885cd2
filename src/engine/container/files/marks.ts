/**
 * What a start leaves in an upper directory that the container did not write: the places the engine mounts its own
 * things on. Docker keeps them in a layer of their own (its "init layer"), so neither diff nor commit shows them.
 */
import { readdirSync } from "node:fs";

import { type FileStat, isType, S_IFDIR, S_IFREG, statPath } from "#linux/path";
import { getXattr } from "#linux/xattr";

const FILES = ["etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console", ".dockerenv"];
/** Deepest first: a directory counts when nothing else is in it. */
const DIRECTORIES = ["dev/pts", "dev/shm", "dev/mqueue", "sys/fs/cgroup", "proc", "sys", "dev"];
const ETC = "etc";

/** Those of the places that are still as the engine made them: paths in the upper directory. */
export function engineMarks(upper: string, lowers: readonly string[]): Set<string> {
  const marks = new Set<string>();
  // Topmost first: the first layer that has it is the one the container saw.
  const inImage = (path: string): FileStat | null => {
    for (const lower of lowers) {
      const stat = statPath(`${lower}/${path}`);
      if (stat !== null) return stat;
    }
    return null;
  };
  for (const path of FILES) {
    const stat = statPath(`${upper}/${path}`);
    const isOurs = stat !== null && isType(stat.mode, S_IFREG) && stat.sizeBytes === 0;
    if (isOurs && inImage(path) === null) marks.add(path);
  }
  for (const path of [...DIRECTORIES, ETC]) {
    const stat = statPath(`${upper}/${path}`);
    if (stat === null || !isType(stat.mode, S_IFDIR)) continue;
    const isEmpty = readdirSync(`${upper}/${path}`).every((name) => marks.has(`${path}/${name}`));
    if (isEmpty && isPassedThrough(`${upper}/${path}`, stat, inImage(path))) marks.add(path);
  }
  return marks;
}

/** A directory of the image is no change when it is only there because of what was mounted in it. */
function isPassedThrough(path: string, now: FileStat, image: FileStat | null): boolean {
  if (image === null) return true;
  if (now.mode !== image.mode || now.uid !== image.uid || now.gid !== image.gid) return false;
  // One that was made anew hides what the image had in it.
  return getXattr(path, "trusted.overlay.opaque") === null;
}
