/** The contract of snapshots: the writable top of a container's stack. */
import type { Digest } from "#oci";

export interface Snapshot {
  readonly id: string;
  /** Bottom first, as an image config lists them. */
  readonly layers: readonly Digest[];
  readonly upper: string;
  readonly work: string;
}

export interface SnapshotStore {
  /** Makes upper/ and work/. Creating one that exists with the same layers is no error. */
  create(request: { id: string; layers: readonly Digest[] }): Snapshot;
  get(id: string, layers: readonly Digest[]): Snapshot;
  /** Mounted layer directories for overlayfs, topmost first. */
  lowers(layers: readonly Digest[]): string[];
  list(): string[];
  /** Bytes in upper/: `SizeRw`. */
  usageBytes(id: string): Promise<number>;
  /** Deletes upper/ and work/. May run twice. */
  remove(id: string): Promise<void>;
}
