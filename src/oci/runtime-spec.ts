/**
 * What a runtime driver receives: the part of the OCI runtime specification that the engine writes.
 * Field names are the specification's own, since crun and runc read this as config.json.
 * Spec: OCI runtime-spec 1.2, config.md and config-linux.md.
 */

export interface RuntimeSpec {
  ociVersion: string;
  hostname?: string;
  domainname?: string;
  root: { path: string; readonly: boolean };
  process: ProcessSpec;
  mounts: MountSpec[];
  annotations?: Record<string, string>;
  linux: LinuxSpec;
  hooks?: Partial<Record<HookName, HookSpec[]>>;
}

export type HookName =
  | "prestart"
  | "createRuntime"
  | "createContainer"
  | "startContainer"
  | "poststart"
  | "poststop";

export interface HookSpec {
  path: string;
  /** All words, the program's name first. */
  args?: string[];
  env?: string[];
  /** Seconds. */
  timeout?: number;
}

export interface ProcessSpec {
  terminal: boolean;
  consoleSize?: { height: number; width: number };
  user: { uid: number; gid: number; umask?: number; additionalGids?: number[] };
  args: string[];
  /** `NAME=value`. */
  env: string[];
  cwd: string;
  capabilities?: CapabilitySets;
  rlimits?: { type: string; soft: number; hard: number }[];
  noNewPrivileges: boolean;
  oomScoreAdj?: number;
  apparmorProfile?: string;
  selinuxLabel?: string;
}

/** Names as in `CAP_NET_BIND_SERVICE`. */
export interface CapabilitySets {
  bounding: string[];
  effective: string[];
  permitted: string[];
  inheritable: string[];
  ambient: string[];
}

export interface MountSpec {
  destination: string;
  type?: string;
  source?: string;
  /** Ours, not of the specification: what is bound lies there below `source`, and no link leads out of it. */
  subpath?: string;
  /** Ours: folders, topmost first, that are shown as one read-only tree instead of `source`. */
  lowers?: string[];
  /** Ours: what 0 owns there is the container's root's, also where its user namespace has other ids. */
  shifted?: boolean;
  /** As for mount(8): `ro`, `nosuid`, `rbind`, `rprivate`, `size=65536k`, … */
  options?: string[];
}

export type NamespaceType =
  | "pid"
  | "network"
  | "mount"
  | "ipc"
  | "uts"
  | "user"
  | "cgroup"
  | "time";

export interface LinuxSpec {
  /** A namespace without `path` is new; one with it is joined; one not listed is the engine's own. */
  namespaces: { type: NamespaceType; path?: string }[];
  uidMappings?: IdMapping[];
  gidMappings?: IdMapping[];
  devices: DeviceSpec[];
  cgroupsPath: string;
  resources: ResourcesSpec;
  seccomp?: SeccompSpec;
  rootfsPropagation?: "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared";
  maskedPaths: string[];
  readonlyPaths: string[];
  sysctl?: Record<string, string>;
  intelRdt?: IntelRdtSpec;
  mountLabel?: string;
}

/** A share of the processor's cache and memory bandwidth. */
export interface IntelRdtSpec {
  closID?: string;
  l3CacheSchema?: string;
  memBwSchema?: string;
  schemata?: string[];
  enableMonitoring?: boolean;
  enableCMT?: boolean;
  enableMBM?: boolean;
}

export interface IdMapping {
  containerID: number;
  hostID: number;
  size: number;
}

export interface DeviceSpec {
  type: "c" | "b" | "u" | "p";
  path: string;
  major?: number;
  minor?: number;
  fileMode?: number;
  uid?: number;
  gid?: number;
}

export interface ResourcesSpec {
  devices: DeviceRule[];
  memory?: {
    limit?: number;
    reservation?: number;
    /** Memory plus swap; -1 is unlimited. */
    swap?: number;
    swappiness?: number;
    disableOOMKiller?: boolean;
    kernelTCP?: number;
  };
  cpu?: {
    shares?: number;
    quota?: number;
    period?: number;
    realtimeRuntime?: number;
    realtimePeriod?: number;
    cpus?: string;
    mems?: string;
  };
  pids?: { limit: number };
  blockIO?: {
    weight?: number;
    weightDevice?: { major: number; minor: number; weight: number }[];
    throttleReadBpsDevice?: ThrottleDevice[];
    throttleWriteBpsDevice?: ThrottleDevice[];
    throttleReadIOPSDevice?: ThrottleDevice[];
    throttleWriteIOPSDevice?: ThrottleDevice[];
  };
  unified?: Record<string, string>;
}

export interface ThrottleDevice {
  major: number;
  minor: number;
  rate: number;
}

export interface DeviceRule {
  allow: boolean;
  type?: "a" | "c" | "b";
  major?: number;
  minor?: number;
  access?: string;
}

export interface SeccompSpec {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures?: string[];
  flags?: string[];
  /** A Unix socket: who decides about calls with the action SCMP_ACT_NOTIFY. */
  listenerPath?: string;
  listenerMetadata?: string;
  syscalls: SeccompRule[];
}

export interface SeccompRule {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: { index: number; value: number; valueTwo?: number; op: string }[];
}
