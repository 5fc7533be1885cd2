/**
 * `POST /containers/create`, as the domain's CreateRequest. Every field of API 1.51 is honoured, has no meaning on
 * Linux, or is refused by name: none is taken and forgotten.
 */
import { invalid } from "#base";
import type { ContainerConfig, CreateRequest, HostConfig } from "#engine/container";
import { healthOfNano } from "#engine/health";
import { atLeast, type ContainerCreateRequest } from "#wire/docker";
import type * as wire from "#wire/docker";

import { createShape } from "./create-shape.ts";
import {
  decodeCgroupNamespaceMode,
  decodeIpcMode,
  decodeNamespaceMode,
  decodeRestartPolicy,
} from "./modes.ts";
import { decodeMounts } from "./mounts.ts";
import { decodeNetworking } from "./networking.ts";
import { decodePortBindings, decodeExposedPorts } from "./ports.ts";
import { decodeShape } from "./shape.ts";
import { given, refuseUnsupported } from "./unsupported.ts";

/** @throws EngineError "invalid" or "notImplemented" */
export function decodeCreate(
  body: unknown,
  request: {
    name: string;
    platform: string;
    apiVersion: string;
    /** Of a container that does not say; private if left out. */
    ipcMode?: string | undefined;
    cgroupnsMode?: "host" | "private" | undefined;
  },
): CreateRequest {
  const asked = decodeShape<ContainerCreateRequest>(body, createShape);
  if (Object.keys(asked).length === 0) {
    throw invalid("config cannot be empty in order to create a container");
  }
  const host = asForVersion(asked.HostConfig ?? {}, request.apiVersion);
  refuseUnsupported(host);
  const network = decodeNetworking(asked, host);
  return {
    name: request.name,
    platform: request.platform === "" ? null : request.platform,
    config: decodeConfig(asked, network.macAddress),
    host: { ...decodeHost(withModes(host, request)), networkMode: network.mode },
    ...(network.networks === null ? {} : { networks: network.networks }),
  };
}

const withModes = (
  host: Partial<wire.HostConfig>,
  {
    ipcMode = "",
    cgroupnsMode,
  }: { ipcMode?: string | undefined; cgroupnsMode?: "host" | "private" | undefined },
): Partial<wire.HostConfig> => ({
  ...host,
  IpcMode: host.IpcMode || ipcMode,
  // As in Docker, a privileged container is not given a default of this kind.
  CgroupnsMode: host.CgroupnsMode || (host.Privileged === true ? "" : (cgroupnsMode ?? "")),
});

/** What an older client could not mean by a field it did not know. */
function asForVersion(host: Partial<wire.HostConfig>, version: string): Partial<wire.HostConfig> {
  if (host.Mounts === undefined || host.Mounts === null || atLeast(version, "1.44")) return host;
  const known = host.Mounts.map((mount) => {
    if (mount.BindOptions === undefined) return mount;
    if (mount.BindOptions.ReadOnlyForceRecursive === true) {
      throw invalid("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
    }
    const BindOptions = { ...mount.BindOptions };
    delete BindOptions.ReadOnlyNonRecursive;
    return { ...mount, BindOptions };
  });
  return { ...host, Mounts: known };
}

function decodeConfig(
  asked: Partial<wire.ContainerConfig>,
  macAddress: string | null,
): ContainerConfig {
  const entrypoint = asked.Entrypoint ?? null;
  return {
    image: asked.Image ?? "",
    entrypoint: entrypoint?.length === 1 && entrypoint[0] === "" ? [] : entrypoint,
    command: asked.Cmd ?? null,
    environment: asked.Env ?? [],
    user: asked.User ?? "",
    workingDirectory: asked.WorkingDir ?? "",
    hostname: asked.Hostname ?? "",
    domainname: asked.Domainname ?? "",
    terminal: asked.Tty ?? false,
    openStdin: asked.OpenStdin ?? false,
    stdinOnce: asked.StdinOnce ?? false,
    attachStdin: asked.AttachStdin ?? false,
    attachStdout: asked.AttachStdout ?? false,
    attachStderr: asked.AttachStderr ?? false,
    labels: asked.Labels ?? {},
    exposedPorts: decodeExposedPorts(asked.ExposedPorts ?? {}),
    volumes: Object.keys(asked.Volumes ?? {}),
    stopSignal: orNull(asked.StopSignal),
    stopTimeoutSeconds: asked.StopTimeout ?? null,
    shell: asked.Shell ?? null,
    healthcheck:
      asked.Healthcheck === undefined || asked.Healthcheck === null
        ? null
        : healthOfNano(asked.Healthcheck),
    networkDisabled: asked.NetworkDisabled ?? false,
    ...(asked.OnBuild ? { onBuild: asked.OnBuild } : {}),
    macAddress: orNull(asked.MacAddress) ?? macAddress,
  };
}

const orNull = (text: string | undefined): string | null =>
  text === undefined || text === "" ? null : text;

function decodeHost(host: Partial<wire.HostConfig>): Omit<HostConfig, "networkMode"> {
  const { LogConfig: log, RestartPolicy: restart } = host;
  return {
    runtime: orNull(host.Runtime),
    autoRemove: host.AutoRemove ?? false,
    init: host.Init ?? null,
    privileged: host.Privileged ?? false,
    readOnlyRoot: host.ReadonlyRootfs ?? false,
    mounts: decodeMounts(host),
    volumesFrom: host.VolumesFrom ?? [],
    volumeDriver: host.VolumeDriver ?? "",
    ports: decodePortBindings(host.PortBindings ?? {}),
    publishAllPorts: host.PublishAllPorts ?? false,
    pidMode: decodeNamespaceMode(host.PidMode ?? "", "PID"),
    ipcMode: decodeIpcMode(host.IpcMode ?? ""),
    utsMode: decodeNamespaceMode(host.UTSMode ?? "", "UTS"),
    cgroupNamespaceMode: decodeCgroupNamespaceMode(host.CgroupnsMode ?? ""),
    usernsMode: decodeUsernsMode(host.UsernsMode ?? ""),
    capAdd: host.CapAdd ?? [],
    capDrop: host.CapDrop ?? [],
    securityOptions: host.SecurityOpt ?? [],
    groupAdd: host.GroupAdd ?? [],
    dns: host.Dns ?? [],
    dnsSearch: host.DnsSearch ?? [],
    dnsOptions: host.DnsOptions ?? [],
    extraHosts: host.ExtraHosts ?? [],
    shmSizeBytes: host.ShmSize === undefined || host.ShmSize === 0 ? null : host.ShmSize,
    ...(given(host.StorageOpt) ? { storageOptions: host.StorageOpt ?? {} } : {}),
    sysctls: host.Sysctls ?? {},
    ulimits: decodeUlimits(host.Ulimits ?? []),
    devices: decodeDevices(host.Devices ?? []),
    deviceCgroupRules: host.DeviceCgroupRules ?? [],
    oomScoreAdjust: host.OomScoreAdj ?? 0,
    ...decodeDeviceRequests(host.DeviceRequests ?? []),
    ...decodeLinks(host.Links ?? []),
    restartPolicy: decodeRestartPolicy(restart?.Name ?? "", restart?.MaximumRetryCount ?? 0),
    maskedPaths: host.MaskedPaths ?? null,
    readonlyPaths: host.ReadonlyPaths ?? null,
    annotations: host.Annotations ?? {},
    ...withoutMeaning(host),
    log: { driver: log?.Type ?? "", options: log?.Config ?? {} },
    cgroupParent: host.CgroupParent ?? "",
    resources: decodeResources(host),
    consoleSize: decodeConsoleSize(host.ConsoleSize ?? null) ?? [0, 0],
  };
}

function decodeDeviceRequests(
  requests: readonly Partial<wire.DeviceRequest>[],
): Pick<HostConfig, "deviceRequests"> {
  if (requests.length === 0) return {};
  return {
    deviceRequests: requests.map((request) => ({
      driver: request.Driver ?? "",
      count: request.Count ?? 0,
      ids: request.DeviceIDs ?? [],
      capabilities: request.Capabilities ?? [],
      options: request.Options ?? {},
    })),
  };
}

/** `name:alias`, or a name that is the alias too. */
function decodeLinks(links: readonly string[]): Pick<HostConfig, "links"> {
  if (links.length === 0) return {};
  return {
    links: links.map((text) => {
      const [container = "", alias = container, ...more] = text.split(":");
      if (text === "") throw invalid("empty string specified for links");
      if (more.length > 0) throw invalid(`bad format for links: ${text}`);
      // As inspect shows it: `/name:/parent/alias`.
      const own = alias.slice(alias.lastIndexOf("/") + 1);
      return { container: container.replace(/^\//, ""), alias: own };
    }),
  };
}

function decodeUsernsMode(text: string): "" | "host" {
  if (text === "" || text === "host") return text;
  throw invalid(`invalid userns mode: ${text}`);
}

const decodeUlimits = (ulimits: readonly Partial<wire.Ulimit>[]): HostConfig["ulimits"] =>
  ulimits.map(({ Name: name = "", Soft: soft = 0, Hard: hard = 0 }) => ({ name, soft, hard }));

const decodeDevices = (devices: readonly Partial<wire.DeviceMapping>[]): HostConfig["devices"] =>
  devices.map(({ PathOnHost: hostPath = "", PathInContainer: inside, CgroupPermissions: mode }) => {
    if (!hostPath.startsWith("/")) throw invalid(`invalid device path: "${hostPath}"`);
    return {
      hostPath,
      containerPath: orNull(inside) ?? hostPath,
      permissions: orNull(mode) ?? "rwm",
    };
  });

export function decodeResources(host: Partial<wire.HostConfig>): HostConfig["resources"] {
  return {
    memoryBytes: host.Memory ?? 0,
    memorySwapBytes: host.MemorySwap ?? 0,
    memoryReservationBytes: host.MemoryReservation ?? 0,
    // Docker's own "not asked" of older clients.
    memorySwappiness: host.MemorySwappiness === -1 ? null : (host.MemorySwappiness ?? null),
    oomKillDisable: host.OomKillDisable ?? false,
    cpuShares: host.CpuShares ?? 0,
    nanoCpus: host.NanoCpus ?? 0,
    cpuPeriodUsec: host.CpuPeriod ?? 0,
    cpuQuotaUsec: host.CpuQuota ?? 0,
    cpusetCpus: host.CpusetCpus ?? "",
    cpusetMems: host.CpusetMems ?? "",
    // 0 and below are Docker's ways to say "no limit", and it shows none of them.
    pidsLimit: (host.PidsLimit ?? 0) > 0 ? (host.PidsLimit ?? null) : null,
    blkioWeight: host.BlkioWeight ?? 0,
    ...decodeBlockDevices(host),
    ...(host.CpuRealtimePeriod || host.CpuRealtimeRuntime
      ? {
          cpuRealtime: {
            periodUsec: host.CpuRealtimePeriod ?? 0,
            runtimeUsec: host.CpuRealtimeRuntime ?? 0,
          },
        }
      : {}),
    ...(host.KernelMemoryTCP ? { kernelMemoryTcpBytes: host.KernelMemoryTCP } : {}),
  };
}

/** Nothing where nothing is asked: records stay small. */
function decodeBlockDevices(
  host: Partial<wire.HostConfig>,
): Pick<HostConfig["resources"], "blockDevices"> {
  const rates = (devices: readonly Partial<wire.ThrottleDevice>[] | null | undefined) =>
    (devices ?? []).map(({ Path: path = "", Rate: rate = 0 }) => ({ path, rate }));
  const weights = (host.BlkioWeightDevice ?? []).map(
    ({ Path: path = "", Weight: weight = 0 }: { Path?: string; Weight?: number }) => ({
      path,
      weight,
    }),
  );
  const blockDevices = {
    weights,
    readBps: rates(host.BlkioDeviceReadBps),
    writeBps: rates(host.BlkioDeviceWriteBps),
    readIops: rates(host.BlkioDeviceReadIOps),
    writeIops: rates(host.BlkioDeviceWriteIOps),
  };
  return Object.values(blockDevices).every(({ length }) => length === 0) ? {} : { blockDevices };
}

/** [rows, columns]; null when it is not given. @throws EngineError "invalid" for another number of numbers */
export function decodeConsoleSize(
  size: readonly number[] | null,
): readonly [number, number] | null {
  if (size === null || size.length === 0) return null;
  const [rows, columns] = size;
  if (rows === undefined || columns === undefined || size.length > 2) {
    throw invalid("invalid ConsoleSize: it must be [height, width]");
  }
  if (rows > 65_535 || columns > 65_535) {
    throw invalid(`invalid ConsoleSize: ${rows} x ${columns} is too large`);
  }
  return [rows, columns];
}

/** dockerd on Linux takes these three, shows them again, and does nothing with them. */
function withoutMeaning({
  Cgroup: cgroup = "",
  CpuCount: cpuCount = 0,
  CpuPercent: cpuPercent = 0,
}: Partial<wire.HostConfig>): Pick<HostConfig, "withoutMeaning"> {
  if (cgroup === "" && cpuCount === 0 && cpuPercent === 0) return {};
  return { withoutMeaning: { cgroup, cpuCount, cpuPercent } };
}
