/** HostConfig and Config as inspect shows them, with Docker's zero values. */
import type { ContainerConfig, HostConfig, MountRequest } from "#engine/container";
import { nanoOfHealth } from "#engine/health";
import type { PortRequest } from "#engine/network";
import type * as wire from "#wire/docker";

import { encodeIpcMode, encodeNamespaceMode, encodeNetworkMode } from "../decode/modes.ts";

/** What Docker shows where nothing was said of /dev/shm. */
const DEFAULT_SHM_BYTES = 64 * 1024 * 1024;

/** What a container gets that did not say: what the engine really does, so that inspect tells the truth. */
export interface HostDefaults {
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  /** Docker's words for a container that names no IPC or cgroup namespace; read at each create. */
  readonly ipcMode?: string;
  readonly cgroupnsMode?: "host" | "private";
  /** Whether the host has AppArmor. */
  readonly apparmor?: boolean;
  /** Options of networks that do not say them, by driver. */
  readonly networkOptions?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** Docker's own. */
export const DOCKER_DEFAULTS: HostDefaults = {
  maskedPaths: [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
  ],
  readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
};

/** An empty list where Go has a nil slice. */
const orNull = <Item>(list: readonly Item[]): Item[] | null =>
  list.length === 0 ? null : [...list];

export function encodeHostConfig(
  host: HostConfig,
  defaults: HostDefaults = DOCKER_DEFAULTS,
): wire.HostConfig {
  const open = host.privileged || host.securityOptions.includes("systempaths=unconfined");
  return {
    ...encodeHostMounts(host.mounts),
    ContainerIDFile: "",
    LogConfig: { Type: host.log.driver || "json-file", Config: { ...host.log.options } },
    NetworkMode: encodeNetworkMode(host.networkMode),
    PortBindings: encodePortRequests(host.ports),
    RestartPolicy: encodeRestartPolicy(host.restartPolicy),
    AutoRemove: host.autoRemove,
    VolumeDriver: host.volumeDriver ?? "",
    VolumesFrom: orNull(host.volumesFrom ?? []),
    ConsoleSize: [...host.consoleSize],
    ...(Object.keys(host.annotations).length === 0 ? {} : { Annotations: host.annotations }),
    CapAdd: orNull(host.capAdd),
    CapDrop: orNull(host.capDrop),
    CgroupnsMode: host.cgroupNamespaceMode.mode === "host" ? "host" : "private",
    Dns: [...host.dns],
    DnsOptions: [...host.dnsOptions],
    DnsSearch: [...host.dnsSearch],
    ExtraHosts: orNull(host.extraHosts),
    GroupAdd: orNull(host.groupAdd),
    IpcMode: encodeIpcMode(host.ipcMode),
    Cgroup: host.withoutMeaning?.cgroup ?? "",
    Links: null,
    OomScoreAdj: host.oomScoreAdjust,
    PidMode: encodeNamespaceMode(host.pidMode, ""),
    Privileged: host.privileged,
    PublishAllPorts: host.publishAllPorts,
    ReadonlyRootfs: host.readOnlyRoot,
    SecurityOpt: orNull(host.securityOptions),
    UTSMode: encodeNamespaceMode(host.utsMode, ""),
    UsernsMode: host.usernsMode,
    ShmSize: host.shmSizeBytes ?? DEFAULT_SHM_BYTES,
    ...(host.storageOptions === undefined ? {} : { StorageOpt: host.storageOptions }),
    ...(Object.keys(host.sysctls).length === 0 ? {} : { Sysctls: host.sysctls }),
    ...(host.runtime === null ? {} : { Runtime: host.runtime }),
    Isolation: "",
    ...encodeResources(host),
    MaskedPaths: open ? null : [...(host.maskedPaths ?? defaults.maskedPaths)],
    ReadonlyPaths: open ? null : [...(host.readonlyPaths ?? defaults.readonlyPaths)],
    ...(host.init === null ? {} : { Init: host.init }),
  };
}

function encodeResources(host: HostConfig): wire.Resources {
  const { resources } = host;
  return {
    CpuShares: resources.cpuShares,
    Memory: resources.memoryBytes,
    NanoCpus: resources.nanoCpus,
    CgroupParent: host.cgroupParent,
    BlkioWeight: resources.blkioWeight,
    ...encodeBlockDevices(resources.blockDevices),
    CpuPeriod: resources.cpuPeriodUsec,
    CpuQuota: resources.cpuQuotaUsec,
    CpuRealtimePeriod: resources.cpuRealtime?.periodUsec ?? 0,
    CpuRealtimeRuntime: resources.cpuRealtime?.runtimeUsec ?? 0,
    CpusetCpus: resources.cpusetCpus,
    CpusetMems: resources.cpusetMems,
    Devices: host.devices.map(({ hostPath, containerPath, permissions }) => ({
      PathOnHost: hostPath,
      PathInContainer: containerPath,
      CgroupPermissions: permissions,
    })),
    DeviceCgroupRules: orNull(host.deviceCgroupRules),
    DeviceRequests: encodeDeviceRequests(host.deviceRequests),
    ...(resources.kernelMemoryTcpBytes ? { KernelMemoryTCP: resources.kernelMemoryTcpBytes } : {}),
    MemoryReservation: resources.memoryReservationBytes,
    MemorySwap: resources.memorySwapBytes,
    MemorySwappiness: resources.memorySwappiness,
    OomKillDisable: resources.oomKillDisable,
    PidsLimit: resources.pidsLimit,
    Ulimits: host.ulimits.map(({ name, soft, hard }) => ({ Name: name, Soft: soft, Hard: hard })),
    CpuCount: host.withoutMeaning?.cpuCount ?? 0,
    CpuPercent: host.withoutMeaning?.cpuPercent ?? 0,
    IOMaximumIOps: 0,
    IOMaximumBandwidth: 0,
  };
}

const encodeDeviceRequests = (
  requests: HostConfig["deviceRequests"] = [],
): wire.DeviceRequest[] | null =>
  requests.length === 0
    ? null
    : requests.map(({ driver, count, ids, capabilities, options }) => ({
        Driver: driver,
        Count: count,
        DeviceIDs: orNull(ids),
        Capabilities: orNull(capabilities.map((all) => [...all])),
        Options: { ...options },
      }));

type BlockFields = Pick<
  wire.Resources,
  | "BlkioWeightDevice"
  | "BlkioDeviceReadBps"
  | "BlkioDeviceWriteBps"
  | "BlkioDeviceReadIOps"
  | "BlkioDeviceWriteIOps"
>;

function encodeBlockDevices(limits: HostConfig["resources"]["blockDevices"]): BlockFields {
  const rates = (devices: readonly { path: string; rate: number }[] = []) =>
    devices.map(({ path, rate }) => ({ Path: path, Rate: rate }));
  return {
    BlkioWeightDevice: (limits?.weights ?? []).map(({ path, weight }) => ({
      Path: path,
      Weight: weight,
    })),
    BlkioDeviceReadBps: rates(limits?.readBps),
    BlkioDeviceWriteBps: rates(limits?.writeBps),
    BlkioDeviceReadIOps: rates(limits?.readIops),
    BlkioDeviceWriteIOps: rates(limits?.writeIops),
  };
}

function encodeRestartPolicy(policy: HostConfig["restartPolicy"]): wire.RestartPolicy {
  return {
    Name: policy.name,
    MaximumRetryCount: policy.name === "on-failure" ? policy.maximumRetries : 0,
  };
}

function encodePortRequests(ports: readonly PortRequest[]): wire.PortMap {
  const map: Record<string, wire.PortBinding[]> = {};
  for (const { protocol, containerPort, hostAddress, hostPort, hostPortEnd } of ports) {
    const first = hostPort === 0 ? "" : String(hostPort);
    const bindings = (map[`${containerPort}/${protocol}`] ??= []);
    bindings.push({
      HostIp: hostAddress,
      HostPort: hostPortEnd === undefined ? first : `${first}-${hostPortEnd}`,
    });
  }
  return map;
}

/** Back into the three ways of asking: `-v` (Binds), `--mount` (Mounts) and `--tmpfs`. */
export function encodeHostMounts(
  mounts: readonly MountRequest[],
): Pick<wire.HostConfig, "Binds" | "Mounts" | "Tmpfs"> {
  const binds: string[] = [];
  const others: wire.Mount[] = [];
  const tmpfs: Record<string, string> = {};
  for (const mount of mounts) {
    const bind = encodeBind(mount);
    if (bind !== null) binds.push(bind);
    else if (mount.type === "tmpfs" && mount.isMount !== true) {
      tmpfs[mount.target] = mount.options.join(",");
    } else others.push(encodeMount(mount));
  }
  return {
    Binds: orNull(binds),
    ...(others.length === 0 ? {} : { Mounts: others }),
    ...(Object.keys(tmpfs).length === 0 ? {} : { Tmpfs: tmpfs }),
  };
}

/** null for what `-v` cannot say. */
function encodeBind(mount: MountRequest): string | null {
  if (mount.type === "tmpfs" || mount.type === "image" || mount.isMount === true) return null;
  if (mount.asWritten !== undefined) return mount.asWritten;
  const options = mount.readOnly ? ["ro"] : [];
  if (mount.type === "volume") {
    if (mount.name === "") return null;
    if (mount.noCopy) options.push("nocopy");
    return [mount.name, mount.target, ...joined(options)].join(":");
  }
  if (!mount.createSource || !mount.recursive || mount.readOnlyReach !== undefined) return null;
  if (mount.propagation !== "rprivate") options.push(mount.propagation);
  return [mount.source, mount.target, ...joined(options)].join(":");
}

const joined = (options: readonly string[]): string[] =>
  options.length === 0 ? [] : [options.join(",")];

function encodeVolumeOptions({
  noCopy,
  labels,
  driver = "",
  driverOptions,
  subpath,
}: Extract<MountRequest, { type: "volume" }>): NonNullable<wire.Mount["VolumeOptions"]> {
  const hasDriver = driver !== "" || driverOptions !== undefined;
  return {
    ...(noCopy ? { NoCopy: true } : {}),
    ...(labels === undefined ? {} : { Labels: { ...labels } }),
    ...(subpath === undefined ? {} : { Subpath: subpath }),
    ...(hasDriver
      ? {
          DriverConfig: {
            ...(driver === "" ? {} : { Name: driver }),
            ...(driverOptions === undefined ? {} : { Options: { ...driverOptions } }),
          },
        }
      : {}),
  };
}

function encodeMount(mount: MountRequest): wire.Mount {
  switch (mount.type) {
    case "bind":
      return {
        Type: "bind",
        Source: mount.source,
        Target: mount.target,
        ...(mount.readOnly ? { ReadOnly: true } : {}),
        BindOptions: {
          Propagation: mount.propagation,
          ...(mount.recursive ? {} : { NonRecursive: true }),
          ...(mount.createSource ? { CreateMountpoint: true } : {}),
          ...(mount.readOnlyReach === "top" ? { ReadOnlyNonRecursive: true } : {}),
          ...(mount.readOnlyReach === "force" ? { ReadOnlyForceRecursive: true } : {}),
        },
      };
    case "volume":
      return {
        Type: "volume",
        ...(mount.name === "" ? {} : { Source: mount.name }),
        Target: mount.target,
        ...(mount.readOnly ? { ReadOnly: true } : {}),
        VolumeOptions: encodeVolumeOptions(mount),
      };
    case "image":
      return {
        Type: "image",
        Source: mount.source,
        Target: mount.target,
        ...(mount.subpath === undefined ? {} : { ImageOptions: { Subpath: mount.subpath } }),
      };
    case "tmpfs":
      return {
        Type: "tmpfs",
        Target: mount.target,
        TmpfsOptions: {
          ...(mount.sizeBytes === null ? {} : { SizeBytes: mount.sizeBytes }),
          ...(mount.mode === null ? {} : { Mode: mount.mode }),
          ...(mount.options.length === 0
            ? {}
            : { Options: mount.options.map((option) => option.split("=", 2)) }),
        },
      };
  }
}

export function encodeConfig(config: ContainerConfig): wire.ContainerConfig {
  return {
    Hostname: config.hostname,
    Domainname: config.domainname,
    User: config.user,
    AttachStdin: config.attachStdin,
    AttachStdout: config.attachStdout,
    AttachStderr: config.attachStderr,
    ...(config.exposedPorts.length === 0 ? {} : { ExposedPorts: keys(config.exposedPorts) }),
    Tty: config.terminal,
    OpenStdin: config.openStdin,
    StdinOnce: config.stdinOnce,
    Env: orNull(config.environment),
    Cmd: config.command === null ? null : [...config.command],
    Image: config.image,
    Volumes: config.volumes.length === 0 ? null : keys(config.volumes),
    WorkingDir: config.workingDirectory,
    Entrypoint: config.entrypoint === null ? null : [...config.entrypoint],
    ...(config.networkDisabled ? { NetworkDisabled: true } : {}),
    ...(config.macAddress === null ? {} : { MacAddress: config.macAddress }),
    OnBuild: config.onBuild === undefined ? null : [...config.onBuild],
    Labels: { ...config.labels },
    ...(config.stopSignal === null ? {} : { StopSignal: config.stopSignal }),
    ...(config.stopTimeoutSeconds === null ? {} : { StopTimeout: config.stopTimeoutSeconds }),
    ...(config.healthcheck ? { Healthcheck: nanoOfHealth(config.healthcheck) } : {}),
    ...(config.shell === null ? {} : { Shell: [...config.shell] }),
  };
}

const keys = (names: readonly string[]): Record<string, object> =>
  Object.fromEntries(names.map((name) => [name, {}]));
