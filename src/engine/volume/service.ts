/**
 * Volumes of the `local` driver:
 *
 *   <root>/<name>/_data     what containers see; the driver's options are mounted on it while one runs
 *   <root>/<name>/filling   the image's content on its way; worthless after a crash
 *   <root>/.gone-<id>       removed, being deleted
 *
 * Promise: data goes by `volume rm`, `volume prune` and, for an anonymous volume, with its container's `rm -v`, and by
 * nothing else. A folder that no record names is a volume too, as for Docker: it is put on record at start-up.
 */
import { lstatSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";

import { type Clock, conflict, newId, notFound, sentenceOf, wrap } from "#base";
import type { EventBus } from "#engine/events";
import { removeTree, usageOf } from "#engine/snapshot";
import type { Store } from "#engine/store";
import { MNT_DETACH, readMountInfo, unmount } from "#linux/mount";

import { listMatcher, pruneMatcher } from "./filters.ts";
import { ANONYMOUS_LABEL, checkVolumeName, isVolumeName } from "./names.ts";
import { checkDriverOptions, isMountVolume } from "./options.ts";
import { VolumeRecords, type VolumeRecord } from "./records.ts";
import { type AwaitAside, VolumeHolds } from "./holds.ts";
import type {
  CreateVolumeRequest,
  Volume,
  VolumeChange,
  VolumeFilters,
  VolumeRoom,
  VolumeUsage,
} from "./volume-service.ts";

export interface OpenVolumesRequest {
  readonly store: Store;
  readonly root: string;
  readonly events: Pick<EventBus, "publish">;
  /** Ids of the containers that have a volume, running or not. */
  readonly users: (name: string) => readonly string[];
  readonly clock: Clock;
  readonly warn: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** Absent: what may stall is mounted and asked here. */
  readonly awaitAside?: AwaitAside;
}

const GONE = ".gone-";

/** @param request.store opened with `volumeMigrations` */
export function openVolumeService(request: OpenVolumesRequest): VolumeRoom {
  mkdirSync(request.root, { recursive: true, mode: 0o711 });
  return new LocalVolumes(request);
}

class LocalVolumes implements VolumeRoom {
  readonly #request: OpenVolumesRequest;
  readonly #records: VolumeRecords;
  readonly #holds: VolumeHolds;
  readonly #deletions = new Set<Promise<void>>();

  constructor(request: OpenVolumesRequest) {
    this.#request = request;
    this.#records = new VolumeRecords(request.store);
    const { root, events, awaitAside } = request;
    this.#holds = new VolumeHolds({
      root,
      records: this.#records,
      events,
      ...(awaitAside === undefined ? {} : { awaitAside }),
    });
    this.#adoptFolders();
  }

  create(request: CreateVolumeRequest): Volume {
    const change = this.planCreation([request]);
    const name = change.names[0] ?? request.name;
    if (!change.isEmpty) this.#records.transact(() => change.write());
    change.done();
    // What is mounted on an older one's might not answer.
    if (!change.isEmpty) this.#holds.ensureFolder(name)[Symbol.dispose]();
    return this.get(name);
  }

  planCreation(requests: readonly CreateVolumeRequest[]): VolumeChange & { names: string[] } {
    const added = new Map<string, VolumeRecord>();
    for (const request of requests) {
      const record = this.#recordOf(request);
      if (record !== null && !added.has(record.name)) added.set(record.name, record);
    }
    return {
      isEmpty: added.size === 0,
      names: [...added.keys()],
      write: () => {
        for (const record of added.values()) {
          // The old one's files are still there, unless they are moved away now.
          if (this.#records.isRemoving(record.name)) this.#moveAway(record.name);
          this.#records.write(record);
          this.#publish(record.name, "create");
        }
      },
      done: () => {
        for (const record of added.values()) this.#records.remember(record);
      },
    };
  }

  /** null for a volume that exists. */
  #recordOf({ name: asked, driver, options, labels }: CreateVolumeRequest): VolumeRecord | null {
    const name = asked === "" ? newId() : asked;
    if (driver !== "" && driver !== "local") {
      throw notFound(
        `create ${name}: error looking up volume plugin ${driver}: plugin "${driver}" not found`,
      );
    }
    checkVolumeName(name);
    if (this.#records.get(name) !== undefined) return null;
    try {
      checkDriverOptions(options);
    } catch (cause) {
      throw wrap(`create ${name}`, cause);
    }
    const anonymous = asked === "" ? { [ANONYMOUS_LABEL]: "" } : {};
    return { name, createdAt: this.#now(), labels: { ...labels, ...anonymous }, options };
  }

  get(name: string): Volume {
    const record = this.#records.get(name);
    if (record === undefined) throw notFound(`get ${name}: no such volume`);
    return this.#volumeOf(record);
  }

  list(filters: VolumeFilters): Volume[] {
    const matches = listMatcher(filters, (name) => this.#request.users(name).length > 0);
    return [...this.#records.all()]
      .map((record) => this.#volumeOf(record))
      .filter(matches)
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  remove(name: string, { force }: { force: boolean }): void {
    if (this.#records.get(name) === undefined) {
      if (force) return;
      throw notFound(`get ${name}: no such volume`);
    }
    const users = this.#request.users(name);
    if (users.length > 0) {
      throw conflict(`remove ${name}: volume is in use - [${users.join(", ")}]`);
    }
    this.#removeUnused(name);
  }

  /** Nothing waits between the look at its users and the record: no container can take it meanwhile. */
  #removeUnused(name: string): void {
    this.#holds.unmountUnheld(name);
    this.#records.transact(() => {
      this.#records.writeRemoving(name);
      this.#publish(name, "destroy");
    });
    this.#records.forget(name);
    this.#delete(name);
  }

  planRemoval(
    names: readonly string[],
    { containerId, after }: { containerId: string; after: Promise<void> },
  ): VolumeChange {
    const going = names.filter(
      (name) =>
        this.#records.get(name) !== undefined &&
        this.#request.users(name).every((id) => id === containerId),
    );
    return {
      isEmpty: going.length === 0,
      write: () => {
        for (const name of going) {
          this.#records.writeRemoving(name);
          this.#publish(name, "destroy");
        }
      },
      done: () => {
        for (const name of going) this.#records.forget(name);
        // Not before whoever removed the container has been answered.
        const work = async () => {
          await after;
          await new Promise((resolve) => setImmediate(resolve));
          for (const name of going) this.#delete(name);
        };
        if (going.length > 0) this.#track(work());
      },
    };
  }

  async prune({
    all,
    filters,
  }: Parameters<VolumeRoom["prune"]>[0]): ReturnType<VolumeRoom["prune"]> {
    const matches = pruneMatcher(filters);
    // One with options may stand for a disk or a server's folder: Docker leaves it alone, even with --all.
    const candidates = this.list({ dangling: ["true"] }).filter(
      (volume) =>
        Object.keys(volume.options).length === 0 &&
        (all || Object.hasOwn(volume.labels, ANONYMOUS_LABEL)) &&
        matches(volume),
    );
    const deleted: string[] = [];
    let reclaimedBytes = 0;
    for (const volume of candidates) {
      const sizeBytes = await this.#sizeOf(volume);
      // While it was measured, someone may have taken or removed it.
      if (this.#records.get(volume.name) === undefined) continue;
      if (this.#request.users(volume.name).length > 0) continue;
      this.#removeUnused(volume.name);
      deleted.push(volume.name);
      reclaimedBytes += sizeBytes;
    }
    this.#request.events.publish({
      type: "volume",
      action: "prune",
      actorId: "",
      attributes: { reclaimed: String(reclaimedBytes) },
    });
    return { deleted, reclaimedBytes };
  }

  async usage(): Promise<VolumeUsage[]> {
    const found: VolumeUsage[] = [];
    for (const volume of this.list({})) {
      const sizeBytes = await this.#sizeOf(volume);
      found.push({ volume, sizeBytes, users: this.#request.users(volume.name).length });
    }
    return found;
  }

  path(name: string): string {
    return join(this.#request.root, name, "_data");
  }

  acquire(request: Parameters<VolumeRoom["acquire"]>[0]): Promise<void> {
    return this.#holds.acquire(request);
  }

  release(containerId: string): void {
    this.#holds.release(containerId);
  }

  reconcile(running: Parameters<VolumeRoom["reconcile"]>[0]): void {
    this.#holds.reconcile(running);
    for (const name of this.#records.removing()) this.#delete(name);
  }

  async swept(): Promise<void> {
    while (this.#deletions.size > 0) await Promise.all(this.#deletions);
  }

  /** Folders that no record names, and what a crash left of removed ones. */
  #adoptFolders(): void {
    const { root, warn } = this.#request;
    for (const entry of readdirSync(root, { withFileTypes: true })) {
      // A file or a link that somebody put there is none of ours.
      if (!entry.isDirectory()) continue;
      const { name } = entry;
      if (name.startsWith(GONE)) this.#track(this.#deleteTree(join(root, name)));
      if (!isVolumeName(name) || this.#records.get(name) !== undefined) continue;
      if (this.#records.isRemoving(name)) continue;
      const stat = lstatSync(this.path(name), { throwIfNoEntry: false });
      if (stat?.isDirectory() !== true) continue;
      const record = { name, createdAt: seconds(stat.birthtime), labels: {}, options: {} };
      this.#records.transact(() => this.#records.write(record));
      this.#records.remember(record);
      warn(`the folder of ${name} was on no record: it is a volume again`, { name });
    }
  }

  async #sizeOf({ path, options }: Volume): Promise<number> {
    // What is mounted on it is somebody else's disk.
    if (isMountVolume(options)) return 0;
    try {
      return await usageOf(path);
    } catch {
      return 0;
    }
  }

  #delete(name: string): void {
    const gone = this.#moveAway(name);
    this.#records.removed(name);
    if (gone !== null) this.#track(this.#deleteTree(gone));
  }

  /** Takes the folder out of the way of a new volume of that name. @returns where it is; null when there was none */
  #moveAway(name: string): string | null {
    const gone = join(this.#request.root, `${GONE}${newId()}`);
    try {
      renameSync(join(this.#request.root, name), gone);
      return gone;
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw thrown;
    }
  }

  async #deleteTree(path: string): Promise<void> {
    try {
      // Nothing is mounted there any more; if something is after all, it must not be emptied.
      const target = join(path, "_data");
      if (readMountInfo().some((entry) => entry.target === target)) unmount(target, MNT_DETACH);
      await removeTree(path);
    } catch (cause) {
      this.#request.warn(`could not delete ${path}: the next start tries again`, {
        error: sentenceOf(cause),
      });
    }
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((cause: unknown) => {
        this.#request.warn("a volume was not deleted", { error: sentenceOf(cause) });
      })
      .finally(() => this.#deletions.delete(tracked));
    this.#deletions.add(tracked);
  }

  #volumeOf({ name, createdAt, labels, options }: VolumeRecord): Volume {
    return { name, createdAt, labels, options, path: this.path(name) };
  }

  #publish(name: string, action: "create" | "destroy"): void {
    const attributes = { driver: "local" };
    this.#request.events.publish({ type: "volume", action, actorId: name, attributes });
  }

  #now(): string {
    return seconds(this.#request.clock.now());
  }
}

const seconds = (date: Date): string => `${date.toISOString().slice(0, 19)}Z`;
