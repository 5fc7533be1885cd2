/** `info` and `version`: what the engine and its host are. Asked at every `docker info`, so it reads only /proc. */
import { readdirSync, readFileSync, statfsSync } from "node:fs";
import { arch, hostname, release, totalmem } from "node:os";

import type { HostFacts } from "#engine/container";
import type { Migration, Store } from "#engine/store";

import type { SystemInfo, SystemService, VersionInfo } from "./system-service.ts";

export const systemMigrations: readonly Migration[] = [
  {
    id: "system/1",
    sql: "CREATE TABLE engine (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
  },
];

/** What only the daemon knows of itself. */
export interface EngineIdentity extends Pick<
  SystemInfo,
  | "dataRoot"
  | "runtimes"
  | "defaultRuntime"
  | "securityOptions"
  | "insecureRegistries"
  | "registryMirrors"
  | "labels"
  | "cdiFolders"
  | "cdiDevices"
  | "addressPools"
  | "logDrivers"
  | "authorizationPlugins"
  | "warnings"
  | "liveRestore"
  | "cgroupVersion"
  | "debug"
  | "loggingDriver"
  | "proxies"
  | "initBinary"
  | "initVersion"
  | "initCommit"
> {
  readonly version: Pick<
    VersionInfo,
    "version" | "apiVersion" | "minApiVersion" | "gitCommit" | "buildTime" | "isExperimental"
  >;
}

export interface OpenSystemRequest {
  readonly store: Store;
  /** Asked anew each time: a reload changes what it says. */
  readonly identity: () => EngineIdentity;
  readonly facts: HostFacts;
  readonly layers: { readonly form: "file" | "directory" };
  /** What each of the runtimes tells of itself; asked once, kept by whoever answers. */
  readonly runtimeFeatures: () => Promise<SystemInfo["runtimeFeatures"]>;
  readonly counts: () => SystemInfo["containers"];
  readonly countImages: () => number;
}

/** @param request.store opened with `systemMigrations` */
export function openSystemService(request: OpenSystemRequest): SystemService {
  const id = engineId(request.store);
  return {
    info: async () => infoOf(request, id, await request.runtimeFeatures()),
    id,
    version: () => versionOf(request.identity()),
  };
}

/** A name of this data root for ever. */
function engineId(store: Store): string {
  const select = store.query<{ value: string }>("SELECT value FROM engine WHERE key = 'id'");
  const known = select.get();
  if (known !== null) return known.value;
  const id = crypto.randomUUID();
  store.transact(() => store.query("INSERT INTO engine (key, value) VALUES ('id', ?)").run(id));
  return id;
}

function infoOf(
  request: OpenSystemRequest,
  id: string,
  runtimeFeatures: SystemInfo["runtimeFeatures"],
): SystemInfo {
  const identity = request.identity();
  const { facts } = request;
  const system = readOsRelease();
  return {
    id,
    containers: request.counts(),
    images: request.countImages(),
    storage: {
      driver: "overlayfs",
      status: [
        ["Backing Filesystem", fileSystemOf(identity.dataRoot)],
        ["Supports d_type", "true"],
        ["Using metacopy", "false"],
        ["Native Overlay Diff", "true"],
        ["userxattr", "false"],
        // By this word clients know a store that keeps indexes whole: buildx then loads several platforms at once.
        ["driver-type", "io.containerd.snapshotter.v1"],
        ["Layers", request.layers.form === "file" ? "erofs" : "directories"],
      ],
    },
    memoryLimit: facts.memoryLimit,
    swapLimit: facts.swapLimit,
    cpuCfs: facts.cpuCfs,
    cpuShares: facts.cpuShares,
    cpuSet: facts.cpuset,
    pidsLimit: facts.pidsLimit,
    oomKillDisable: facts.oomKillDisable,
    ipv4Forwarding: facts.ipv4Forwarding,
    cgroupDriver: "cgroupfs",
    cgroupVersion: identity.cgroupVersion,
    kernelVersion: release(),
    operatingSystem: system.name,
    osVersion: system.version,
    architecture: machineName(),
    cpus: facts.cpus,
    memoryBytes: totalmem(),
    hostname: hostname(),
    dataRoot: identity.dataRoot,
    runtimes: identity.runtimes,
    defaultRuntime: identity.defaultRuntime,
    securityOptions: identity.securityOptions,
    insecureRegistries: identity.insecureRegistries,
    registryMirrors: identity.registryMirrors,
    labels: identity.labels,
    cdiFolders: identity.cdiFolders,
    cdiDevices: identity.cdiDevices,
    addressPools: identity.addressPools,
    warnings: [...identity.warnings, ...warningsOf(facts)],
    liveRestore: identity.liveRestore,
    debug: identity.debug,
    loggingDriver: identity.loggingDriver,
    logDrivers: identity.logDrivers,
    authorizationPlugins: identity.authorizationPlugins,
    proxies: identity.proxies,
    initBinary: identity.initBinary,
    initVersion: identity.initVersion,
    initCommit: identity.initCommit,
    runtimeFeatures,
    kernelMemoryTcp: facts.kernelMemoryTcp,
    threads: readdirSync("/proc/self/task").length,
    descriptors: readdirSync("/proc/self/fd").length,
    systemTime: new Date().toISOString(),
  };
}

/** By their magic numbers (statfs(2)), as Docker names them. */
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0xef53, "extfs"],
  [0x5846_5342, "xfs"],
  [0x9123_683e, "btrfs"],
  [0x0102_1994, "tmpfs"],
  [0x2fc1_2fc1, "zfs"],
  [0x794c_7630, "overlayfs"],
  [0xf2f5_2010, "f2fs"],
  [0x6969, "nfs"],
]);

function fileSystemOf(folder: string): string {
  try {
    return FILE_SYSTEMS.get(statfsSync(folder).type >>> 0) ?? "<unknown>";
  } catch {
    return "<unknown>";
  }
}

/** Docker's lines, in its order, for what the host cannot do. Pure. */
export function warningsOf(facts: HostFacts): string[] {
  const isUnified = facts.cgroupUnified;
  const throttles = isUnified
    ? ["rbps", "wbps", "riops", "wiops"].map((limit) => `io.max (${limit})`)
    : ["read_bps", "write_bps", "read_iops", "write_iops"].map(
        (limit) => `blkio throttle.${limit}_device`,
      );
  const missing: [boolean, string][] = [
    [facts.memoryLimit, "memory limit"],
    [facts.swapLimit, "swap limit"],
    [facts.kernelMemoryTcp || isUnified, "kernel memory TCP limit"],
    // The second version of cgroups has none, and nobody can do anything about that.
    [facts.oomKillDisable || isUnified, "oom kill disable"],
    [facts.cpuCfs, "cpu cfs quota"],
    [facts.cpuCfs, "cpu cfs period"],
    [facts.cpuShares, "cpu shares"],
    [facts.cpuset, "cpuset"],
    // The first version lost it with Linux 5.
    [facts.blkioWeight || !isUnified, "io.weight"],
    // By device as well, once the module of a scheduler is loaded that does it.
    [facts.blkioWeight || !isUnified, "io.weight (per device)"],
    ...throttles.map((name): [boolean, string] => [facts.blkioThrottle, name]),
  ];
  const sentences = missing
    .filter(([isThere]) => !isThere)
    .map(([, name]) => `WARNING: No ${name} support`);
  return facts.ipv4Forwarding ? sentences : [...sentences, "WARNING: IPv4 forwarding is disabled"];
}

function versionOf({ version, initVersion, initCommit }: EngineIdentity): VersionInfo {
  return {
    ...version,
    initVersion,
    initCommit,
    bunVersion: Bun.version,
    os: "linux",
    architecture: goArchitecture(),
    kernelVersion: release(),
  };
}

/** As `uname -m` says it. */
const machineName = (): string => ({ x64: "x86_64", arm64: "aarch64" })[arch() as string] ?? arch();

/** As images name their platforms. */
const goArchitecture = (): string => ({ x64: "amd64" })[arch() as string] ?? arch();

function readOsRelease(): { name: string; version: string } {
  let text = "";
  try {
    text = readFileSync("/etc/os-release", "utf8");
  } catch {
    return { name: "Linux", version: "" };
  }
  const valueOf = (key: string) =>
    new RegExp(`^${key}=["']?([^"'\\n]*)`, "m").exec(text)?.[1] ?? "";
  return { name: valueOf("PRETTY_NAME") || "Linux", version: valueOf("VERSION_ID") };
}
