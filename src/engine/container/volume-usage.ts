/** What volumes take on disk, and how many containers have each. */
import { readdirSync, statSync } from "node:fs";

import { SyscallError } from "#linux/ffi";
import { usageOf } from "#engine/snapshot";

import type { VolumeUsage } from "./container-service.ts";
import type { Context } from "./context.ts";
import { volumeFolder } from "./volumes.ts";

export async function volumeUsage(context: Context): Promise<VolumeUsage[]> {
  const users = new Map<string, number>();
  for (const { mounts } of context.records.all()) {
    const names = mounts.flatMap((mount) => (mount.type === "volume" ? [mount.name] : []));
    for (const name of new Set(names)) users.set(name, (users.get(name) ?? 0) + 1);
  }
  const used: VolumeUsage[] = [];
  for (const name of folders(context.paths.volumes)) {
    const path = volumeFolder(context.paths.volumes, name);
    try {
      const sizeBytes = await usageOf(path);
      const createdAt = `${statSync(path).birthtime.toISOString().slice(0, 19)}Z`;
      used.push({ name, path, sizeBytes, createdAt, users: users.get(name) ?? 0 });
    } catch (error) {
      // Removed while it was counted.
      if (!(error instanceof SyscallError) || error.code !== "ENOENT") throw error;
    }
  }
  return used;
}

function folders(root: string): string[] {
  try {
    return readdirSync(root).toSorted();
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw thrown;
  }
}
