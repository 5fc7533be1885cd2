/**
 * The host's cgroups: making a folder with limits in every hierarchy, and finding folders again.
 *
 * Promise: `create` leaves nothing behind when it throws, and it never moves a process. Processes come in by
 * `Cgroup.openJoin`: the kernel makes whoever writes another process' number into cgroup.procs wait for a grace period.
 */
import { mkdirSync, readdirSync, rmdirSync } from "node:fs";

import { conflict, invalid, unavailable } from "#base";
import { SyscallError } from "#linux/ffi";

import { Cgroup, type CgroupFolder } from "./cgroup.ts";
import { attachDeviceProgram } from "./device-program.ts";
import {
  listFolders,
  readControl,
  readControlNumber,
  tryWriteControl,
  writeControl,
} from "./files.ts";
import {
  type CgroupLayout,
  type CgroupMode,
  type Hierarchy,
  readCgroupLayout,
} from "./hierarchy.ts";
import { type CgroupResources, type ControlWrite, v1Writes, v2Writes } from "./resources.ts";

const DISKS = "/sys/block";

/** What this host's cgroups can do, for /info and for warnings. */
export interface CgroupAbilities {
  readonly memory: boolean;
  readonly swap: boolean;
  readonly oomKillDisable: boolean;
  readonly cpuShares: boolean;
  readonly cpuQuota: boolean;
  readonly cpuset: boolean;
  readonly pids: boolean;
  readonly blkioWeight: boolean;
  readonly blkioWeightDevice: boolean;
  readonly blkioThrottle: boolean;
  /** Shares of real-time tasks: v1 of a kernel built with RT_GROUP_SCHED. */
  readonly cpuRealtime: boolean;
  /** A limit of TCP buffers of its own: v1. */
  readonly kernelMemoryTcp: boolean;
  readonly devices: boolean;
}

export interface CgroupRequest {
  /** Below every hierarchy's mount point: "/naru/<id>". */
  readonly path: string;
  readonly resources: CgroupResources;
}

export interface CgroupHost {
  readonly mode: CgroupMode;
  readonly hierarchies: readonly Hierarchy[];
  readonly abilities: CgroupAbilities;
  /** Makes the folders and sets the limits. A folder left by an earlier life is used again. @throws EngineError, SyscallError */
  create(request: CgroupRequest): Cgroup;
  /** A cgroup that exists, or existed. */
  at(path: string): Cgroup;
  /**
   * Gives a cgroup, and those above it, a share of real-time scheduling; 0 leaves a value as it is.
   * @throws EngineError "unavailable" where the kernel has none, SyscallError where those above have less
   */
  shareRealtime(path: string, share: { periodUsec: number; runtimeUsec: number }): void;
  /** The names of the folders below `parent`, in any hierarchy: what a crash may have left. */
  list(parent: string): string[];
}

/** Opens the host's cgroups. */
export function openCgroupHost(layout: CgroupLayout = readCgroupLayout()): CgroupHost {
  const { mode, hierarchies } = layout;
  const prepared = new Set<string>();
  const create = ({ path, resources }: CgroupRequest): Cgroup => {
    const at = cleanPath(path);
    const folders = foldersOf(hierarchies, at);
    const parent = at.slice(0, at.lastIndexOf("/"));
    if (!prepared.has(parent)) {
      for (const hierarchy of hierarchies) prepareParent(hierarchy, parent);
      prepared.add(parent);
    }
    const made: string[] = [];
    try {
      for (const { folder, hierarchy } of folders) {
        if (makeFolder(folder, () => prepareParent(hierarchy, parent))) made.push(folder);
      }
      if (resources.cpu?.realtimeRuntime) shareRealtime(hierarchies, parent);
      applyNewResources(folders, resources, () => {
        for (const hierarchy of hierarchies) prepareParent(hierarchy, parent);
      });
    } catch (thrown) {
      for (const folder of made.reverse()) removeQuietly(folder);
      throw thrown;
    }
    return new Cgroup(at, folders);
  };
  return {
    mode,
    hierarchies,
    abilities: readAbilities(hierarchies),
    create,
    at: (path) => new Cgroup(cleanPath(path), foldersOf(hierarchies, cleanPath(path))),
    shareRealtime: (path, share) => setRealtime(hierarchies, cleanPath(path), share),
    list: (parent) => [
      ...new Set(
        hierarchies.flatMap(({ mountPoint }) => listFolders(mountPoint + cleanPath(parent))),
      ),
    ],
  };
}

/** Pure: one leading slash, nothing that climbs. @throws EngineError "invalid" */
export function cleanPath(path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.length === 0 || parts.includes("..") || path.includes("\0")) {
    throw invalid(`invalid cgroup path: ${path}`);
  }
  return `/${parts.join("/")}`;
}

const foldersOf = (hierarchies: readonly Hierarchy[], path: string): CgroupFolder[] =>
  hierarchies.map((hierarchy) => ({ hierarchy, folder: hierarchy.mountPoint + path }));

/** @returns whether it was made just now */
function makeFolder(folder: string, prepare: () => void): boolean {
  for (let tries = 0; ; tries += 1) {
    try {
      mkdirSync(folder);
      return true;
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      if (code === "EEXIST") return false;
      // Somebody removed the parent meanwhile: make it again, once.
      if (code !== "ENOENT" || tries > 0) throw thrown;
      prepare();
    }
  }
}

function removeQuietly(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // The failure that led here is the one to tell; start-up finds what is left.
  }
}

/** Makes the folders on the way and lets their children be limited. */
function prepareParent({ version, mountPoint, controllers }: Hierarchy, parent: string): void {
  let folder = mountPoint;
  for (const name of ["", ...parent.split("/").filter(Boolean)]) {
    if (name !== "") {
      folder += `/${name}`;
      mkdirSync(folder, { recursive: true });
    }
    if (version === 2) {
      for (const controller of controllers) {
        // Refused by the root of a delegation that has processes of its own (EBUSY) or lacks the controller.
        tryWriteControl(`${folder}/cgroup.subtree_control`, `+${controller}`);
      }
    } else if (name !== "" && controllers.includes("cpuset")) {
      inheritCpuset(folder);
    }
  }
}

/** Real-time shares are handed down: a new folder has none, and its children can have no more than it has. */
function shareRealtime(hierarchies: readonly Hierarchy[], parent: string): void {
  const cpu = cpuOf(hierarchies);
  if (cpu === undefined) return;
  let folder = cpu.mountPoint;
  for (const name of parent.split("/").filter(Boolean)) {
    const share = readControl(`${folder}/cpu.rt_runtime_us`) ?? "0";
    folder += `/${name}`;
    if (readControl(`${folder}/cpu.rt_runtime_us`) === "0") {
      writeControl(`${folder}/cpu.rt_runtime_us`, share);
    }
  }
}

const cpuOf = (hierarchies: readonly Hierarchy[]): Hierarchy | undefined =>
  hierarchies.find(({ version, controllers }) => version === 1 && controllers.includes("cpu"));

function setRealtime(
  hierarchies: readonly Hierarchy[],
  path: string,
  { periodUsec, runtimeUsec }: { periodUsec: number; runtimeUsec: number },
): void {
  const cpu = cpuOf(hierarchies);
  if (cpu === undefined || readControl(`${cpu.mountPoint}/cpu.rt_runtime_us`) === null) {
    throw unavailable("unable to init CPU RT controller: this kernel has no real-time shares");
  }
  prepareParent(cpu, path);
  let folder = cpu.mountPoint;
  for (const name of path.split("/").filter(Boolean)) {
    folder += `/${name}`;
    if (periodUsec !== 0) writeControl(`${folder}/cpu.rt_period_us`, String(periodUsec));
    if (runtimeUsec !== 0) writeControl(`${folder}/cpu.rt_runtime_us`, String(runtimeUsec));
  }
}

/** A v1 cpuset folder takes no process before both files have a value; its children inherit from here on. */
function inheritCpuset(folder: string): void {
  const above = folder.slice(0, folder.lastIndexOf("/"));
  for (const file of ["cpuset.cpus", "cpuset.mems"]) {
    if (readControl(`${folder}/${file}`) !== "") continue;
    writeControl(`${folder}/${file}`, readControl(`${above}/${file}`) ?? "");
  }
  writeControl(`${folder}/cgroup.clone_children`, "1");
}

/**
 * `applyResources`, once more after `prepare` where a file is missing: in a slice of its own systemd takes back the
 * controllers that none of its units needs, at any time.
 */
function applyNewResources(
  folders: readonly CgroupFolder[],
  resources: CgroupResources,
  prepare: () => void,
): void {
  try {
    applyResources(folders, resources);
  } catch (thrown) {
    if (!(thrown instanceof SyscallError) || thrown.code !== "ENOENT") throw thrown;
    prepare();
    applyResources(folders, resources);
  }
}

/** Sets limits on folders that exist. @throws SyscallError, EngineError "invalid" for a controller this host lacks */
export function applyResources(folders: readonly CgroupFolder[], resources: CgroupResources): void {
  const v1 = new Map<string, string>();
  let v2: CgroupFolder | undefined;
  for (const each of folders) {
    if (each.hierarchy.version === 2) v2 = each;
    else for (const controller of each.hierarchy.controllers) v1.set(controller, each.folder);
  }
  for (const write of v1Writes(resources)) {
    const folder = v1.get(write.controller);
    if (folder !== undefined) writeLimit(folder, write);
    else if (v2 === undefined) refuseMissing(write);
  }
  if (v2 === undefined) return;
  for (const write of v2Writes(resources)) {
    if (v2.hierarchy.controllers.includes(write.controller) || write.controller === "cgroup") {
      writeLimit(v2.folder, write);
    } else if (!v1.has(v1NameOf(write.controller))) refuseMissing(write);
  }
  if (!v1.has("devices") && (resources.devices?.length ?? 0) > 0) {
    attachDeviceProgram(v2.folder, resources.devices ?? []);
  }
}

/**
 * Changes limits of a cgroup whose processes run. v1's limit on memory with swap may never be below the one on
 * memory, so whichever grows is written first.
 * @throws SyscallError, EngineError "conflict" when more is in use than is to be allowed
 */
export function updateResources({ folders }: Cgroup, resources: CgroupResources): void {
  const { limit = 0, swap = 0 } = resources.memory ?? {};
  const memory = folders.find(
    ({ hierarchy }) => hierarchy.version === 1 && hierarchy.controllers.includes("memory"),
  );
  try {
    if (memory !== undefined && limit > 0 && swap !== 0) {
      const file = `${memory.folder}/memory.memsw.limit_in_bytes`;
      const current = readControlNumber(file);
      if (current !== null && limit > current) writeControl(file, `${swap}`);
    }
    applyResources(folders, resources);
  } catch (cause) {
    if (!(cause instanceof SyscallError) || cause.code !== "EBUSY" || limit <= 0) throw cause;
    throw conflict(`unable to set memory limit to ${limit}: more is in use: ${cause.message}`, {
      cause,
    });
  }
}

const v1NameOf = (controller: string): string => (controller === "io" ? "blkio" : controller);

function writeLimit(folder: string, { file, value, optional, otherwise }: ControlWrite): void {
  const path = `${folder}/${file}`;
  if (optional && readControl(path) === null) return;
  if (otherwise !== undefined && readControl(path) === null) {
    return writeControl(`${folder}/${otherwise.file}`, otherwise.value);
  }
  writeControl(path, value);
}

function refuseMissing({ controller, file, value, optional }: ControlWrite): void {
  // Device rules protect: where nothing can hold them, running without is no answer either.
  if (optional) return;
  throw invalid(
    `cannot set ${file} to ${value}: this host has no cgroup controller "${controller}"`,
  );
}

function readAbilities(hierarchies: readonly Hierarchy[]): CgroupAbilities {
  const v1 = (controller: string, file: string) =>
    hierarchies.some(
      (each) =>
        each.version === 1 &&
        each.controllers.includes(controller) &&
        readControl(`${each.mountPoint}/${file}`) !== null,
    );
  const has = (controller: string, version?: 1 | 2) =>
    hierarchies.some(
      (each) =>
        each.controllers.includes(controller) &&
        (version === undefined || each.version === version),
    );
  return {
    memory: has("memory"),
    swap: v1("memory", "memory.memsw.limit_in_bytes") || has("memory", 2),
    oomKillDisable: has("memory", 1),
    cpuShares: has("cpu"),
    cpuQuota: v1("cpu", "cpu.cfs_quota_us") || has("cpu", 2),
    cpuset: has("cpuset"),
    pids: has("pids"),
    blkioWeight: v1("blkio", "blkio.bfq.weight") || has("io", 2),
    blkioWeightDevice:
      v1("blkio", "blkio.bfq.weight_device") || (has("io", 2) && isBfqRegistered()),
    cpuRealtime: v1("cpu", "cpu.rt_runtime_us"),
    kernelMemoryTcp: v1("memory", "memory.kmem.tcp.limit_in_bytes"),
    blkioThrottle: has("blkio", 1) || has("io", 2),
    devices: has("devices", 1) || hierarchies.some((each) => each.version === 2),
  };
}

/**
 * v2 has weights by device where the scheduler BFQ, a module, is loaded: disks list the schedulers they could have.
 * Zoned and stacked ones may not be among them, so it is enough that one does.
 */
function isBfqRegistered(): boolean {
  try {
    return readdirSync(DISKS).some((name) => {
      const schedulers = readControl(`${DISKS}/${name}/queue/scheduler`) ?? "";
      return /\bbfq\b/.test(schedulers);
    });
  } catch (thrown) {
    // A kernel without block devices, or a container without /sys.
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw thrown;
  }
}
