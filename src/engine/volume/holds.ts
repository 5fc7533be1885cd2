/**
 * Which running container has which volume, and what that needs: the folder, the image's content in a new one, and the
 * mount of the driver's options, which comes with the first container and goes with the last.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { assert, invalid, notFound, SerialQueue, wrap } from "#base";
import type { EventBus } from "#engine/events";
import { SyscallError } from "#linux/ffi";
import { MNT_DETACH, readMountInfo, unmount } from "#linux/mount";
import {
  FileDescriptor,
  isEmptyDirectory,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  openBeneath,
  openPath,
  openWithoutLinks,
} from "#linux/path";

import { copyTree } from "./copy-tree.ts";
import { fillAside, ImageView } from "./fill.ts";
import { type DriverOptions, isMountVolume, mayStall, mountVolume } from "./options.ts";
import type { VolumeRecords } from "./records.ts";
import type { VolumeMount } from "./volume-service.ts";

interface Preparation {
  readonly containerId: string;
  readonly mount: VolumeMount;
  readonly image: ImageView;
  readonly signal: AbortSignal | undefined;
}

/** Mounts options on a folder, or none, and reads it once, in a process that can be given up. */
export type AwaitAside = (
  request: { readonly path: string; readonly mount: DriverOptions | null },
  signal: AbortSignal | undefined,
) => Promise<void>;

export class VolumeHolds {
  readonly #root: string;
  readonly #rootFd: FileDescriptor;
  readonly #records: VolumeRecords;
  readonly #events: Pick<EventBus, "publish">;
  /** By container. */
  readonly #held = new Map<string, readonly VolumeMount[]>();
  /** Volumes whose options are mounted. */
  readonly #mounted = new Set<string>();
  readonly #awaitAside: AwaitAside | null;
  readonly #queues = new Map<string, SerialQueue>();

  constructor(request: {
    root: string;
    records: VolumeRecords;
    events: Pick<EventBus, "publish">;
    awaitAside?: AwaitAside;
  }) {
    this.#root = request.root;
    this.#rootFd = new FileDescriptor(openPath(request.root, O_PATH | O_DIRECTORY));
    this.#records = request.records;
    this.#events = request.events;
    this.#awaitAside = request.awaitAside ?? null;
  }

  async acquire(request: {
    containerId: string;
    mounts: readonly VolumeMount[];
    lowers: readonly string[];
    signal?: AbortSignal;
  }): Promise<void> {
    const { containerId, mounts, lowers, signal } = request;
    if (mounts.length === 0) return;
    this.release(containerId);
    this.#held.set(containerId, mounts);
    using image = new ImageView(lowers);
    for (const mount of mounts) {
      if (this.#isReady(mount)) continue;
      const queue = this.#queueOf(mount.name);
      await queue.run(() => this.#prepare({ containerId, mount, image, signal }));
    }
    for (const mount of mounts) this.#publishMount(containerId, mount);
  }

  release(containerId: string): void {
    const mounts = this.#held.get(containerId);
    if (mounts === undefined) return;
    this.#held.delete(containerId);
    for (const { name } of mounts) {
      this.#events.publish({
        type: "volume",
        action: "unmount",
        actorId: name,
        attributes: { container: containerId, driver: "local" },
      });
      this.unmountUnheld(name);
      if (this.#holders(name).length === 0) this.#queues.delete(name);
    }
  }

  reconcile(running: ReadonlyMap<string, readonly VolumeMount[]>): void {
    this.#held.clear();
    for (const [id, mounts] of running) if (mounts.length > 0) this.#held.set(id, mounts);
    const withOptions = [...this.#records.all()].filter(({ options }) => isMountVolume(options));
    if (withOptions.length === 0) return;
    const targets = new Set(readMountInfo().map(({ target }) => target));
    for (const { name } of withOptions) {
      if (!targets.has(this.#path(name))) continue;
      this.#mounted.add(name);
      this.unmountUnheld(name);
    }
  }

  /** Takes the options' mount away when no running container needs it. */
  unmountUnheld(name: string): void {
    if (!this.#mounted.has(name) || this.#holders(name).length > 0) return;
    this.#mounted.delete(name);
    // The containers' own mounts of it went with them: what keeps it busy is nobody of ours.
    unmount(this.#path(name), MNT_DETACH);
  }

  /** Makes the folder; what is on the way to it must be ours. @throws EngineError "invalid" for a link */
  ensureFolder(name: string): FileDescriptor {
    for (let tries = 0; ; tries += 1) {
      try {
        const flags = O_RDONLY | O_DIRECTORY;
        return new FileDescriptor(
          openWithoutLinks({ rootFd: this.#rootFd.fd, path: `${name}/_data`, flags }),
        );
      } catch (cause) {
        const code = cause instanceof SyscallError ? cause.code : "";
        if (code === "ELOOP") {
          throw invalid(`the folder of volume ${name} is a symbolic link: ${this.#path(name)}`, {
            cause,
          });
        }
        if (code !== "ENOENT" || tries > 0) throw cause;
        mkdirSync(this.#path(name), { recursive: true, mode: 0o755 });
      }
    }
  }

  /** One look, for the volumes that exist and are full: nearly all of them. */
  #isReady({ name, noCopy, subpath }: VolumeMount): boolean {
    const record = this.#records.get(name);
    if (record === undefined) throw notFound(`get ${name}: no such volume`);
    if (isMountVolume(record.options) || subpath !== undefined) return false;
    using folder = this.ensureFolder(name);
    return noCopy || !isEmptyDirectory(folder.fd);
  }

  async #prepare({ containerId, mount, image, signal }: Preparation): Promise<void> {
    const { name, target, noCopy, subpath } = mount;
    const options = this.#records.get(name)?.options;
    // A container that has it is on record, and so is the volume for as long.
    assert(options !== undefined, "a volume in use is on record");
    if (isMountVolume(options)) await this.#mountOptions(name, options, signal);
    using folder = this.ensureFolder(name);
    using place = subpath === undefined ? null : this.#openBelow(folder, name, subpath);
    if (noCopy) return;
    const into = subpath === undefined ? folder : place;
    if (into === null || !isEmptyDirectory(into.fd)) return;
    using source = image.folder(target);
    if (source === null) return;
    const alone = this.#holders(name).every((id) => id === containerId);
    if (alone && subpath === undefined && !isMountVolume(options)) {
      await fillAside(source, join(this.#root, name));
    } else await copyTree(source.fd, into.fd);
  }

  async #mountOptions(
    name: string,
    options: DriverOptions,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const isMounted = this.#mounted.has(name);
    const path = this.#path(name);
    if (!isMounted) this.ensureFolder(name)[Symbol.dispose]();
    if (this.#awaitAside !== null && mayStall(options)) {
      try {
        await this.#awaitAside({ path, mount: isMounted ? null : options }, signal);
      } catch (cause) {
        // It may have come as far as the mount.
        if (!isMounted) unmount(path, MNT_DETACH);
        throw cause;
      }
    } else if (!isMounted) await mountVolume(options, path);
    this.#mounted.add(name);
  }

  /** A folder inside a volume; null for something that is no folder. @throws EngineError "invalid" when it is not there */
  #openBelow(folder: FileDescriptor, name: string, subpath: string): FileDescriptor | null {
    const openAs = (flags: number) =>
      new FileDescriptor(openBeneath({ rootFd: folder.fd, path: subpath, flags }));
    try {
      return openAs(O_RDONLY | O_DIRECTORY);
    } catch (cause) {
      if (cause instanceof SyscallError && cause.code === "ENOTDIR") return null;
      throw wrap(`cannot access path ${join(this.#path(name), subpath)}`, reasonOf(cause));
    }
  }

  #holders(name: string): string[] {
    return [...this.#held]
      .filter(([, mounts]) => mounts.some((mount) => mount.name === name))
      .map(([id]) => id);
  }

  #queueOf(name: string): SerialQueue {
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      queue = new SerialQueue();
      this.#queues.set(name, queue);
    }
    return queue;
  }

  #path(name: string): string {
    return join(this.#root, name, "_data");
  }

  #publishMount(containerId: string, { name, target, readOnly }: VolumeMount): void {
    this.#events.publish({
      type: "volume",
      action: "mount",
      actorId: name,
      attributes: {
        container: containerId,
        destination: target,
        driver: "local",
        propagation: "",
        "read/write": String(!readOnly),
      },
    });
  }
}

/** The kernel's own words of an error. */
function reasonOf(cause: unknown): Error {
  if (!(cause instanceof SyscallError))
    return cause instanceof Error ? cause : new Error("unknown");
  const sentence = cause.message;
  return invalid(sentence.slice(sentence.lastIndexOf(": ") + 2), { cause });
}
