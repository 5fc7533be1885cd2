/**
 * One container's cgroup: the same path in every hierarchy. Every method may be called when the folders are gone.
 */
import { attempt, checked, cstring, errnoNumbers, SyscallError } from "#linux/ffi";

import {
  listFolders,
  readControl,
  readControlKeys,
  readControlNumber,
  removeFolders,
  tryWriteControl,
  writeControl,
} from "./files.ts";
import type { Hierarchy } from "./hierarchy.ts";

const AT_FDCWD = -100;
const O_RDONLY = 0;
const O_WRONLY = 1;
const O_DIRECTORY = process.arch === "arm64" ? 0o40000 : 0o200000;
const O_CLOEXEC = 0o2000000;
const JOIN_FLAGS = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
const SIGKILL = 9;
/** Waiting for the kernel to take zombies and frozen tasks out: first looks come quickly, then every 10 ms. */
const WAIT_STEPS_MS = [0, 1, 1, 2, 2, 5];
const WAIT_STEP_MS = 10;

export interface CgroupFolder {
  readonly hierarchy: Hierarchy;
  readonly folder: string;
}

/** Descriptors through which a process joins; disposing closes them. */
export interface CgroupJoin extends Disposable {
  /** v1 `tasks` files: the process writes "0" to each, as its first steps. */
  readonly tasks: readonly number[];
  /** The v2 folder, for clone3's CLONE_INTO_CGROUP; null where there is no v2 tree. */
  readonly unified: number | null;
}

export interface CgroupUsage {
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
  readonly pids: number;
  readonly cpuUsec: number;
}

export interface WaitRequest {
  /** Gives up after this long. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export class Cgroup {
  readonly path: string;
  readonly folders: readonly CgroupFolder[];

  constructor(path: string, folders: readonly CgroupFolder[]) {
    this.path = path;
    this.folders = folders;
  }

  /** Opens what a process joins through. @throws SyscallError "ENOENT" when the folders are gone */
  openJoin(): CgroupJoin {
    const tasks: number[] = [];
    let unified: number | null = null;
    const close = () => {
      for (const fd of tasks.splice(0)) attempt("close", fd);
      if (unified !== null) attempt("close", unified);
      unified = null;
    };
    try {
      for (const { hierarchy, folder } of this.folders) {
        const path = hierarchy.version === 1 ? `${folder}/tasks` : folder;
        const flags = hierarchy.version === 1 ? O_WRONLY : O_RDONLY | O_DIRECTORY;
        const fd = checked("openat", path, AT_FDCWD, cstring(path), flags | O_CLOEXEC, 0);
        if (hierarchy.version === 1) tasks.push(fd);
        else unified = fd;
      }
    } catch (thrown) {
      close();
      throw thrown;
    }
    return { tasks, unified, [Symbol.dispose]: close };
  }

  /**
   * Where one of its processes stands in the v2 tree, if that is below: a cgroup that hands controllers down takes no process
   * itself, and whoever did so has moved.
   * @returns the folder, open, for CLONE_INTO_CGROUP; null when the process is not below
   * @throws SyscallError "ENOENT" when it is gone
   */
  openBelow(pid: number): number | null {
    const unified = this.folders.find(({ hierarchy }) => hierarchy.version === 2);
    const path = unifiedPathOf(readControl(`/proc/${pid}/cgroup`) ?? "");
    if (unified === undefined || !path?.startsWith(`${this.path}/`)) return null;
    const folder = unified.hierarchy.mountPoint + path;
    return checked("openat", folder, AT_FDCWD, cstring(folder), JOIN_FLAGS, 0);
  }

  /** The processes in here and below, by number of this pid namespace. */
  pids(): number[] {
    const { folder } = this.#authority();
    return pidsBelow(folder);
  }

  /** Stops every process until `thaw`; resolves when all stand still. @throws SyscallError, Error on time-out */
  async freeze(wait: WaitRequest): Promise<void> {
    const at = this.#freezer();
    writeControl(
      at.version === 1 ? `${at.folder}/freezer.state` : `${at.folder}/cgroup.freeze`,
      at.on,
    );
    await until(wait, `freeze ${this.path}`, () => {
      if (at.version === 2)
        return readControlKeys(`${at.folder}/cgroup.events`).get("frozen") === 1;
      if (readControl(`${at.folder}/freezer.state`) === "FROZEN") return true;
      // A task that forked meanwhile leaves v1 in FREEZING until it is asked again.
      tryWriteControl(`${at.folder}/freezer.state`, "FROZEN");
      return false;
    });
  }

  /** Lets the processes go on. @throws SyscallError */
  thaw(): void {
    const at = this.#freezer();
    writeControl(
      at.version === 1 ? `${at.folder}/freezer.state` : `${at.folder}/cgroup.freeze`,
      at.off,
    );
  }

  /** Whether the processes were told to stand still. */
  isFrozen(): boolean {
    const at = this.#freezer();
    return at.version === 1
      ? (readControl(`${at.folder}/freezer.state`) ?? "THAWED") !== "THAWED"
      : readControl(`${at.folder}/cgroup.freeze`) === "1";
  }

  /**
   * Kills every process in here and below, frozen ones too, and waits until none is left.
   * Zombies do not count: their parents reap them.
   * @throws Error on time-out, the signal's reason on abort
   */
  async killAll(wait: WaitRequest): Promise<void> {
    this.sendKill();
    await until(wait, `kill ${this.path}`, () => {
      const empty = this.isEmpty();
      if (!empty) this.sendKill();
      return empty;
    });
  }

  /** One round of SIGKILL for everyone; never waits. */
  sendKill(): void {
    const { hierarchy, folder } = this.#authority();
    const byKernel = hierarchy.version === 2 && tryWriteControl(`${folder}/cgroup.kill`, "1") === 0;
    if (!byKernel) for (const pid of pidsBelow(folder)) killMember(pid, folder);
    // A process that v1's freezer holds takes its SIGKILL only after it was thawed, cgroup.kill or not.
    if (this.isFrozen()) this.thaw();
  }

  /** Whether no living process is in here or below. */
  isEmpty(): boolean {
    const { hierarchy, folder } = this.#authority();
    if (hierarchy.version === 2) {
      return (readControlKeys(`${folder}/cgroup.events`).get("populated") ?? 0) === 0;
    }
    return pidsBelow(folder).length === 0;
  }

  /**
   * Removes the folders, with those a container made below. May run twice.
   * @returns false when some process still holds one after the time given
   */
  async remove(wait: WaitRequest): Promise<boolean> {
    try {
      await until(wait, `remove ${this.path}`, () => this.tryRemove());
      return true;
    } catch (thrown) {
      if (wait.signal?.aborted) throw thrown;
      return false;
    }
  }

  /** One attempt at removing every folder. @returns whether all are gone */
  tryRemove(): boolean {
    let gone = true;
    for (const { folder } of this.folders) gone = removeFolders(folder) && gone;
    return gone;
  }

  /** Whether the folder exists in the hierarchy that decides about processes. */
  exists(): boolean {
    const { folder } = this.#authority();
    return readControl(`${folder}/cgroup.procs`) !== null;
  }

  /** How many processes of this cgroup the kernel killed for want of memory, since it was made. */
  oomKills(): number {
    const memory = this.#controller("memory");
    if (memory === undefined) return 0;
    const file = memory.hierarchy.version === 1 ? "memory.oom_control" : "memory.events";
    return readControlKeys(`${memory.folder}/${file}`).get("oom_kill") ?? 0;
  }

  /** The file that changes with each kill for want of memory, and can be polled; null where there is none: v1. */
  memoryEvents(): string | null {
    const memory = this.#controller("memory");
    return memory?.hierarchy.version === 2 ? `${memory.folder}/memory.events` : null;
  }

  /** What is used now. Zero where the host does not count. */
  readUsage(): CgroupUsage {
    const memory = this.#controller("memory");
    const pids = this.#controller("pids");
    const v1 = memory?.hierarchy.version === 1;
    const read = (at: CgroupFolder | undefined, file: string) =>
      at === undefined ? 0 : (readControlNumber(`${at.folder}/${file}`) ?? 0);
    return {
      memoryBytes: read(memory, v1 ? "memory.usage_in_bytes" : "memory.current"),
      memoryLimitBytes: read(memory, v1 ? "memory.limit_in_bytes" : "memory.max"),
      pids: read(pids, "pids.current"),
      cpuUsec: this.#cpuUsec(),
    };
  }

  /** The path of a control file in the hierarchy of its controller: `file("memory", "memory.stat")`; null without one. */
  file(controller: string, name: string): string | null {
    const at = this.#controller(controller);
    return at === undefined ? null : `${at.folder}/${name}`;
  }

  #cpuUsec(): number {
    const cpuacct = this.#controller("cpuacct");
    if (cpuacct !== undefined) {
      return Math.trunc((readControlNumber(`${cpuacct.folder}/cpuacct.usage`) ?? 0) / 1000);
    }
    const unified = this.folders.find(({ hierarchy }) => hierarchy.version === 2);
    if (unified === undefined) return 0;
    return readControlKeys(`${unified.folder}/cpu.stat`).get("usage_usec") ?? 0;
  }

  #controller(name: string): CgroupFolder | undefined {
    return this.folders.find(({ hierarchy }) => hierarchy.controllers.includes(name));
  }

  /** Whose list of processes counts: the v2 tree's, which also kills, else pids' or any. */
  #authority(): CgroupFolder {
    const first =
      this.folders.find(({ hierarchy }) => hierarchy.version === 2) ??
      this.#controller("pids") ??
      this.folders[0];
    if (first === undefined) throw new SyscallError("cgroup", this.path, errnoNumbers.ENODEV);
    return first;
  }

  #freezer(): { version: 1 | 2; folder: string; on: string; off: string } {
    const v1 = this.#controller("freezer");
    if (v1 !== undefined) return { version: 1, folder: v1.folder, on: "FROZEN", off: "THAWED" };
    return { version: 2, folder: this.#authority().folder, on: "1", off: "0" };
  }
}

/** Pure: a process' path in the v2 tree, of its /proc/PID/cgroup; null without one. */
const unifiedPathOf = (text: string): string | null => /^0::(\/.*)$/m.exec(text)?.[1] ?? null;

function pidsBelow(folder: string): number[] {
  const own = (readControl(`${folder}/cgroup.procs`) ?? "")
    .split("\n")
    .filter((line) => line !== "" && line !== "0")
    .map(Number);
  return [...own, ...listFolders(folder).flatMap((name) => pidsBelow(`${folder}/${name}`))];
}

/** Kills through a pidfd, so that a number given to someone else meanwhile is never hit. */
function killMember(pid: number, folder: string): void {
  const pidfd = attempt("pidfd_open", pid, 0);
  if (pidfd < 0) return;
  if (pidsBelow(folder).includes(pid)) attempt("pidfd_send_signal", pidfd, SIGKILL, null, 0);
  attempt("close", pidfd);
}

async function until(wait: WaitRequest, what: string, done: () => boolean): Promise<void> {
  const end = performance.now() + wait.timeoutMs;
  for (let step = 0; ; step += 1) {
    wait.signal?.throwIfAborted();
    if (done()) return;
    if (performance.now() > end) throw new Error(`${what}: timed out after ${wait.timeoutMs} ms`);
    await Bun.sleep(WAIT_STEPS_MS[step] ?? WAIT_STEP_MS);
  }
}
