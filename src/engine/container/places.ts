/**
 * What `docker create` says of places in the image where a folder is needed and something else is. Nothing is looked
 * at for a container that asks for neither a working directory of its own nor a volume.
 */
import { readdirSync } from "node:fs";

import { internal } from "#base";
import { SyscallError } from "#linux/ffi";
import { createDetachedOverlay } from "#linux/mount";
import { FileDescriptor, isType, O_PATH, openInRoot, S_IFDIR, statFd } from "#linux/path";

import type { Context } from "./context.ts";
import { cleanPath } from "./merge.ts";
import type { ResolvedMount } from "./mounts.ts";
import type { ContainerRecord } from "./records.ts";

type Asked = Pick<ContainerRecord, "config" | "host" | "mounts" | "layers">;

/**
 * @param imageDirectory the image's own working directory, which whoever built it has made
 * @throws EngineError "internal" in Docker's words
 */
export function checkPlaces(context: Context, asked: Asked, imageDirectory: string): void {
  const directory = asked.config.workingDirectory;
  const isOwn = directory !== "" && directory !== cleanPath(imageDirectory);
  const isSeen = isOwn && !isCovered(directory, asked.mounts);
  const filled = asked.mounts.filter((mount) => isFilled(context, mount));
  if (!isSeen && filled.length === 0) return;
  const lowers = context.snapshots.rootLowers(asked.layers);
  using root = new FileDescriptor(createDetachedOverlay({ lowers, readOnly: true }));
  if (isSeen && isOther(root, directory)) {
    throw internal(`Cannot mkdir: ${directory} is not a directory`);
  }
  for (const { target } of filled) {
    if (!isOther(root, target)) continue;
    // Docker copies into what was asked for with `--mount` or by a name, and makes the others itself.
    const isNamed = asked.host.mounts.some((mount) => cleanPath(mount.target) === target);
    throw internal(
      isNamed
        ? `source ${target} is not directory`
        : `cannot mount volume over existing file, file exists ${target}`,
    );
  }
}

/** What is mounted there, not the image, says what the directory is. */
const isCovered = (directory: string, mounts: readonly ResolvedMount[]): boolean =>
  mounts.some(({ target }) => `${directory}/`.startsWith(`${target}/`));

/** Whether Docker would look at what the image has there. */
function isFilled({ volumes }: Context, mount: ResolvedMount): boolean {
  if (mount.type !== "volume" || mount.noCopy) return false;
  if (mount.anonymous) return true;
  try {
    if (Object.keys(volumes.get(mount.name).options).length > 0) return false;
    return readdirSync(volumes.path(mount.name)).length === 0;
  } catch {
    return Object.keys(mount.driverOptions ?? {}).length === 0;
  }
}

/** Whether something is there that is no folder. @throws EngineError "internal" for a path through a file */
function isOther(root: FileDescriptor, path: string): boolean {
  try {
    using found = new FileDescriptor(openInRoot({ rootFd: root.fd, path, flags: O_PATH }));
    return !isType(statFd(found.fd).mode, S_IFDIR);
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    if (cause.code === "ENOTDIR") throw internal(`lstat ${path}: not a directory`, { cause });
    // Missing: it will be made. Links in a circle: the start says so.
    if (cause.code === "ENOENT" || cause.code === "ELOOP") return false;
    throw cause;
  }
}
