/**
 * Snapshots: what a container writes, over the layers of its image.
 *
 *   <root>/<id>/upper, work   overlayfs's own
 *   <root>/<id>/chain         a link whose target is the stack's chain id: what the snapshot stands on
 *   <root>/.empty/            the one lower of an image without layers: overlayfs wants at least one
 *   <root>/.init/             below every container's image: what Docker gives a container that its image lacks
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
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";

import { conflict, invalid, newId, notFound } from "#base";
import type { LayerStore } from "#engine/layer";
import { statPath } from "#linux/path";
import { chainIdOf, type Digest } from "#oci";

import { Quotas } from "./quotas.ts";
import { removeTree } from "./remove-tree.ts";
import { CANNOT_LIMIT, type Snapshot, type SnapshotStore } from "./snapshot-store.ts";
import { usageOf } from "./usage.ts";

export interface SnapshotStoreOptions {
  /** <data-root>/snapshots. */
  readonly root: string;
  readonly layers: Pick<LayerStore, "mount">;
  /** Of snapshots that are made without a limit of their own; null: none. */
  readonly defaultLimitBytes?: number | null;
}

const TRASH_PREFIX = ".trash-";
const EMPTY = ".empty";
const INIT = ".init";
/** As Docker's layer of that name: programs know a container by the first, the others are mounted on. */
const INIT_FILES = [".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console"];
const INIT_DIRECTORIES = ["etc", "proc", "sys", "dev", "dev/pts", "dev/shm"];
const MOUNT_TABLE = { path: "etc/mtab", target: "/proc/mounts" };

/** Opens the store and finishes deletions that a crash interrupted. */
export function openSnapshotStore(options: SnapshotStoreOptions): SnapshotStore {
  const { root, layers, defaultLimitBytes = null } = options;
  mkdirSync(`${root}/${EMPTY}`, { recursive: true, mode: 0o700 });
  // Its mode becomes the mode of `/` in an image without layers.
  chmodSync(`${root}/${EMPTY}`, 0o755);
  chmodSync(root, 0o700);
  makeInit(`${root}/${INIT}`);
  const quotas = new Quotas(root);
  if (defaultLimitBytes !== null && !quotas.areSupported) {
    throw invalid(
      "Storage option overlay2.size not supported. Filesystem does not support Project Quota",
    );
  }
  for (const name of readdirSync(root)) {
    // What cannot be deleted now is tried again at the next start.
    if (name.startsWith(TRASH_PREFIX)) discard(`${root}/${name}`, quotas).catch(() => undefined);
  }
  return new Store({ root, layers, quotas, defaultLimitBytes });
}

/** Whatever a crash left of it is completed. */
function makeInit(init: string): void {
  for (const path of ["", ...INIT_DIRECTORIES]) {
    mkdirSync(`${init}/${path}`, { recursive: true });
    chmodSync(`${init}/${path}`, 0o755);
  }
  for (const path of INIT_FILES) {
    writeFileSync(`${init}/${path}`, "");
    chmodSync(`${init}/${path}`, 0o755);
  }
  const table = `${init}/${MOUNT_TABLE.path}`;
  if (statPath(table) === null) symlinkSync(MOUNT_TABLE.target, table);
}

/** Deletes a directory, and gives back its project. */
async function discard(path: string, quotas: Quotas): Promise<void> {
  const project = quotas.ownedProject(path);
  await removeTree(path);
  if (project !== null) quotas.release(project);
}

const chainOf = (layers: readonly Digest[]): string =>
  layers.length === 0 ? "scratch" : chainIdOf(layers);

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && "code" in error && error.code === code;

class Store implements SnapshotStore {
  readonly #root: string;
  readonly #layers: Pick<LayerStore, "mount">;
  readonly #quotas: Quotas;
  readonly #defaultLimitBytes: number | null;

  constructor(request: {
    root: string;
    layers: Pick<LayerStore, "mount">;
    quotas: Quotas;
    defaultLimitBytes: number | null;
  }) {
    this.#root = request.root;
    this.#layers = request.layers;
    this.#quotas = request.quotas;
    this.#defaultLimitBytes = request.defaultLimitBytes;
  }

  get canLimit(): boolean {
    return this.#quotas.areSupported;
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

  create({ id, layers, limitBytes }: Parameters<SnapshotStore["create"]>[0]): Snapshot {
    const snapshot = this.#snapshot(id, layers);
    const chain = this.#chain(id);
    if (chain !== null && chain !== chainOf(layers)) {
      throw conflict(`snapshot ${id} exists over other layers`);
    }
    if (chain !== null) return snapshot;
    const limit = limitBytes ?? this.#defaultLimitBytes;
    if (limit !== null && limit > 0) this.#limit(this.#path(id), limit);
    mkdirSync(snapshot.work, { recursive: true, mode: 0o700 });
    mkdirSync(snapshot.upper, { recursive: true, mode: 0o755 });
    this.#adoptRoot(snapshot);
    // Last: a snapshot without it was never completed, and is completed now.
    symlinkSync(chainOf(layers), `${this.#path(id)}/chain`);
    return snapshot;
  }

  /** Before anything is in it: what is made below belongs to its project from the start. */
  #limit(path: string, limitBytes: number): void {
    if (!this.#quotas.areSupported) throw invalid(CANNOT_LIMIT);
    mkdirSync(path, { recursive: true, mode: 0o755 });
    this.#quotas.limit(path, limitBytes);
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

  rootLowers(layers: readonly Digest[]): string[] {
    return [...this.lowers(layers), `${this.#root}/${INIT}`];
  }

  list(): string[] {
    return readdirSync(this.#root).filter((name) => !name.startsWith("."));
  }

  usageBytes(id: string): Promise<number> {
    if (this.#chain(id) === null) throw notFound(`snapshot ${id} does not exist`);
    return usageOf(`${this.#path(id)}/upper`);
  }

  async remove(id: string): Promise<void> {
    const path = this.#path(id);
    const trash = `${this.#root}/${TRASH_PREFIX}${newId()}`;
    try {
      renameSync(path, trash);
    } catch (error) {
      if (hasCode(error, "ENOENT")) return;
      // The folder itself belongs to a project, which nothing of another one may be moved into.
      if (!hasCode(error, "EXDEV")) throw error;
      rmSync(`${path}/chain`, { force: true });
      return await discard(path, this.#quotas);
    }
    await discard(trash, this.#quotas);
  }
}
