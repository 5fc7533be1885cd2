/** Version and info as Docker tells them. */
import ipaddr from "ipaddr.js";

import type { SystemInfo, VersionInfo } from "#engine/system";
import type * as wire from "#wire/docker";
import { atLeast } from "#wire/docker";

const PLATFORM = "Naru";

export function encodeVersion(version: VersionInfo): wire.SystemVersion {
  const { os, architecture, kernelVersion, buildTime, gitCommit, apiVersion, minApiVersion } =
    version;
  return {
    Platform: { Name: PLATFORM },
    Components: [
      {
        Name: "Engine",
        Version: version.version,
        Details: {
          ApiVersion: apiVersion,
          Arch: architecture,
          BuildTime: buildTime,
          Experimental: String(version.isExperimental),
          GitCommit: gitCommit,
          // The CLI prints this line under its own name: the runtime is Bun, not Go.
          GoVersion: `bun${version.bunVersion}`,
          KernelVersion: kernelVersion,
          MinAPIVersion: minApiVersion,
          Os: os,
        },
      },
      ...(version.initVersion === ""
        ? []
        : [
            {
              Name: "docker-init",
              Version: version.initVersion,
              Details: { GitCommit: version.initCommit ?? "" },
            },
          ]),
    ],
    Version: version.version,
    ApiVersion: apiVersion,
    MinAPIVersion: minApiVersion,
    GitCommit: gitCommit,
    GoVersion: `bun${version.bunVersion}`,
    Os: os,
    Arch: architecture,
    KernelVersion: kernelVersion,
    BuildTime: buildTime,
    ...(version.isExperimental ? { Experimental: true } : {}),
  };
}

/** What this engine has none of, in the shape of zero. */
const NO_SWARM: wire.SystemInfo["Swarm"] = {
  NodeID: "",
  NodeAddr: "",
  LocalNodeState: "inactive",
  ControlAvailable: false,
  Error: "",
  RemoteManagers: null,
};

const HUB = "docker.io";

export function encodeInfo(
  info: SystemInfo,
  context: { version: string; isExperimental: boolean; listeners: number },
): wire.SystemInfo {
  const { containers } = info;
  return {
    ID: info.id,
    Containers: containers.running + containers.paused + containers.stopped,
    ContainersRunning: containers.running,
    ContainersPaused: containers.paused,
    ContainersStopped: containers.stopped,
    Images: info.images,
    Driver: info.storage.driver,
    DriverStatus: info.storage.status.map(([name, value]) => [name, value]),
    Plugins: {
      Volume: ["local"],
      Network: ["bridge", "host", "ipvlan", "macvlan", "null"],
      Authorization: info.authorizationPlugins.length === 0 ? null : [...info.authorizationPlugins],
      Log: [...info.logDrivers],
    },
    ...encodeAbilities(info),
    Debug: info.debug,
    NFd: info.descriptors,
    // The nearest to it that there is: what this process does at the same time.
    NGoroutines: info.threads,
    SystemTime: info.systemTime,
    LoggingDriver: info.loggingDriver,
    CgroupDriver: info.cgroupDriver,
    CgroupVersion: info.cgroupVersion,
    NEventsListener: context.listeners,
    KernelVersion: info.kernelVersion,
    OperatingSystem: info.operatingSystem,
    OSVersion: info.osVersion,
    OSType: "linux",
    Architecture: info.architecture,
    IndexServerAddress: "https://index.docker.io/v1/",
    RegistryConfig: encodeRegistries(info),
    NCPU: info.cpus,
    MemTotal: info.memoryBytes,
    GenericResources: null,
    DockerRootDir: info.dataRoot,
    HttpProxy: masked(info.proxies.http),
    HttpsProxy: masked(info.proxies.https),
    NoProxy: info.proxies.none,
    Name: info.hostname,
    Labels: [...info.labels],
    ExperimentalBuild: context.isExperimental,
    ServerVersion: context.version,
    Runtimes: encodeRuntimes(info),
    DefaultRuntime: info.defaultRuntime,
    Swarm: NO_SWARM,
    LiveRestoreEnabled: info.liveRestore,
    Isolation: "",
    InitBinary: info.initBinary,
    // Docker's word for a program that is not there: containers are born without these two.
    ContainerdCommit: { ID: "N/A" },
    RuncCommit: { ID: "N/A" },
    InitCommit: { ID: info.initCommit ?? "N/A" },
    SecurityOptions: [...info.securityOptions],
    FirewallBackend: { Driver: "nftables" },
    CDISpecDirs: [...info.cdiFolders],
    ...encodeChosen(info),
    Warnings: info.warnings.length === 0 ? null : [...info.warnings],
  };
}

const encodeRuntimes = ({ runtimes, runtimeFeatures }: SystemInfo): wire.SystemInfo["Runtimes"] =>
  Object.fromEntries(
    [...runtimes].map(([name, { path, args }]) => [
      name,
      {
        path,
        ...(args.length === 0 ? {} : { runtimeArgs: [...args] }),
        ...statusOf(runtimeFeatures.get(name)),
      },
    ]),
  );

/** What a runtime says that it can do, in the OCI specification's words. */
const statusOf = (features: string | undefined) =>
  features === undefined
    ? {}
    : { status: { "org.opencontainers.runtime-spec.features": features } };

/** The same as an older client knows it, with the fields that Docker took away since. */
export function infoFor(apiVersion: string, info: wire.SystemInfo): wire.SystemInfo {
  if (atLeast(apiVersion, "1.50")) return info;
  const { DiscoveredDevices: _, ...before150 } = info;
  const told = { ...before150, BridgeNfIptables: false, BridgeNfIp6tables: false };
  if (atLeast(apiVersion, "1.49")) return told;
  const { FirewallBackend: __, ContainerdCommit, RuncCommit, InitCommit, ...before149 } = told;
  const commits = Object.fromEntries(
    Object.entries({ ContainerdCommit, RuncCommit, InitCommit }).map(([name, { ID }]) => [
      name,
      { ID, Expected: ID },
    ]),
  ) as Pick<wire.SystemInfo, "ContainerdCommit" | "RuncCommit" | "InitCommit">;
  const { RegistryConfig, Runtimes } = before149;
  return {
    ...before149,
    ...(atLeast(apiVersion, "1.44") ? {} : { Runtimes: withoutStatus(Runtimes) }),
    ...commits,
    RegistryConfig: atLeast(apiVersion, "1.47")
      ? RegistryConfig
      : {
          ...RegistryConfig,
          AllowNondistributableArtifactsCIDRs: null,
          AllowNondistributableArtifactsHostnames: null,
        },
  };
}

const withoutStatus = (runtimes: wire.SystemInfo["Runtimes"]): wire.SystemInfo["Runtimes"] =>
  Object.fromEntries(
    Object.entries(runtimes).map(([name, runtime]) => {
      const { status: _, ...before144 } = runtime;
      return [name, before144];
    }),
  );

/** What the host's kernel can do. */
const encodeAbilities = (info: SystemInfo) => ({
  MemoryLimit: info.memoryLimit,
  SwapLimit: info.swapLimit,
  ...(info.kernelMemoryTcp ? { KernelMemoryTCP: true } : {}),
  CpuCfsPeriod: info.cpuCfs,
  CpuCfsQuota: info.cpuCfs,
  CPUShares: info.cpuShares,
  CPUSet: info.cpuSet,
  PidsLimit: info.pidsLimit,
  OomKillDisable: info.oomKillDisable,
  IPv4Forwarding: info.ipv4Forwarding,
});

/** What is told only where there is some. */
function encodeChosen({
  addressPools: pools,
  cdiDevices: devices,
}: SystemInfo): Pick<wire.SystemInfo, "DefaultAddressPools" | "DiscoveredDevices"> {
  return {
    ...(pools.length === 0 ? {} : { DefaultAddressPools: pools.map(encodePool) }),
    ...(devices.length === 0
      ? {}
      : { DiscoveredDevices: devices.map((name) => ({ Source: "cdi", ID: name })) }),
  };
}

/** @param pool `base=10.10.0.0/16,size=24` */
function encodePool(pool: string): { Base: string; Size: number } {
  const given = new URLSearchParams(pool.replaceAll(",", "&"));
  return { Base: given.get("base") ?? "", Size: Number(given.get("size")) };
}

/** A proxy's password is nobody's business. */
const masked = (proxy: string): string => proxy.replace(/\/\/[^/@]*@/, "//xxxxx:xxxxx@");

/** Reached without TLS whoever they are, in Docker as here. */
const LOOPBACK = ["::1/128", "127.0.0.0/8"];

/** Without the bits of a host, as Docker shows it: `10.1.2.3/8` is 10.0.0.0/8. */
function networkOf(cidr: string): string {
  const [address, bits] = ipaddr.parseCIDR(cidr);
  const { IPv4, IPv6 } = ipaddr;
  const family = address.kind() === "ipv4" ? IPv4 : IPv6;
  return `${family.networkAddressFromCIDR(cidr).toString()}/${bits}`;
}

/** Networks among the insecure registries are one list, names another. */
function encodeRegistries(info: SystemInfo): wire.SystemInfo["RegistryConfig"] {
  const named = info.insecureRegistries.filter((entry) => !ipaddr.isValidCIDR(entry));
  const mirrors = [...info.registryMirrors];
  return {
    InsecureRegistryCIDRs: [
      ...new Set([
        ...info.insecureRegistries.filter((entry) => ipaddr.isValidCIDR(entry)).map(networkOf),
        ...LOOPBACK,
      ]),
    ],
    IndexConfigs: {
      [HUB]: { Name: HUB, Mirrors: mirrors, Secure: true, Official: true },
      ...Object.fromEntries(
        named.map((name) => [name, { Name: name, Mirrors: [], Secure: false, Official: false }]),
      ),
    },
    Mirrors: mirrors,
  };
}
