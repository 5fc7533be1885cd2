/** Syncs off the main thread, and a full disk in the words people search for. */
import { closeSync, fdatasync, fsync, openSync } from "node:fs";
import { promisify } from "node:util";

import { internal } from "#base";

/** Waits until a file's bytes are on the disk. */
export const syncData = promisify(fdatasync);
const syncAll = promisify(fsync);

/** Waits until a directory's names are on the disk. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = openSync(path, "r");
  try {
    await syncAll(directory);
  } finally {
    closeSync(directory);
  }
}

/** ENOSPC and EDQUOT as an EngineError; everything else as it is. */
export function spaceError(path: string, cause: unknown): unknown {
  const code = (cause as NodeJS.ErrnoException | null)?.code;
  if (code === "ENOSPC") return internal(`write ${path}: no space left on device`, { cause });
  if (code === "EDQUOT") return internal(`write ${path}: disk quota exceeded`, { cause });
  return cause;
}
