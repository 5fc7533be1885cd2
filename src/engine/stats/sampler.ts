/**
 * The sampler: once a second it reads every container that someone watches, once, whoever many watch it.
 *
 * Descriptors stay open from a container's first sample to the end of its run (`ended`), so a sample is reads and
 * nothing else. A container's network file holds its namespace: it must be closed when the run ends.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { totalmem } from "node:os";

import { type CgroupFolder, CgroupUsageReader, type CgroupUsageSample } from "#linux/cgroup";

import {
  type InterfaceUsage,
  parseInterfaces,
  readSystemCpu,
  type SystemCpu,
} from "./host-usage.ts";

export type { InterfaceUsage, SystemCpu } from "./host-usage.ts";

const INTERVAL_MS = 1000;
/** Containers read in one go, between which the daemon does other things. */
const BATCH = 16;
/** Containers whose files stay open; of more the files are opened at each sample. */
const OPEN_LIMIT = 512;

/** A running container, as the sampler reads it. */
export interface SampledContainer {
  readonly folders: readonly CgroupFolder[];
  readonly pid: number;
  /** "own": what the process' namespace has; "none": no interface counts (the host's); null: networking is off. */
  readonly network: "own" | "none" | null;
}

export interface StatsSample {
  /** Milliseconds since 1970. */
  readonly readAtMs: number;
  readonly usage: CgroupUsageSample;
  readonly system: SystemCpu;
  readonly machineMemoryBytes: number;
  /** null where networking is off. */
  readonly interfaces: Readonly<Record<string, InterfaceUsage>> | null;
}

export interface StatsWatcher {
  /** Called once a second, and once soon after the watch began; null while the container does not run. */
  sampled(sample: StatsSample | null): void;
  /** The container was removed: nothing more comes. */
  removed(): void;
}

interface Watched {
  readonly watchers: Set<StatsWatcher>;
  reader: ContainerReader | null;
}

export class StatsSampler implements Disposable {
  readonly #describe: (id: string) => SampledContainer | null;
  readonly #watched = new Map<string, Watched>();
  #timer: NodeJS.Timeout | null = null;
  #open = 0;

  /** @param describe null while the container does not run */
  constructor(describe: (id: string) => SampledContainer | null) {
    this.#describe = describe;
  }

  /** Disposing ends the watch. */
  watch(id: string, watcher: StatsWatcher): Disposable {
    let watched = this.#watched.get(id);
    if (watched === undefined) {
      watched = { watchers: new Set(), reader: null };
      this.#watched.set(id, watched);
    }
    watched.watchers.add(watcher);
    this.#timer ??= setInterval(() => void this.#tick(), INTERVAL_MS).unref();
    const first = setImmediate(() => {
      if (watched.watchers.has(watcher)) watcher.sampled(this.#sample(id, readSystemCpu()));
    });
    return {
      [Symbol.dispose]: () => {
        clearImmediate(first);
        this.#leave(id, watched, watcher);
      },
    };
  }

  /** The run is over: its descriptors are closed. */
  ended(id: string): void {
    const watched = this.#watched.get(id);
    if (watched !== undefined) this.#closeReader(watched);
  }

  removed(id: string): void {
    const watched = this.#watched.get(id);
    if (watched === undefined) return;
    this.ended(id);
    this.#watched.delete(id);
    for (const watcher of watched.watchers) watcher.removed();
    watched.watchers.clear();
    this.#rest();
  }

  [Symbol.dispose](): void {
    for (const id of this.#watched.keys()) this.removed(id);
  }

  async #tick(): Promise<void> {
    const system = readSystemCpu();
    let inBatch = 0;
    for (const [id, { watchers }] of this.#watched) {
      const sample = this.#sample(id, system);
      for (const watcher of watchers) watcher.sampled(sample);
      inBatch += 1;
      if (inBatch % BATCH === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #sample(id: string, system: SystemCpu): StatsSample | null {
    const watched = this.#watched.get(id);
    const container = watched === undefined ? null : this.#describe(id);
    if (watched === undefined || container === null) return null;
    if (watched.reader !== null && watched.reader.pid !== container.pid) this.#closeReader(watched);
    let { reader } = watched;
    if (reader === null) {
      reader = new ContainerReader(container);
      if (this.#open < OPEN_LIMIT) {
        this.#open += 1;
        watched.reader = reader;
      }
    }
    try {
      return reader.read(system);
    } finally {
      if (watched.reader !== reader) reader[Symbol.dispose]();
    }
  }

  #leave(id: string, watched: Watched, watcher: StatsWatcher): void {
    if (!watched.watchers.delete(watcher) || watched.watchers.size > 0) return;
    this.#closeReader(watched);
    if (this.#watched.get(id) === watched) this.#watched.delete(id);
    this.#rest();
  }

  #closeReader(watched: Watched): void {
    if (watched.reader === null) return;
    watched.reader[Symbol.dispose]();
    watched.reader = null;
    this.#open -= 1;
  }

  /** Nobody watches: nothing is done any more. */
  #rest(): void {
    if (this.#watched.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}

const networkBuffer = Buffer.alloc(64 * 1024);

/** The open files of one run. */
class ContainerReader implements Disposable {
  readonly pid: number;
  readonly #cgroup: CgroupUsageReader;
  readonly #mode: SampledContainer["network"];
  #network: number | null;

  constructor({ folders, pid, network }: SampledContainer) {
    this.pid = pid;
    this.#mode = network;
    this.#cgroup = new CgroupUsageReader(folders);
    this.#network = network === "own" ? openNetwork(pid) : null;
  }

  read(system: SystemCpu): StatsSample | null {
    const usage = this.#cgroup.read();
    if (usage === null) return null;
    return {
      readAtMs: Date.now(),
      usage,
      system,
      machineMemoryBytes: MACHINE_MEMORY_BYTES,
      interfaces: this.#mode === null ? null : this.#readNetwork(),
    };
  }

  [Symbol.dispose](): void {
    this.#cgroup[Symbol.dispose]();
    if (this.#network !== null) closeSync(this.#network);
    this.#network = null;
  }

  #readNetwork(): Record<string, InterfaceUsage> {
    if (this.#network === null) return {};
    const length = readSync(this.#network, networkBuffer, 0, networkBuffer.length, 0);
    return parseInterfaces(networkBuffer.toString("latin1", 0, length));
  }
}

const MACHINE_MEMORY_BYTES = totalmem();

/** null when the process has ended. */
function openNetwork(pid: number): number | null {
  try {
    return openSync(`/proc/${pid}/net/dev`, "r");
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    // EINVAL: the process is a zombie, which has no network namespace any more.
    if (code === "ENOENT" || code === "ESRCH" || code === "EINVAL") return null;
    throw thrown;
  }
}
