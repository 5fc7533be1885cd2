/** `--storage-opt`: what a container may write beside its image. */
import { invalid } from "#base";
import { parseSize } from "#engine/log-delivery";
import { CANNOT_LIMIT, type Snapshot } from "#engine/snapshot";

import type { HostConfig } from "./config.ts";
import type { Context } from "./context.ts";
import type { ContainerRecord } from "./records.ts";

type StorageOptions = NonNullable<HostConfig["storageOptions"]>;

/** In bytes; null where nothing is said. @throws EngineError "invalid" in Docker's words */
export function storageLimit(options: StorageOptions | undefined): number | null {
  let limit: number | null = null;
  for (const [key, value] of Object.entries(options ?? {})) {
    if (key.toLowerCase() !== "size") throw invalid(`Unknown option ${key.toLowerCase()}`);
    limit = parseSize(value, 1024);
  }
  return limit;
}

/** @throws EngineError "invalid" for options that are none, and for a limit that nobody could hold */
export function checkStorage(
  { snapshots }: Pick<Context, "snapshots">,
  { storageOptions }: HostConfig,
): void {
  if (storageOptions === undefined) return;
  if (storageLimit(storageOptions) !== null && !snapshots.canLimit) throw invalid(CANNOT_LIMIT);
}

/** Where a container writes. */
export function snapshotOf(
  { snapshots }: Pick<Context, "snapshots">,
  { id, layers, host }: Pick<ContainerRecord, "id" | "layers" | "host">,
): Snapshot {
  const limitBytes = storageLimit(host.storageOptions);
  return snapshots.create({ id, layers, ...(limitBytes === null ? {} : { limitBytes }) });
}
