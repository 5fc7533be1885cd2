/**
 * /dev/shm of containers that share it. A private one is a tmpfs in the container's own namespace and gone with it;
 * `--ipc shareable` needs one that others can be given: a tmpfs in the container's folder, found again by its path.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { invalid } from "#base";
import { SyscallError } from "#linux/ffi";
import { MNT_DETACH, mount, MS_NODEV, MS_NOEXEC, MS_NOSUID, unmount } from "#linux/mount";

import type { Context } from "./context.ts";
import type { ContainerRecord } from "./records.ts";

/** Where a container's shareable tmpfs is mounted, below its folder. */
export const sharedMemoryFolder = (containerFolder: string): string => join(containerFolder, "shm");

const sharedFolder = (context: Pick<Context, "paths">, id: string): string =>
  sharedMemoryFolder(join(context.paths.containers, id));

/** The host folder to show as /dev/shm; null for a private one. @throws EngineError "invalid" in Docker's words */
export function shareableMemory(context: Context, record: ContainerRecord): string | null {
  const { ipcMode } = record.host;
  switch (ipcMode.mode) {
    case "private":
    case "none":
      return null;
    case "host":
      return "/dev/shm";
    case "shareable":
      return sharedFolder(context, record.id);
    case "container": {
      const target = context.records.resolve(ipcMode.container);
      if (target.host.ipcMode.mode === "shareable") return sharedFolder(context, target.id);
      if (target.host.ipcMode.mode === "host") return "/dev/shm";
      throw invalid(
        `failed to join IPC namespace: container ${target.id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)`,
      );
    }
  }
}

/** Mounts the tmpfs of a shareable container; one that is left from before is taken away first. */
export function mountSharedMemory(context: Context, record: ContainerRecord): void {
  if (record.host.ipcMode.mode !== "shareable") return;
  unmountSharedMemory(context, record);
  const target = sharedFolder(context, record.id);
  mkdirSync(target, { recursive: true, mode: 0o700 });
  mount({
    type: "tmpfs",
    source: "shm",
    target,
    flags: MS_NOSUID | MS_NODEV | MS_NOEXEC,
    data: `mode=1777,size=${record.host.shmSizeBytes ?? 0}`,
  });
}

/** May run twice. Containers that were given it keep their own mount of it. */
export function unmountSharedMemory(
  context: Pick<Context, "paths">,
  { id, host }: Pick<ContainerRecord, "id" | "host">,
): void {
  if (host.ipcMode.mode === "shareable") unmountIfMounted(sharedFolder(context, id));
}

export function unmountIfMounted(target: string): void {
  try {
    unmount(target, MNT_DETACH);
  } catch (thrown) {
    const gone = thrown instanceof SyscallError && ["EINVAL", "ENOENT"].includes(thrown.code);
    if (!gone) throw thrown;
  }
}
