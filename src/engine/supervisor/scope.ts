/**
 * A place of its own in the tree by which systemd decides what belongs together and what dies together.
 *
 * In a service (Delegate=yes, KillMode=process) that is a folder below the daemon's; from a login session, which
 * logind may end with everything in it, it is a folder outside. Anywhere else there is nothing to leave.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { sentenceOf } from "#base";
import { readCgroupLayout } from "#linux/cgroup";

const FOLDER = "naru-supervisor";

/** Pure: where a process that stands in `ownPath` should move; null to stay. */
export function scopeOf(ownPath: string): string | null {
  const unit = ownPath.split("/").at(-1) ?? "";
  if (unit === FOLDER) return null;
  if (ownPath.includes(".scope") || ownPath.startsWith("/user.slice")) return `/${FOLDER}`;
  return unit.endsWith(".service") ? join(ownPath, FOLDER) : null;
}

/** Moves this process. Best effort: a supervisor in the daemon's place is worse, not wrong. */
export function enterOwnScope(warn: (message: string) => void): void {
  try {
    for (const { version, mountPoint, name, ownPath } of readCgroupLayout().hierarchies) {
      const isSystemd = version === 2 || name === "systemd";
      const scope = isSystemd ? scopeOf(ownPath) : null;
      if (scope === null) continue;
      const folder = join(mountPoint, scope);
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, "cgroup.procs"), "0");
    }
  } catch (thrown) {
    warn(`leave the daemon's cgroup: ${sentenceOf(thrown)}`);
  }
}
