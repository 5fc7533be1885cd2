/**
 * What may be deleted: everything on disk that no record and no lease refers to.
 *
 * Records are the roots: each room that refers to blobs, layers or snapshots registers a provider, and a sweep
 * runs only once all the expected ones have. Work in progress holds leases; they live in memory, since after a
 * crash its half-made things are garbage. A crash in the middle of a sweep leaves work for the next.
 */
import { assert } from "#base";
import type { ContentStore } from "#engine/content";
import type { LayerStore } from "#engine/layer";
import type { SnapshotStore } from "#engine/snapshot";
import type { Digest } from "#oci";

/** What someone still needs. */
export interface Needed {
  readonly blobs?: Iterable<Digest>;
  readonly layers?: Iterable<Digest>;
  readonly snapshots?: Iterable<string>;
}

export interface Lease extends Disposable {
  /** Keeps these, whether they are here yet or not, until the lease is disposed. */
  keep(needed: Needed): void;
}

/** What was deleted. */
export interface Collected {
  readonly blobs: readonly Digest[];
  readonly layers: readonly Digest[];
  readonly snapshots: readonly string[];
}

export interface GarbageCollector {
  /** @param owner one of the names the collector was opened with */
  addRoots(owner: string, provider: () => Needed): void;
  lease(): Lease;
  /** No sweep at all until disposed: for work whose results have no name before they are there. */
  hold(): Disposable;
  /** Deletes those of the candidates that nobody needs: at once, or after the last hold. */
  release(candidates: { blobs?: Iterable<Digest>; layers?: Iterable<Digest> }): void;
  /** Deletes everything that nobody needs; waits for holds. */
  collect(): Promise<Collected>;
}

export interface GarbageStores {
  readonly content: Pick<ContentStore, "list" | "remove" | "sizeOf">;
  readonly layers: Pick<LayerStore, "list" | "remove" | "has">;
  readonly snapshots: Pick<SnapshotStore, "list" | "remove">;
}

/** @param request.owners who must have registered roots before anything is deleted */
export function openGarbageCollector(
  request: GarbageStores & { readonly owners: readonly string[] },
): GarbageCollector {
  return new MarkAndSweep(request, request.owners);
}

interface Marked {
  readonly blobs: ReadonlySet<Digest>;
  readonly layers: ReadonlySet<Digest>;
  readonly snapshots: ReadonlySet<string>;
}

class MarkAndSweep implements GarbageCollector {
  readonly #stores: GarbageStores;
  readonly #awaited: Set<string>;
  readonly #providers = new Map<string, () => Needed>();
  readonly #leases = new Set<Needed[]>();
  readonly #released = { blobs: new Set<Digest>(), layers: new Set<Digest>() };
  #holds = 0;
  #whenFree: (() => void)[] = [];

  constructor(stores: GarbageStores, owners: readonly string[]) {
    this.#stores = stores;
    this.#awaited = new Set(owners);
  }

  addRoots(owner: string, provider: () => Needed): void {
    assert(this.#awaited.delete(owner), `${owner} registers roots once, and was expected to`);
    this.#providers.set(owner, provider);
  }

  lease(): Lease {
    const kept: Needed[] = [];
    this.#leases.add(kept);
    return {
      keep: (needed) => {
        // An iterator would be spent after the first sweep.
        kept.push({
          blobs: [...(needed.blobs ?? [])],
          layers: [...(needed.layers ?? [])],
          snapshots: [...(needed.snapshots ?? [])],
        });
      },
      [Symbol.dispose]: () => void this.#leases.delete(kept),
    };
  }

  hold(): Disposable {
    let held = true;
    this.#holds += 1;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        this.#holds -= 1;
        if (this.#holds === 0) this.#resume();
      },
    };
  }

  release(candidates: { blobs?: Iterable<Digest>; layers?: Iterable<Digest> }): void {
    for (const digest of candidates.blobs ?? []) this.#released.blobs.add(digest);
    for (const diffId of candidates.layers ?? []) this.#released.layers.add(diffId);
    if (this.#holds === 0) this.#sweepReleased();
  }

  async collect(): Promise<Collected> {
    while (this.#holds > 0) {
      await new Promise<void>((resolve) => this.#whenFree.push(resolve));
    }
    const marked = this.#mark();
    const { content, layers, snapshots } = this.#stores;
    const lostBlobs = content
      .list()
      .map(({ digest }) => digest)
      .filter((digest) => !marked.blobs.has(digest));
    const lostLayers = layers
      .list()
      .map(({ diffId }) => diffId)
      .filter((diffId) => !marked.layers.has(diffId));
    for (const digest of lostBlobs) content.remove(digest);
    for (const diffId of lostLayers) layers.remove(diffId);
    const lostSnapshots: string[] = [];
    for (const id of snapshots.list()) {
      // Removing waits: what was made meanwhile has a record or a lease by now.
      if (marked.snapshots.has(id) || this.#mark().snapshots.has(id)) continue;
      await snapshots.remove(id);
      lostSnapshots.push(id);
    }
    return { blobs: lostBlobs, layers: lostLayers, snapshots: lostSnapshots };
  }

  #resume(): void {
    if (this.#released.blobs.size + this.#released.layers.size > 0) this.#sweepReleased();
    for (const wake of this.#whenFree.splice(0)) wake();
  }

  #sweepReleased(): void {
    const marked = this.#mark();
    const { blobs, layers } = this.#released;
    for (const digest of blobs) if (!marked.blobs.has(digest)) this.#stores.content.remove(digest);
    for (const diffId of layers) {
      if (!marked.layers.has(diffId) && this.#stores.layers.has(diffId)) {
        this.#stores.layers.remove(diffId);
      }
    }
    blobs.clear();
    layers.clear();
  }

  #mark(): Marked {
    assert(this.#awaited.size === 0, `roots of ${[...this.#awaited].join(", ")} are registered`);
    const blobs = new Set<Digest>();
    const layers = new Set<Digest>();
    const snapshots = new Set<string>();
    const roots = [...this.#providers.values()].map((provide) => provide());
    for (const needed of [...roots, ...[...this.#leases].flat()]) {
      for (const digest of needed.blobs ?? []) blobs.add(digest);
      for (const diffId of needed.layers ?? []) layers.add(diffId);
      for (const id of needed.snapshots ?? []) snapshots.add(id);
    }
    return { blobs, layers, snapshots };
  }
}
