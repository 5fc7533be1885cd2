/** Snapshots: the writable top of a container's stack. */
export * from "./snapshot-store.ts";
export { openSnapshotStore, type SnapshotStoreOptions } from "./store.ts";
export { removeTree } from "./remove-tree.ts";
export { usageOf } from "./usage.ts";
