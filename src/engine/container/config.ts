/**
 * What a container is asked to be: the domain's own words for Docker's Config and HostConfig. The server decodes
 * the API's JSON into these (refusing what it cannot honour) and encodes them back for inspect.
 */
import type { HealthConfig } from "#engine/health";
import type { EndpointRequest, PortRequest } from "#engine/network";

/** The program and its surroundings, after `create`: still as asked, before the image's defaults are merged. */
export interface ContainerConfig {
  readonly image: string;
  /** null: take the image's. [] (from `--entrypoint ""`): none. */
  readonly entrypoint: readonly string[] | null;
  readonly command: readonly string[] | null;
  /** `NAME=value`, or `NAME` alone to remove the image's. */
  readonly environment: readonly string[];
  readonly user: string;
  readonly workingDirectory: string;
  /** "" lets the engine choose the short id. */
  readonly hostname: string;
  readonly domainname: string;
  readonly terminal: boolean;
  readonly openStdin: boolean;
  readonly stdinOnce: boolean;
  readonly attachStdin: boolean;
  readonly attachStdout: boolean;
  readonly attachStderr: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** `80/tcp`. */
  readonly exposedPorts: readonly string[];
  /** Anonymous volumes by path. */
  readonly volumes: readonly string[];
  readonly stopSignal: string | null;
  readonly stopTimeoutSeconds: number | null;
  readonly shell: readonly string[] | null;
  /** Absent in older records: none. */
  readonly healthcheck?: HealthConfig | null;
  /** Kept as it was said; only what is built on an image runs such lines. Absent: nothing was said. */
  readonly onBuild?: readonly string[];
  readonly networkDisabled: boolean;
  readonly macAddress: string | null;
}

/** Another's namespace, the host's, or a new one. */
export type NamespaceMode =
  | { readonly mode: "private" }
  | { readonly mode: "host" }
  | { readonly mode: "container"; readonly container: string };

/** What the engine was told to do where nothing is asked; only until create has decided. */
export interface DefaultMode {
  readonly mode: "default";
}

export type IpcMode = NamespaceMode | { readonly mode: "shareable" } | { readonly mode: "none" };

export interface DeviceWeight {
  readonly path: string;
  readonly weight: number;
}

export interface DeviceRate {
  readonly path: string;
  /** Bytes or operations per second. */
  readonly rate: number;
}

/** Limits of single block devices, by the host's paths. */
export interface DeviceLimits {
  readonly weights: readonly DeviceWeight[];
  readonly readBps: readonly DeviceRate[];
  readonly writeBps: readonly DeviceRate[];
  readonly readIops: readonly DeviceRate[];
  readonly writeIops: readonly DeviceRate[];
}

export type NetworkMode =
  | { readonly mode: "network"; readonly name: string }
  | { readonly mode: "none" }
  | { readonly mode: "host" }
  | { readonly mode: "container"; readonly container: string };

export type MountPropagation = "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave";

export type MountRequest =
  | {
      readonly type: "bind";
      readonly source: string;
      readonly target: string;
      readonly readOnly: boolean;
      readonly propagation: MountPropagation;
      readonly recursive: boolean;
      /** Make a missing source a directory: `-v` does, `--mount` does not. */
      readonly createSource: boolean;
      /** How far `readOnly` reaches: to the mounts below it too, unless "top". "force" is the same, said aloud. */
      readonly readOnlyReach?: "top" | "force";
      /** What `-v` was given: clients compare it letter for letter. Absent for `--mount` and in older records. */
      readonly asWritten?: string;
      /** Asked for by `--mount`; absent in older records. */
      readonly isMount?: true;
    }
  | {
      readonly type: "tmpfs";
      readonly target: string;
      readonly sizeBytes: number | null;
      readonly mode: number | null;
      /** Raw mount options of `--tmpfs /x:noexec,size=1m`. */
      readonly options: readonly string[];
      /** Asked for by `--mount`: inspect lists it among the mounts, as it does not for `--tmpfs`. */
      readonly isMount?: true;
    }
  | {
      readonly type: "volume";
      /** "" is anonymous. */
      readonly name: string;
      readonly target: string;
      readonly readOnly: boolean;
      readonly noCopy: boolean;
      /** What `-v` was given. */
      readonly asWritten?: string;
      /** A folder of the volume, relative, instead of the whole. */
      readonly subpath?: string;
      /** Of a volume that is made for this; nothing to one that exists. */
      readonly labels?: Readonly<Record<string, string>>;
      readonly driver?: string;
      readonly driverOptions?: Readonly<Record<string, string>>;
      /** Asked for by `--mount`, which has its own way back to the client. */
      readonly isMount?: true;
    }
  | {
      /** An image's files, which nobody changes. */
      readonly type: "image";
      readonly source: string;
      readonly target: string;
      /** A file or folder of the image, relative, instead of the whole. */
      readonly subpath?: string;
    };

export type RestartPolicy =
  | { readonly name: "no" }
  | { readonly name: "always" }
  | { readonly name: "unless-stopped" }
  | { readonly name: "on-failure"; readonly maximumRetries: number };

/** How the host is to run it. */
export interface HostConfig {
  readonly runtime: string | null;
  readonly autoRemove: boolean;
  readonly init: boolean | null;
  readonly privileged: boolean;
  readonly readOnlyRoot: boolean;
  readonly mounts: readonly MountRequest[];
  /** `container[:ro|rw|z|Z]`; absent in older records. */
  readonly volumesFrom?: readonly string[];
  /** The driver of volumes that are made; "" and absent: local. */
  readonly volumeDriver?: string;
  readonly networkMode: NetworkMode;
  readonly ports: readonly PortRequest[];
  readonly publishAllPorts: boolean;
  readonly pidMode: NamespaceMode;
  readonly ipcMode: IpcMode;
  readonly utsMode: NamespaceMode;
  readonly cgroupNamespaceMode: NamespaceMode | DefaultMode;
  readonly usernsMode: "" | "host";
  readonly capAdd: readonly string[];
  readonly capDrop: readonly string[];
  /** `no-new-privileges`, `seccomp=unconfined`, `seccomp=<json>`, `apparmor=…`, `label=…`, `systempaths=unconfined`. */
  readonly securityOptions: readonly string[];
  readonly groupAdd: readonly string[];
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  /** `name:address`. */
  readonly extraHosts: readonly string[];
  readonly shmSizeBytes: number | null;
  /** As it was written: `size=10G`. */
  readonly storageOptions?: Readonly<Record<string, string>>;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly ulimits: readonly {
    readonly name: string;
    readonly soft: number;
    readonly hard: number;
  }[];
  readonly devices: readonly {
    readonly hostPath: string;
    readonly containerPath: string;
    readonly permissions: string;
  }[];
  readonly deviceCgroupRules: readonly string[];
  readonly oomScoreAdjust: number;
  /** Devices that a driver knows (`--device vendor.com/class=name`, `--gpus`); absent where none is asked. */
  readonly deviceRequests?: readonly {
    readonly driver: string;
    readonly count: number;
    readonly ids: readonly string[];
    readonly capabilities: readonly (readonly string[])[];
    readonly options: Readonly<Record<string, string>>;
  }[];
  /** Other containers of the default bridge; absent where none is asked. */
  readonly links?: readonly { readonly container: string; readonly alias: string }[];
  readonly restartPolicy: RestartPolicy;
  /** null paths: Docker's defaults. */
  readonly maskedPaths: readonly string[] | null;
  readonly readonlyPaths: readonly string[] | null;
  readonly annotations: Readonly<Record<string, string>>;
  /** Shown again, and nothing else: words of other systems; absent where none is given. */
  readonly withoutMeaning?: {
    readonly cgroup: string;
    readonly cpuCount: number;
    readonly cpuPercent: number;
  };
  readonly log: { readonly driver: string; readonly options: Readonly<Record<string, string>> };
  readonly cgroupParent: string;
  /** Docker's numbers: 0 is "not asked". */
  readonly resources: {
    readonly memoryBytes: number;
    readonly memorySwapBytes: number;
    readonly memoryReservationBytes: number;
    readonly memorySwappiness: number | null;
    readonly oomKillDisable: boolean;
    readonly cpuShares: number;
    readonly nanoCpus: number;
    readonly cpuPeriodUsec: number;
    readonly cpuQuotaUsec: number;
    readonly cpusetCpus: string;
    readonly cpusetMems: string;
    /** 0 or negative: unlimited. */
    readonly pidsLimit: number | null;
    readonly blkioWeight: number;
    /** Missing in records of older engines, and where nothing is asked. */
    readonly blockDevices?: DeviceLimits;
    readonly cpuRealtime?: { readonly periodUsec: number; readonly runtimeUsec: number };
    readonly kernelMemoryTcpBytes?: number;
  };
  /** [rows, columns] of the client's terminal. */
  readonly consoleSize: readonly [number, number];
}

export interface CreateRequest {
  /** "" lets the engine invent one. */
  readonly name: string;
  readonly platform: string | null;
  readonly config: ContainerConfig;
  readonly host: HostConfig;
  /** All networks, the one of the network mode among them; absent: that one alone, with nothing special. */
  readonly networks?: readonly EndpointRequest[];
}
