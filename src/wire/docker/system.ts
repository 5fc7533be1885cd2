/** The engine itself in the JSON of Docker's Engine API 1.51: version, info, events, errors. */
import type { BuildCache } from "./build.ts";
import type { ContainerSummary } from "./container.ts";
import type { ImageSummary } from "./image.ts";
import type { Volume } from "./volume.ts";

/** Every answer of 400 and above. */
export interface ErrorResponse {
  message: string;
}

/** `GET /version`. */
export interface SystemVersion {
  Platform: { Name: string };
  Components: { Name: string; Version: string; Details?: Record<string, string> }[];
  Version: string;
  ApiVersion: string;
  MinAPIVersion: string;
  GitCommit: string;
  GoVersion: string;
  Os: string;
  Arch: string;
  KernelVersion: string;
  Experimental?: boolean;
  BuildTime: string;
}

export interface Commit {
  ID: string;
  /** Only below API 1.49. */
  Expected?: string;
}

/** `GET /info`. */
export interface SystemInfo {
  ID: string;
  Containers: number;
  ContainersRunning: number;
  ContainersPaused: number;
  ContainersStopped: number;
  Images: number;
  Driver: string;
  DriverStatus: [string, string][];
  Plugins: {
    Volume: string[];
    Network: string[];
    Authorization: string[] | null;
    Log: string[];
  };
  MemoryLimit: boolean;
  SwapLimit: boolean;
  KernelMemoryTCP?: boolean;
  CpuCfsPeriod: boolean;
  CpuCfsQuota: boolean;
  CPUShares: boolean;
  CPUSet: boolean;
  PidsLimit: boolean;
  OomKillDisable: boolean;
  IPv4Forwarding: boolean;
  Debug: boolean;
  NFd: number;
  NGoroutines: number;
  SystemTime: string;
  LoggingDriver: string;
  CgroupDriver: "cgroupfs" | "systemd" | "none";
  CgroupVersion: "1" | "2";
  NEventsListener: number;
  KernelVersion: string;
  OperatingSystem: string;
  OSVersion: string;
  OSType: string;
  Architecture: string;
  IndexServerAddress: string;
  RegistryConfig: {
    InsecureRegistryCIDRs: string[];
    IndexConfigs: Record<
      string,
      { Name: string; Mirrors: string[]; Secure: boolean; Official: boolean }
    >;
    Mirrors: string[];
    /** Only below API 1.47: both. */
    AllowNondistributableArtifactsCIDRs?: null;
    AllowNondistributableArtifactsHostnames?: null;
  };
  /** Only below API 1.50: both. */
  BridgeNfIptables?: boolean;
  BridgeNfIp6tables?: boolean;
  NCPU: number;
  MemTotal: number;
  GenericResources: null;
  DockerRootDir: string;
  HttpProxy: string;
  HttpsProxy: string;
  NoProxy: string;
  Name: string;
  Labels: string[];
  ExperimentalBuild: boolean;
  ServerVersion: string;
  DefaultAddressPools?: { Base: string; Size: number }[];
  DiscoveredDevices?: { Source: string; ID: string }[];
  Runtimes: Record<
    string,
    { path: string; runtimeArgs?: string[]; status?: Record<string, string> }
  >;
  DefaultRuntime: string;
  Swarm: {
    NodeID: string;
    NodeAddr: string;
    LocalNodeState: string;
    ControlAvailable: boolean;
    Error: string;
    RemoteManagers: null;
  };
  LiveRestoreEnabled: boolean;
  Isolation: string;
  InitBinary: string;
  ContainerdCommit: Commit;
  RuncCommit: Commit;
  InitCommit: Commit;
  SecurityOptions: string[];
  FirewallBackend?: { Driver: string; Info?: [string, string][] };
  CDISpecDirs: string[];
  Warnings: string[] | null;
}

/** One line of `GET /events`. */
export interface EventMessage {
  /** These three only for containers and images, as older clients read them. */
  status?: string;
  id?: string;
  from?: string;
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  scope: "local" | "swarm";
  /** Seconds since 1970. */
  time: number;
  /** Nanoseconds since 1970: beyond what a double holds, so exact only in the text on the wire. */
  timeNano: number;
}

/** `GET /system/df`; what was not asked for is absent. */
export interface SystemDiskUsage {
  LayersSize?: number;
  Images?: ImageSummary[];
  Containers?: ContainerSummary[];
  Volumes?: Volume[];
  BuildCache?: BuildCache[];
  /** Before API 1.42. */
  BuilderSize?: number;
}
