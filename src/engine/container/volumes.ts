/**
 * Local volumes, as far as containers need them: `<data-root>/volumes/<name>/_data`, made when a container that
 * names one starts, filled with what the image has at that place when it is new and empty.
 */
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { closeFd, FileDescriptor, O_DIRECTORY, O_PATH, openInRoot } from "#linux/path";
import { createDetachedOverlay } from "#linux/mount";
import { SyscallError } from "#linux/ffi";

import { copyTree } from "./copy-tree.ts";
import type { ResolvedMount } from "./mounts.ts";

type VolumeMount = Extract<ResolvedMount, { type: "volume" }>;

export const volumeFolder = (volumesRoot: string, name: string): string =>
  join(volumesRoot, name, "_data");

/**
 * Makes the folders of a container's volumes.
 * @param lowers the image's layers as directories, topmost first
 */
export async function ensureVolumes(
  volumesRoot: string,
  mounts: readonly ResolvedMount[],
  lowers: readonly string[],
): Promise<void> {
  const volumes = mounts.filter((mount): mount is VolumeMount => mount.type === "volume");
  if (volumes.length === 0) return;
  mkdirSync(volumesRoot, { recursive: true, mode: 0o711 });
  let image: FileDescriptor | null = null;
  try {
    for (const { name, target, noCopy } of volumes) {
      const folder = volumeFolder(volumesRoot, name);
      mkdirSync(folder, { recursive: true, mode: 0o755 });
      if (noCopy || readdirSync(folder).length > 0) continue;
      // Made without being attached anywhere: it is gone when the descriptor closes, whatever happens.
      image ??= new FileDescriptor(createDetachedOverlay({ lowers, readOnly: true }));
      await copyUp(image.fd, target, folder);
    }
  } finally {
    image?.[Symbol.dispose]();
  }
}

/** Copies the image's folder at `path`, with its own owner and mode; a path that is no folder there copies nothing. */
async function copyUp(imageFd: number, path: string, folder: string): Promise<void> {
  let source: number;
  try {
    source = openInRoot({ rootFd: imageFd, path, flags: O_PATH | O_DIRECTORY });
  } catch (thrown) {
    const absent = thrown instanceof SyscallError && ["ENOENT", "ENOTDIR"].includes(thrown.code);
    if (absent) return;
    throw thrown;
  }
  try {
    await copyTree(source, folder);
  } finally {
    closeFd(source);
  }
}
