/**
 * A container's record and the host's abilities in, an OCI runtime spec out: Docker's defaults, bent by what was
 * asked. Pure: whatever must be looked up (devices, other containers, files) comes in as data.
 */
import { invalid } from "#base";
import type { RuntimeDefaults } from "#engine/runtime";
import type {
  DeviceRule,
  Digest,
  DeviceSpec,
  LinuxSpec,
  MountSpec,
  NamespaceType,
  ProcessSpec,
  ResourcesSpec,
  RuntimeSpec,
  SeccompSpec,
} from "#oci";

import type { HostConfig } from "./config.ts";
import type { ResolvedMount } from "./mounts.ts";
import type { ContainerRecord } from "./records.ts";
import { apparmorProfileOf, parseSecurityOptions } from "./security-options.ts";
import { DEVICE_RULE, normalizeCapability, type UserRemap } from "./validate.ts";

/** What a start looked up. */
export interface SpecSurroundings {
  readonly defaults: RuntimeDefaults;
  readonly apparmorEnabled: boolean;
  readonly cgroupsPath: string;
  /** Bind mounts of the engine's own files by target, such as /etc/hosts. */
  readonly files: Readonly<Record<string, string>>;
  /** Host folders of the named volumes. */
  readonly volumePath: (name: string) => string;
  /** Mounted folders of an image's layers, topmost first. */
  readonly lowers: (layers: readonly Digest[]) => string[];
  /** Devices asked for, and for a privileged container all of the host's. */
  readonly devices: readonly DeviceSpec[];
  /** Process numbers of the containers whose namespaces are joined. */
  readonly joined: { readonly [Type in "pid" | "ipc" | "network"]?: number };
  /** A host folder shown as /dev/shm: the host's own, or one that containers share. */
  readonly sharedMemory: string | null;
  /** Limits of single block devices, by number. */
  /** Variables besides the config's: of linked containers. */
  readonly environment?: readonly string[];
  readonly blockIo?: NonNullable<ResourcesSpec["blockIO"]>;
  /** What the container's ids are on the host; absent: the same. */
  readonly remap?: Remap;
}

export interface Remap extends UserRemap {
  /** Process number of the container whose user namespace it joins, with other namespaces; null: it has its own. */
  readonly joined: number | null;
  /** Whether the host's message queues are mounted, for a container that shares its IPC namespace. */
  readonly hostQueues: boolean;
}

const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CPU_PERIOD_USEC = 100_000;
const NANO = 1e9;

export function buildSpec(record: ContainerRecord, around: SpecSurroundings): RuntimeSpec {
  const { config, host } = record;
  const ownUts = host.utsMode.mode === "private";
  return {
    ociVersion: "1.0.2",
    ...(ownUts ? { hostname: config.hostname } : {}),
    ...(ownUts && config.domainname !== "" ? { domainname: config.domainname } : {}),
    root: { path: "rootfs", readonly: host.readOnlyRoot },
    process: processOf(record, around),
    mounts: mountsOf(record, around),
    annotations: { ...host.annotations },
    linux: linuxOf(record, around),
  };
}

/** The environment of the container's program: what the engine says, under what the config says. */
export function environmentOf(
  { config }: Pick<ContainerRecord, "config">,
  linked: readonly string[] = [],
): string[] {
  const entries = new Map<string, string>();
  const set = (entry: string) => entries.set(entry.split("=", 1)[0] ?? "", entry);
  set(DEFAULT_PATH);
  set(`HOSTNAME=${config.hostname}`);
  if (config.terminal) set("TERM=xterm");
  for (const entry of linked) set(entry);
  for (const entry of config.environment) {
    if (entry.includes("=")) set(entry);
    else entries.delete(entry);
  }
  return [...entries.values()];
}

/** Docker's rule: ALL may be added or dropped, and single names take or give from there. */
export function capabilitiesOf(
  host: Pick<HostConfig, "privileged" | "capAdd" | "capDrop">,
  { capabilities, allCapabilities }: Pick<RuntimeDefaults, "capabilities" | "allCapabilities">,
): string[] {
  if (host.privileged) return [...allCapabilities];
  const add = new Set(host.capAdd.map(normalizeCapability));
  const drop = new Set(host.capDrop.map(normalizeCapability));
  if (add.has("ALL")) return allCapabilities.filter((name) => !drop.has(name));
  const start = drop.has("ALL") ? [] : capabilities.filter((name) => !drop.has(name));
  // What the host does not have cannot be given.
  return [...new Set([...start, ...allCapabilities.filter((name) => add.has(name))])];
}

function processOf(record: ContainerRecord, around: SpecSurroundings): ProcessSpec {
  const { config, host } = record;
  const security = parseSecurityOptions(host.securityOptions);
  const names = capabilitiesOf(host, around.defaults);
  const [rows, columns] = host.consoleSize;
  const apparmor = apparmorProfileOf(security, {
    privileged: host.privileged,
    enabled: around.apparmorEnabled,
  });
  return {
    terminal: config.terminal,
    ...(config.terminal && rows > 0 && columns > 0
      ? { consoleSize: { height: rows, width: columns } }
      : {}),
    // The driver reads the container's own user database and fills this in.
    user: { uid: 0, gid: 0 },
    args: [record.path, ...record.args],
    env: environmentOf(record, around.environment),
    cwd: config.workingDirectory === "" ? "/" : config.workingDirectory,
    ...powersOf(host, names),
    noNewPrivileges: security.noNewPrivileges,
    ...(apparmor === null ? {} : { apparmorProfile: apparmor }),
  };
}

/** What a process of the container may do and use: the same for its init and for every exec. */
export const powersOf = (
  host: Pick<HostConfig, "ulimits" | "oomScoreAdjust">,
  names: readonly string[],
): Pick<ProcessSpec, "capabilities" | "rlimits" | "oomScoreAdj"> => ({
  capabilities: {
    bounding: [...names],
    effective: [...names],
    permitted: [...names],
    inheritable: [],
    ambient: [],
  },
  rlimits: host.ulimits.map(({ name, soft, hard }) => ({
    type: `RLIMIT_${name.toUpperCase()}`,
    soft,
    hard,
  })),
  oomScoreAdj: host.oomScoreAdjust,
});

function mountsOf(record: ContainerRecord, around: SpecSurroundings): MountSpec[] {
  const { host, mounts } = record;
  const targets = new Set(mounts.map(({ target }) => target));
  const system = around.defaults.mounts.flatMap((mount): MountSpec[] => {
    if (targets.has(mount.destination)) return [];
    // Someone's own /dev is taken as it is.
    if (targets.has("/dev") && mount.destination.startsWith("/dev/")) return [];
    if (mount.destination === "/dev/shm") return sharedMemoryMount(mount, record, around);
    if (mount.destination === "/dev/mqueue" && sharesForeignIpc(host, around)) {
      return around.remap?.hostQueues === true ? [HOST_QUEUES] : [];
    }
    return [isWritable(mount, host) ? writable(mount) : mount];
  });
  const files = Object.entries(around.files).flatMap(([target, source]): MountSpec[] =>
    targets.has(target)
      ? []
      : [
          {
            destination: target,
            type: "bind",
            source,
            options: ["rbind", "rprivate", ...(host.readOnlyRoot ? ["ro"] : [])],
            ...shiftOf(around),
          },
        ],
  );
  const asked = mounts.map((mount) => userMount(mount, around));
  // Someone's own /etc still holds the engine's files: parents go first.
  return [...system, ...[...files, ...asked].toSorted(byDepth)];
}

/** Mounting the queues anew needs power over the namespace they are of. */
const sharesForeignIpc = (host: HostConfig, { remap }: Pick<SpecSurroundings, "remap">): boolean =>
  remap !== undefined && host.ipcMode.mode === "host";

const HOST_QUEUES: MountSpec = {
  destination: "/dev/mqueue",
  type: "bind",
  source: "/dev/mqueue",
  options: ["rbind", "rprivate", "nosuid", "noexec", "nodev"],
};

const byDepth = (a: MountSpec, b: MountSpec): number =>
  a.destination.split("/").length - b.destination.split("/").length;

/** A privileged container may write /sys and its cgroups; another one its cgroups, where it was asked for. */
function isWritable({ destination }: MountSpec, host: HostConfig): boolean {
  if (destination === "/sys") return host.privileged;
  if (destination !== "/sys/fs/cgroup") return false;
  if (host.securityOptions.length === 0) return host.privileged;
  return parseSecurityOptions(host.securityOptions).writableCgroups ?? host.privileged;
}

function writable(mount: MountSpec): MountSpec {
  const options = (mount.options ?? []).map((option) => (option === "ro" ? "rw" : option));
  return { ...mount, options };
}

/** What is the engine's own to show has the container's ids; a host folder has the host's. */
const shiftOf = ({ remap }: Pick<SpecSurroundings, "remap">): Pick<MountSpec, "shifted"> =>
  remap === undefined ? {} : { shifted: true };

function sharedMemoryMount(
  standard: MountSpec,
  { host }: ContainerRecord,
  around: SpecSurroundings,
): MountSpec[] {
  const { sharedMemory } = around;
  if (host.ipcMode.mode === "none") return [];
  if (sharedMemory !== null) {
    return [
      {
        destination: "/dev/shm",
        type: "bind",
        source: sharedMemory,
        options: ["rbind", "rprivate"],
        // The host's own is not the engine's to give away.
        ...(host.ipcMode.mode === "host" ? {} : shiftOf(around)),
      },
    ];
  }
  const options = (standard.options ?? []).filter((option) => !option.startsWith("size="));
  return [{ ...standard, options: [...options, `size=${host.shmSizeBytes ?? 0}`] }];
}

function userMount(
  mount: ResolvedMount,
  around: Pick<SpecSurroundings, "volumePath" | "lowers" | "remap">,
): MountSpec {
  const { volumePath, lowers } = around;
  switch (mount.type) {
    case "bind":
      return {
        destination: mount.target,
        type: "bind",
        source: mount.source,
        options: [
          mount.recursive ? "rbind" : "bind",
          ...(mount.readOnly ? [mount.readOnlyReach === "top" ? "ro" : "rro"] : []),
          mount.propagation,
        ],
      };
    case "volume":
      return {
        destination: mount.target,
        type: "bind",
        source: volumePath(mount.name),
        ...(mount.subpath === undefined ? {} : { subpath: mount.subpath }),
        options: ["rbind", ...(mount.readOnly ? ["rro"] : []), "rprivate"],
        ...shiftOf(around),
      };
    case "image":
      return {
        destination: mount.target,
        type: "bind",
        source: mount.source,
        lowers: lowers(mount.layers),
        ...(mount.subpath === undefined ? {} : { subpath: mount.subpath }),
        options: ["bind", "ro", "rprivate"],
        ...shiftOf(around),
      };
    case "tmpfs":
      return {
        destination: mount.target,
        type: "tmpfs",
        source: "tmpfs",
        options: tmpfsOptions(mount),
      };
  }
}

const OPPOSITES: Readonly<Record<string, string>> = {
  exec: "noexec",
  suid: "nosuid",
  dev: "nodev",
};

/** noexec, nosuid and nodev, unless the request says the opposite. */
function tmpfsOptions(mount: Extract<ResolvedMount, { type: "tmpfs" }>): string[] {
  const asked = mount.options.filter((option) => option !== "" && option !== "defaults");
  const undone = new Set(asked.map((option) => OPPOSITES[option]));
  const standard = ["noexec", "nosuid", "nodev"].filter((option) => !undone.has(option));
  return [
    ...new Set([...standard, ...asked]),
    ...(mount.sizeBytes !== null && mount.sizeBytes > 0 ? [`size=${mount.sizeBytes}`] : []),
    ...(mount.mode !== null && mount.mode > 0 ? [`mode=${mount.mode.toString(8)}`] : []),
  ];
}

function linuxOf(record: ContainerRecord, around: SpecSurroundings): LinuxSpec {
  const { host } = record;
  const { defaults } = around;
  const security = parseSecurityOptions(host.securityOptions);
  const open = host.privileged || !security.systemPathsConfined;
  const seccomp = seccompOf(host, security.seccomp, around);
  const { remap } = around;
  const namespaces = namespacesOf(host, around.joined);
  return {
    namespaces: remap === undefined ? namespaces : [...namespaces, userNamespaceOf(remap)],
    ...(remap === undefined ? {} : { uidMappings: [...remap.uids], gidMappings: [...remap.gids] }),
    devices: [...around.devices],
    cgroupsPath: around.cgroupsPath,
    resources: resourcesOf(host, around),
    ...(seccomp === null ? {} : { seccomp }),
    rootfsPropagation: propagationOf(record.mounts),
    maskedPaths: [...(host.maskedPaths ?? (open ? [] : defaults.maskedPaths))],
    readonlyPaths: [...(host.readonlyPaths ?? (open ? [] : defaults.readonlyPaths))],
    sysctl: sysctlsOf(host, remap !== undefined),
  };
}

const userNamespaceOf = ({ joined }: Remap): LinuxSpec["namespaces"][number] => ({
  type: "user",
  ...(joined === null ? {} : { path: `/proc/${joined}/ns/user` }),
});

function seccompOf(
  host: HostConfig,
  asked: string | null,
  { defaults }: SpecSurroundings,
): SeccompSpec | null {
  if (host.privileged || asked === "unconfined") return null;
  const names = capabilitiesOf(host, defaults);
  if (asked === "builtin") return defaults.builtinSeccomp(names);
  return asked === null ? defaults.seccomp(names) : defaults.parseSeccomp(asked, names);
}

/** A volume that is to pass mounts on needs a root that does. */
function propagationOf(mounts: readonly ResolvedMount[]): "rshared" | "rslave" | "rprivate" {
  const wanted = mounts.flatMap((mount) => (mount.type === "bind" ? [mount.propagation] : []));
  if (wanted.some((each) => each === "shared" || each === "rshared")) return "rshared";
  if (wanted.some((each) => each === "slave" || each === "rslave")) return "rslave";
  return "rprivate";
}

function namespacesOf(
  host: HostConfig,
  joined: SpecSurroundings["joined"],
): LinuxSpec["namespaces"] {
  const namespaces: { type: NamespaceType; path?: string }[] = [{ type: "mount" }];
  const add = (type: "pid" | "ipc" | "network", mode: string) => {
    if (mode === "host") return;
    const pid = joined[type];
    if (mode !== "container") namespaces.push({ type });
    else if (pid !== undefined) {
      namespaces.push({ type, path: `/proc/${pid}/ns/${type === "network" ? "net" : type}` });
    }
  };
  add("pid", host.pidMode.mode);
  add("ipc", host.ipcMode.mode);
  add("network", host.networkMode.mode);
  if (host.utsMode.mode !== "host") namespaces.push({ type: "uts" });
  if (host.cgroupNamespaceMode.mode !== "host") namespaces.push({ type: "cgroup" });
  return namespaces;
}

function sysctlsOf(host: HostConfig, isRemapped: boolean): Record<string, string> {
  const own = host.networkMode.mode === "network" || host.networkMode.mode === "none";
  return {
    ...(own
      ? {
          "net.ipv4.ip_unprivileged_port_start": "0",
          // All groups there could be: more than a user namespace has.
          ...(isRemapped ? {} : { "net.ipv4.ping_group_range": "0 2147483647" }),
        }
      : {}),
    ...Object.fromEntries(
      Object.entries(host.sysctls).map(([key, value]) => [key.replaceAll("/", "."), value]),
    ),
  };
}

function resourcesOf(host: HostConfig, around: SpecSurroundings): ResourcesSpec {
  const limits = limitsOf(host.resources);
  const blockIO = around.blockIo && { ...limits.blockIO, ...around.blockIo };
  return { devices: deviceRulesOf(host, around), ...limits, ...(blockIO && { blockIO }) };
}

/** What a cgroup is to hold a container to; what was not asked for is left out. */
export function limitsOf(resources: HostConfig["resources"]): Omit<ResourcesSpec, "devices"> {
  const memory = {
    ...(resources.memoryBytes > 0 ? { limit: resources.memoryBytes } : {}),
    ...(resources.memorySwapBytes === 0 ? {} : { swap: resources.memorySwapBytes }),
    ...(resources.memoryReservationBytes > 0
      ? { reservation: resources.memoryReservationBytes }
      : {}),
    ...(resources.memorySwappiness === null ? {} : { swappiness: resources.memorySwappiness }),
    ...(resources.oomKillDisable ? { disableOOMKiller: true } : {}),
    ...(resources.kernelMemoryTcpBytes ? { kernelTCP: resources.kernelMemoryTcpBytes } : {}),
  };
  const cpu = cpuOf(resources);
  return {
    ...(Object.keys(memory).length > 0 ? { memory } : {}),
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...((resources.pidsLimit ?? 0) > 0 ? { pids: { limit: resources.pidsLimit ?? 0 } } : {}),
    ...(resources.blkioWeight > 0 ? { blockIO: { weight: resources.blkioWeight } } : {}),
  };
}

function cpuOf(resources: HostConfig["resources"]): NonNullable<ResourcesSpec["cpu"]> {
  const quota =
    resources.nanoCpus > 0
      ? {
          period: CPU_PERIOD_USEC,
          quota: Math.max(1000, Math.floor((resources.nanoCpus * CPU_PERIOD_USEC) / NANO)),
        }
      : {
          ...(resources.cpuPeriodUsec === 0 ? {} : { period: resources.cpuPeriodUsec }),
          ...(resources.cpuQuotaUsec === 0 ? {} : { quota: resources.cpuQuotaUsec }),
        };
  const realtime = resources.cpuRealtime;
  return {
    ...quota,
    ...(resources.cpuShares > 0 ? { shares: resources.cpuShares } : {}),
    ...(resources.cpusetCpus === "" ? {} : { cpus: resources.cpusetCpus }),
    ...(resources.cpusetMems === "" ? {} : { mems: resources.cpusetMems }),
    ...(realtime?.periodUsec ? { realtimePeriod: realtime.periodUsec } : {}),
    ...(realtime?.runtimeUsec ? { realtimeRuntime: realtime.runtimeUsec } : {}),
  };
}

function deviceRulesOf(host: HostConfig, { defaults, devices }: SpecSurroundings): DeviceRule[] {
  if (host.privileged) return [{ allow: true, access: "rwm" }];
  const permissions = new Map(host.devices.map((each) => [each.containerPath, each.permissions]));
  const asked = devices.map(({ type, major, minor, path }): DeviceRule => ({
    allow: true,
    type: type === "b" ? "b" : "c",
    ...(major === undefined ? {} : { major }),
    ...(minor === undefined ? {} : { minor }),
    access: permissionsFor(path, permissions),
  }));
  return [...defaults.deviceRules, ...asked, ...host.deviceCgroupRules.map(parseDeviceRule)];
}

/** A device of a folder that was asked for has the folder's permissions. */
function permissionsFor(path: string, permissions: ReadonlyMap<string, string>): string {
  const exact = permissions.get(path);
  if (exact !== undefined) return exact;
  for (const [folder, value] of permissions) if (path.startsWith(`${folder}/`)) return value;
  return "rwm";
}

function parseDeviceRule(rule: string): DeviceRule {
  const match = DEVICE_RULE.exec(rule);
  if (match === null) throw invalid(`invalid device cgroup rule format: '${rule}'`);
  const [, type, major = "*", minor = "*", access = "rwm"] = match;
  return {
    allow: true,
    type: type as "a" | "b" | "c",
    ...(major === "*" ? {} : { major: Number(major) }),
    ...(minor === "*" ? {} : { minor: Number(minor) }),
    access,
  };
}
