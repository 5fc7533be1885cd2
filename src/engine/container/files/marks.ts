/**
 * What a start leaves in an upper directory that the container did not write: the places the engine mounts its own
 * things on. Docker keeps them in a layer of their own (its "init layer"), so neither diff nor commit shows them.
 */
import { readdirSync } from "node:fs";

import { isType, S_IFDIR, S_IFREG, statPath } from "#linux/path";

const FILES = ["etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console", ".dockerenv"];
/** Deepest first: a directory counts when nothing else is in it. */
const DIRECTORIES = ["dev/pts", "dev/shm", "dev/mqueue", "sys/fs/cgroup", "proc", "sys", "dev"];
const ETC = "etc";

/** Those of the places that are still as the engine made them: paths in the upper directory. */
export function engineMarks(upper: string, lowers: readonly string[]): Set<string> {
  const marks = new Set<string>();
  const inImage = (path: string) => lowers.some((lower) => statPath(`${lower}/${path}`) !== null);
  for (const path of FILES) {
    const stat = statPath(`${upper}/${path}`);
    const isOurs = stat !== null && isType(stat.mode, S_IFREG) && stat.sizeBytes === 0;
    if (isOurs && !inImage(path)) marks.add(path);
  }
  for (const path of [...DIRECTORIES, ETC]) {
    const stat = statPath(`${upper}/${path}`);
    if (stat === null || !isType(stat.mode, S_IFDIR)) continue;
    const isEmpty = readdirSync(`${upper}/${path}`).every((name) => marks.has(`${path}/${name}`));
    // A directory of the image that was only passed through is no change either; one with another mode is.
    if (isEmpty && !inImage(path)) marks.add(path);
  }
  return marks;
}
