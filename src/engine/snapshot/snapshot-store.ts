/** The contract of snapshots: the writable top of a container's stack. */
import type { Digest } from "#oci";

/** Docker's sentence, which names its one file system that can. */
export const CANNOT_LIMIT =
  "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";

export interface Snapshot {
  readonly id: string;
  /** Bottom first, as an image config lists them. */
  readonly layers: readonly Digest[];
  readonly upper: string;
  readonly work: string;
}

export interface SnapshotStore {
  /** True where the file system can hold a snapshot to a size. */
  readonly canLimit: boolean;
  /**
   * Makes upper/ and work/. Creating one that exists with the same layers is no error, and changes no limit.
   * @param request.limitBytes what it may take; 0: whatever there is; left out: the store's own limit
   */
  create(request: { id: string; layers: readonly Digest[]; limitBytes?: number }): Snapshot;
  get(id: string, layers: readonly Digest[]): Snapshot;
  /** Mounted layer directories for overlayfs, topmost first. */
  lowers(layers: readonly Digest[]): string[];
  /** The same for the root of a container: below them is what it has even where its image has not. */
  rootLowers(layers: readonly Digest[]): string[];
  list(): string[];
  /** Bytes in upper/: `SizeRw`. */
  usageBytes(id: string): Promise<number>;
  /** Deletes upper/ and work/. May run twice. */
  remove(id: string): Promise<void>;
}
