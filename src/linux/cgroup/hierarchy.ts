/**
 * Which cgroup hierarchies this host has, and where this process stands in them.
 * v2: one tree for everything. v1: a tree for each controller or group of them. Hybrid: v1 plus a v2 tree at
 * `unified` (systemd's old default, WSL), which may have controllers of its own.
 * Source: cgroups(7), proc_pid_mountinfo(5).
 */
import { readFileSync } from "node:fs";

export type CgroupMode = "v1" | "v2" | "hybrid";

export interface Hierarchy {
  readonly version: 1 | 2;
  /** Where it is mounted: `/sys/fs/cgroup/memory`. */
  readonly mountPoint: string;
  /** The folder's own name: "memory", "cpu,cpuacct", "systemd", "unified"; "" for a v2-only host. */
  readonly name: string;
  /** v1: "cpu", "cpuacct", "name=systemd". v2: what the root offers. */
  readonly controllers: readonly string[];
  /** This process' folder, relative to the mount point: "/", "/system.slice/naru.service". */
  readonly ownPath: string;
}

export interface CgroupLayout {
  readonly mode: CgroupMode;
  readonly hierarchies: readonly Hierarchy[];
}

const V1_OPTIONS = new Set(["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"]);

interface CgroupMount {
  readonly version: 1 | 2;
  readonly root: string;
  readonly mountPoint: string;
  readonly options: readonly string[];
}

/** Pure: the cgroup mounts of a mountinfo text; the last mount of a hierarchy wins. */
export function parseCgroupMounts(text: string): CgroupMount[] {
  const mounts = new Map<string, CgroupMount>();
  for (const line of text.split("\n")) {
    const [before = "", after = ""] = line.split(" - ", 2);
    const [type, , superOptions = ""] = after.split(" ");
    if (type !== "cgroup" && type !== "cgroup2") continue;
    const [, , , root = "/", mountPoint = ""] = before.split(" ");
    const options = superOptions
      .split(",")
      .filter((option) => !V1_OPTIONS.has(option) && !option.startsWith("release_agent="));
    const version = type === "cgroup" ? 1 : 2;
    mounts.set(version === 2 ? "2" : options.join(","), { version, root, mountPoint, options });
  }
  return [...mounts.values()];
}

/** Pure: own paths by controller from a /proc/PID/cgroup text; the v2 tree's key is "". */
export function parseOwnPaths(text: string): ReadonlyMap<string, string> {
  const paths = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, id, controllers = "", path = "/"] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    if (id === undefined) continue;
    for (const controller of controllers.split(",")) paths.set(controller, path);
  }
  return paths;
}

// Both are as the cgroup namespace shows them: the mount's root is a prefix of the path, or the path is foreign.
function belowMount(path: string, root: string): string {
  if (root === "/") return path;
  if (path === root) return "/";
  return path.startsWith(`${root}/`) ? path.slice(root.length) : "/";
}

/** Pure: the layout that two /proc files tell of, with the v2 tree's controllers from `readControllers`. */
export function layoutOf(request: {
  readonly mountInfo: string;
  readonly ownCgroup: string;
  readonly readControllers: (mountPoint: string) => readonly string[];
}): CgroupLayout {
  const own = parseOwnPaths(request.ownCgroup);
  const mounts = parseCgroupMounts(request.mountInfo);
  const hasV1 = mounts.some((mount) => mount.version === 1);
  const hierarchies = mounts.map(({ version, root, mountPoint, options }): Hierarchy => {
    const key = version === 2 ? "" : (options[0] ?? "");
    return {
      version,
      mountPoint,
      name: version === 2 && !hasV1 ? "" : mountPoint.slice(mountPoint.lastIndexOf("/") + 1),
      controllers: version === 2 ? request.readControllers(mountPoint) : options,
      ownPath: belowMount(own.get(key) ?? "/", root),
    };
  });
  const hasV2 = hierarchies.some((hierarchy) => hierarchy.version === 2);
  return { mode: hasV1 ? (hasV2 ? "hybrid" : "v1") : "v2", hierarchies };
}

/** This host's layout. */
export const readCgroupLayout = (): CgroupLayout =>
  layoutOf({
    mountInfo: readFileSync("/proc/self/mountinfo", "utf8"),
    ownCgroup: readFileSync("/proc/self/cgroup", "utf8"),
    readControllers: (mountPoint) =>
      readFileSync(`${mountPoint}/cgroup.controllers`, "utf8").trim().split(" ").filter(Boolean),
  });
