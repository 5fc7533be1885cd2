/** `info` and `version`: what the engine and its host are. Asked at every `docker info`, so it reads only /proc. */
import { readdirSync, readFileSync } from "node:fs";
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
  | "warnings"
  | "liveRestore"
  | "cgroupVersion"
  | "debug"
  | "loggingDriver"
  | "proxies"
  | "initBinary"
  | "initVersion"
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
  readonly counts: () => SystemInfo["containers"];
  readonly countImages: () => number;
}

/** @param request.store opened with `systemMigrations` */
export function openSystemService(request: OpenSystemRequest): SystemService {
  const id = engineId(request.store);
  return {
    info: async () => infoOf(request, id),
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

function infoOf(request: OpenSystemRequest, id: string): SystemInfo {
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
        ["Backing Filesystem", request.layers.form === "file" ? "erofs" : "directories"],
        ["Supports d_type", "true"],
        ["Native Overlay Diff", "true"],
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
    proxies: identity.proxies,
    initBinary: identity.initBinary,
    initVersion: identity.initVersion,
    descriptors: readdirSync("/proc/self/fd").length,
    systemTime: new Date().toISOString(),
  };
}

/** Docker's lines, for what the host cannot do. Pure. */
export function warningsOf(facts: HostFacts): string[] {
  const missing: [boolean, string][] = [
    [facts.memoryLimit, "WARNING: No memory limit support"],
    [facts.swapLimit, "WARNING: No swap limit support"],
    [facts.cpuCfs, "WARNING: No cpu cfs quota support"],
    [facts.cpuShares, "WARNING: No cpu shares support"],
    [facts.cpuset, "WARNING: No cpuset support"],
    [facts.pidsLimit, "WARNING: No pids limit support"],
    [facts.ipv4Forwarding, "WARNING: IPv4 forwarding is disabled"],
  ];
  return missing.filter(([there]) => !there).map(([, sentence]) => sentence);
}

function versionOf({ version }: EngineIdentity): VersionInfo {
  return {
    ...version,
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
