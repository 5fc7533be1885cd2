/**
 * Tells of kills for want of memory while the container lives on. With cgroups v2 `memory.events` is a file that can be
 * waited for (EPOLLERR after a change, until it is read again); with v1 nothing is watched, and the end tells.
 * Source: kernel documentation of cgroup-v2, "memory.events", and fs/kernfs.
 */
import { closeSync, openSync, readSync } from "node:fs";

import type { ContainerCgroup } from "./parts.ts";
import type { ProcessKey, SupervisorEvent } from "./protocol.ts";
import type { Readiness } from "./readiness.ts";
import type { ContainerState } from "./records.ts";

/** A container at its limit changes the file all the time: it is looked at this often at most. */
const PAUSE_MS = 1000;
const FILE_LIMIT_BYTES = 1024;

interface Watched {
  readonly file: number;
  readonly onKill: () => void;
  /** Kills that are known: told, or older than the watch. */
  kills: number;
  /** The next look; null while the kernel is to say when. */
  pause: Timer | null;
}

export interface MemoryWatchOptions {
  readonly readiness: Readiness;
  readonly parts: { cgroup(path: string): Pick<ContainerCgroup, "oomKills" | "memoryEvents"> };
  readonly announce: (event: SupervisorEvent) => void;
  readonly warn: (what: string, thrown: unknown) => void;
}

type Limited = Pick<ContainerState, "cgroupsPath" | "limitsMemory">;

export class MemoryWatch {
  readonly #options: MemoryWatchOptions;
  readonly #watched = new Map<string, Watched>();

  constructor(options: MemoryWatchOptions) {
    this.#options = options;
  }

  /** Of a container with a limit: what is killed for the machine's want of memory is told at the end. Never throws. */
  watch(key: ProcessKey, container: Limited | null): void {
    if (container?.limitsMemory !== true) return;
    const { announce, parts, warn } = this.#options;
    try {
      const path = parts.cgroup(container.cgroupsPath).memoryEvents();
      if (path === null) return;
      const file = openSync(path, "r");
      const onKill = () => announce({ type: "oom", key });
      const watched: Watched = { file, onKill, kills: readKills(file), pause: null };
      this.#watched.set(key.id, watched);
      this.#await(watched);
    } catch (thrown) {
      warn(`watch the memory of ${key.id}`, thrown);
    }
  }

  /** The process has ended: kills that were not told are. @returns whether there were any; false for an exec */
  end(key: ProcessKey, container: Limited | null): boolean {
    if (container === null) return false;
    const known = this.#stop(key.id);
    const { announce, parts, warn } = this.#options;
    try {
      const kills = parts.cgroup(container.cgroupsPath).oomKills();
      if (kills > known) announce({ type: "oom", key });
      return kills > 0;
    } catch (thrown) {
      warn(`read the OOM kills of ${container.cgroupsPath}`, thrown);
      return false;
    }
  }

  #stop(id: string): number {
    const watched = this.#watched.get(id);
    if (watched === undefined) return 0;
    this.#watched.delete(id);
    if (watched.pause === null) this.#options.readiness.forget(watched.file);
    else clearTimeout(watched.pause);
    closeSync(watched.file);
    return watched.kills;
  }

  #await(watched: Watched): void {
    // Errors are always told, and it is one that says that the file has changed.
    const nothing = { readable: false, writable: false };
    this.#options.readiness.watch(watched.file, nothing, () => {
      this.#options.readiness.forget(watched.file);
      watched.pause = setTimeout(() => {
        watched.pause = null;
        this.#await(watched);
      }, PAUSE_MS);
      this.#look(watched);
    });
  }

  #look(watched: Watched): void {
    const kills = readKills(watched.file);
    if (kills <= watched.kills) return;
    watched.kills = kills;
    watched.onKill();
  }
}

const buffer = Buffer.alloc(FILE_LIMIT_BYTES);

/** 0 of a cgroup that is gone. */
function readKills(file: number): number {
  try {
    const length = readSync(file, buffer, 0, FILE_LIMIT_BYTES, 0);
    const text = buffer.toString("latin1", 0, length);
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENODEV") return 0;
    throw thrown;
  }
}
