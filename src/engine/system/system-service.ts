/** The contract of the system room: what the engine and its host are. */

export interface SystemInfo {
  readonly id: string;
  readonly containers: {
    readonly running: number;
    readonly paused: number;
    readonly stopped: number;
  };
  readonly images: number;
  readonly storage: {
    readonly driver: string;
    readonly status: readonly (readonly [string, string])[];
  };
  readonly memoryLimit: boolean;
  readonly swapLimit: boolean;
  readonly cpuCfs: boolean;
  readonly cpuShares: boolean;
  readonly cpuSet: boolean;
  readonly pidsLimit: boolean;
  readonly oomKillDisable: boolean;
  readonly ipv4Forwarding: boolean;
  readonly cgroupDriver: "cgroupfs" | "systemd";
  readonly cgroupVersion: "1" | "2";
  readonly kernelVersion: string;
  readonly operatingSystem: string;
  readonly osVersion: string;
  readonly architecture: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly hostname: string;
  readonly dataRoot: string;
  /** Names, and what they run: a path, or a name found by PATH. */
  readonly runtimes: ReadonlyMap<
    string,
    { readonly path: string; readonly args: readonly string[] }
  >;
  readonly defaultRuntime: string;
  readonly securityOptions: readonly string[];
  readonly insecureRegistries: readonly string[];
  readonly registryMirrors: readonly string[];
  readonly labels: readonly string[];
  /** Where vendors describe their devices. */
  readonly cdiFolders: readonly string[];
  /** `vendor.com/class=name`. */
  readonly cdiDevices: readonly string[];
  /** `base=10.10.0.0/16,size=24`, where a person chose them. */
  readonly addressPools: readonly string[];
  readonly warnings: readonly string[];
  readonly liveRestore: boolean;
  readonly debug: boolean;
  readonly loggingDriver: string;
  readonly logDrivers: readonly string[];
  /** Who is asked about every request. */
  readonly authorizationPlugins: readonly string[];
  /** "" where there is none. */
  readonly proxies: { readonly http: string; readonly https: string; readonly none: string };
  /** The base name of `--init`'s program, "" when none is installed. */
  readonly initBinary: string;
  readonly initVersion: string;
  /** Of the init program; "" when it does not tell, null where there is none. */
  readonly initCommit: string | null;
  /** Threads of the daemon. */
  readonly threads: number;
  /** By runtime: the OCI specification's "features" document, of those that tell it. */
  readonly runtimeFeatures: ReadonlyMap<string, string>;
  readonly kernelMemoryTcp: boolean;
  /** Open file descriptors of the daemon. */
  readonly descriptors: number;
  readonly systemTime: string;
}

export interface VersionInfo {
  readonly version: string;
  readonly apiVersion: string;
  readonly minApiVersion: string;
  /** Clients may have what Docker calls experimental: `build --squash`. */
  readonly isExperimental: boolean;
  readonly gitCommit: string;
  readonly bunVersion: string;
  readonly os: string;
  readonly architecture: string;
  readonly kernelVersion: string;
  readonly buildTime: string;
  /** Of the init program; "" when there is none, or it does not tell. */
  readonly initVersion: string;
  /** Of the init program; "" when it does not tell, null where there is none. */
  readonly initCommit: string | null;
}

export interface SystemService {
  /** The engine's name for ever. */
  readonly id: string;
  info(): Promise<SystemInfo>;
  version(): VersionInfo;
}
