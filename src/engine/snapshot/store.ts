/**
 * Snapshots: what a container writes, over the layers of its image.
 *
 *   <root>/<id>/upper, work   overlayfs's own
 *   <root>/<id>/chain         a link whose target is the stack's chain id: what the snapshot stands on
 *   <root>/.empty/            the one lower of an image without layers: overlayfs wants at least one
 *   <root>/.trash-…           being deleted
 *
 * Promise: a snapshot is there with its upper and work, or not at all after a crash in remove: a rename takes it
 * out of sight, and the next start finishes the deletion.
 */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  symlinkSync,
} from "node:fs";

import { conflict, invalid, newId, notFound } from "#base";
import type { LayerStore } from "#engine/layer";
import { statPath } from "#linux/path";
import { chainIdOf, type Digest } from "#oci";

import { removeTree } from "./remove-tree.ts";
import type { Snapshot, SnapshotStore } from "./snapshot-store.ts";
import { usageOf } from "./usage.ts";

export interface SnapshotStoreOptions {
  /** <data-root>/snapshots. */
  readonly root: string;
  readonly layers: Pick<LayerStore, "mount">;
}

const TRASH_PREFIX = ".trash-";
const EMPTY = ".empty";

/** Opens the store and finishes deletions that a crash interrupted. */
export function openSnapshotStore({ root, layers }: SnapshotStoreOptions): SnapshotStore {
  mkdirSync(`${root}/${EMPTY}`, { recursive: true, mode: 0o700 });
  // Its mode becomes the mode of `/` in an image without layers.
  chmodSync(`${root}/${EMPTY}`, 0o755);
  chmodSync(root, 0o700);
  for (const name of readdirSync(root)) {
    // What cannot be deleted now is tried again at the next start.
    if (name.startsWith(TRASH_PREFIX)) removeTree(`${root}/${name}`).catch(() => undefined);
  }
  return new Store(root, layers);
}

const chainOf = (layers: readonly Digest[]): string =>
  layers.length === 0 ? "scratch" : chainIdOf(layers);

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && "code" in error && error.code === code;

class Store implements SnapshotStore {
  readonly #root: string;
  readonly #layers: Pick<LayerStore, "mount">;

  constructor(root: string, layers: Pick<LayerStore, "mount">) {
    this.#root = root;
    this.#layers = layers;
  }

  #path(id: string): string {
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(id)) throw invalid(`invalid snapshot id "${id}"`);
    return `${this.#root}/${id}`;
  }

  #snapshot(id: string, layers: readonly Digest[]): Snapshot {
    const path = this.#path(id);
    return { id, layers, upper: `${path}/upper`, work: `${path}/work` };
  }

  /** The chain id a snapshot stands on; null when there is no (complete) snapshot. */
  #chain(id: string): string | null {
    try {
      return readlinkSync(`${this.#path(id)}/chain`);
    } catch (error) {
      if (hasCode(error, "ENOENT")) return null;
      throw error;
    }
  }

  create({ id, layers }: { id: string; layers: readonly Digest[] }): Snapshot {
    const snapshot = this.#snapshot(id, layers);
    const chain = this.#chain(id);
    if (chain !== null && chain !== chainOf(layers)) {
      throw conflict(`snapshot ${id} exists over other layers`);
    }
    if (chain !== null) return snapshot;
    mkdirSync(snapshot.work, { recursive: true, mode: 0o700 });
    mkdirSync(snapshot.upper, { recursive: true, mode: 0o755 });
    this.#adoptRoot(snapshot);
    // Last: a snapshot without it was never completed, and is completed now.
    symlinkSync(chainOf(layers), `${this.#path(id)}/chain`);
    return snapshot;
  }

  /** `/` of the container is the upper directory itself: it gets the owner and mode that `/` of the image has. */
  #adoptRoot({ upper, layers }: Snapshot): void {
    const top = layers.at(-1);
    const stat = top === undefined ? null : statPath(this.#layers.mount(top));
    chmodSync(upper, stat === null ? 0o755 : stat.mode & 0o7777);
    if (stat !== null && (stat.uid !== 0 || stat.gid !== 0)) chownSync(upper, stat.uid, stat.gid);
  }

  get(id: string, layers: readonly Digest[]): Snapshot {
    const chain = this.#chain(id);
    if (chain === null) throw notFound(`snapshot ${id} does not exist`);
    if (chain !== chainOf(layers)) throw conflict(`snapshot ${id} exists over other layers`);
    return this.#snapshot(id, layers);
  }

  lowers(layers: readonly Digest[]): string[] {
    if (layers.length === 0) return [`${this.#root}/${EMPTY}`];
    // A layer that occurs twice counts where it is topmost: it covers all it brought below. overlayfs refuses a
    // directory given twice.
    return [...new Set(layers.toReversed())].map((diffId) => this.#layers.mount(diffId));
  }

  list(): string[] {
    return readdirSync(this.#root).filter((name) => !name.startsWith("."));
  }

  usageBytes(id: string): Promise<number> {
    if (this.#chain(id) === null) throw notFound(`snapshot ${id} does not exist`);
    return usageOf(`${this.#path(id)}/upper`);
  }

  async remove(id: string): Promise<void> {
    const trash = `${this.#root}/${TRASH_PREFIX}${newId()}`;
    try {
      renameSync(this.#path(id), trash);
    } catch (error) {
      if (hasCode(error, "ENOENT")) return;
      throw error;
    }
    await removeTree(trash);
  }
}
