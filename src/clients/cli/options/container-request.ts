/** All flags of `run` and `create` together: what is sent to `POST /containers/create`. */
import { invalid, notImplemented } from "#base";
import type { ContainerCreateRequest, HealthConfig, HostConfig, RestartPolicy } from "#wire/docker";

import type { Flags } from "../flags/spec.ts";
import { parseUlimit } from "./checks.ts";
import { parseDevices, parseGpus, parseThrottles, parseWeights } from "./devices.ts";
import { mapOf, parseSecurityOptions, readKeyValueFiles } from "./files.ts";
import { parseMount, parseTmpfs, parseVolumes } from "./mounts.ts";
import { checkMac, parseNetworks } from "./networks.ts";
import { parsePorts } from "./ports.ts";

export interface ContainerRequest {
  readonly config: ContainerCreateRequest;
  readonly name: string | undefined;
  readonly platform: string | undefined;
  /** For people; nothing is wrong with the request. */
  readonly warnings: readonly string[];
}

/** @throws EngineError in docker's words; the daemon is not asked */
export function containerRequest(
  flags: Flags,
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): ContainerRequest {
  refuseUnsupported(flags);
  const [image = "", ...command] = args;
  const streams = attachedStreams(flags);
  const ports = parsePorts(flags.list("publish"), flags.list("expose"));
  const volumes = parseVolumes(flags.list("volume"));
  const networks = parseNetworks(flags);
  const mac = flags.string("mac-address");
  if (mac !== "") checkMac(mac);
  const config: ContainerCreateRequest = {
    Hostname: flags.string("hostname"),
    Domainname: flags.string("domainname"),
    User: flags.string("user"),
    AttachStdin: streams.stdin,
    AttachStdout: streams.stdout,
    AttachStderr: streams.stderr,
    ExposedPorts: ports.exposed,
    Tty: flags.bool("tty"),
    OpenStdin: flags.bool("interactive"),
    StdinOnce: flags.bool("interactive") && streams.stdin,
    Env: variables(flags, environment),
    Cmd: command.length === 0 ? null : command,
    Image: image,
    Volumes: volumes.volumes,
    WorkingDir: flags.string("workdir"),
    Entrypoint: entrypoint(flags),
    OnBuild: null,
    Labels: labels(flags),
    ...healthcheck(flags),
    ...(flags.string("stop-signal") === "" ? {} : { StopSignal: flags.string("stop-signal") }),
    ...(flags.changed("stop-timeout") ? { StopTimeout: flags.number("stop-timeout") } : {}),
    HostConfig: {
      ...hostConfig(flags),
      ...resources(flags),
      Binds: volumes.binds.length === 0 ? null : volumes.binds,
      PortBindings: ports.bindings,
      NetworkMode: networks.mode,
    },
    NetworkingConfig: networks.networking,
  };
  const mounts = flags.list("mount");
  return {
    config,
    name: flags.string("name") || undefined,
    platform: flags.string("platform") || environment["DOCKER_DEFAULT_PLATFORM"] || undefined,
    warnings:
      mounts.length > 0 && flags.string("volume-driver") !== ""
        ? [
            "WARNING: `--volume-driver` is ignored for volumes specified via `--mount`. Use `--mount type=volume,volume-driver=...` instead.",
          ]
        : [],
  };
}

/** What the API cannot carry is refused here: the daemon would never see it. */
function refuseUnsupported(flags: Flags): void {
  for (const name of ["cpu-count", "cpu-percent", "io-maxiops", "io-maxbandwidth"]) {
    if (!flags.changed(name)) continue;
    throw invalid(
      `"--${name}" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux`,
    );
  }
  if (flags.changed("kernel-memory")) {
    throw notImplemented(
      "--kernel-memory is not supported: the kernel and the API (since 1.42) have given it up",
    );
  }
  if (flags.changed("disable-content-trust") && !flags.bool("disable-content-trust")) {
    throw notImplemented("content trust is not implemented");
  }
}

function attachedStreams(flags: Flags) {
  const asked = flags.list("attach");
  const none = asked.length === 0;
  return {
    stdin: flags.bool("interactive") || asked.includes("stdin"),
    stdout: none || asked.includes("stdout"),
    stderr: none || asked.includes("stderr"),
  };
}

function variables(
  flags: Flags,
  environment: Readonly<Record<string, string | undefined>>,
): string[] | null {
  const files = readKeyValueFiles(flags.list("env-file"), "env", (name) => environment[name]);
  const all = [...files, ...flags.list("env")];
  return all.length === 0 ? null : all;
}

function labels(flags: Flags): Record<string, string> {
  const files = readKeyValueFiles(flags.list("label-file"), "label", () => undefined);
  return mapOf([...files, ...flags.list("label")]);
}

function entrypoint(flags: Flags): string[] | null {
  // `--entrypoint=""` clears the image's; the wire says that with one empty word.
  return flags.changed("entrypoint") ? [flags.string("entrypoint")] : null;
}

const HEALTH_DURATIONS = [
  "health-interval",
  "health-timeout",
  "health-start-period",
  "health-start-interval",
] as const;

function healthcheck(flags: Flags): { Healthcheck?: HealthConfig } {
  const names = ["health-cmd", "health-retries", ...HEALTH_DURATIONS];
  const some = names.some((name) => flags.changed(name) && flags.string(name) !== "0");
  if (flags.bool("no-healthcheck")) {
    if (some) throw invalid("--no-healthcheck conflicts with --health-* options");
    return { Healthcheck: { Test: ["NONE"] } };
  }
  if (!some) return {};
  for (const name of [...HEALTH_DURATIONS, "health-retries"]) {
    if (flags.number(name) < 0) throw invalid(`--${name} cannot be negative`);
  }
  const command = flags.string("health-cmd");
  const healthcheck: HealthConfig = {
    ...(command === "" ? {} : { Test: ["CMD-SHELL", command] }),
    ...present("Interval", flags.number("health-interval")),
    ...present("Timeout", flags.number("health-timeout")),
    ...present("StartPeriod", flags.number("health-start-period")),
    ...present("StartInterval", flags.number("health-start-interval")),
    ...present("Retries", flags.number("health-retries")),
  };
  return { Healthcheck: healthcheck };
}

const present = <K extends string>(key: K, value: number): Partial<Record<K, number>> =>
  value === 0 ? {} : ({ [key]: value } as Partial<Record<K, number>>);

const listOrNull = (list: readonly string[]): string[] | null =>
  list.length === 0 ? null : [...list];

/** `net_admin` as `CAP_NET_ADMIN`, each once, in order. */
function capabilities(names: readonly string[]): string[] | null {
  const full = names.map((name) => {
    const upper = name.trim().toUpperCase();
    return ["ALL", "RESET"].includes(upper) || upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  });
  return listOrNull([...new Set(full)].toSorted());
}

function mode(flags: Flags, name: string, what: string, valid: RegExp): string {
  const value = flags.string(name);
  if (value !== "" && !valid.test(value)) throw invalid(`--${name}: invalid ${what} mode`);
  return value;
}

type HostPart = Omit<Partial<HostConfig>, "Binds" | "PortBindings" | "NetworkMode">;

function hostConfig(flags: Flags): HostPart {
  const security = parseSecurityOptions(flags.list("security-opt"));
  const restart = restartPolicy(flags.string("restart"));
  if (flags.bool("rm") && !["", "no"].includes(restart.Name)) {
    throw invalid("conflicting options: cannot specify both --restart and --rm");
  }
  const annotations = mapOf(flags.list("annotation"));
  const tmpfs = parseTmpfs(flags.list("tmpfs"));
  const mounts = flags.list("mount").map(parseMount);
  return {
    ContainerIDFile: flags.string("cidfile"),
    LogConfig: logConfig(flags),
    RestartPolicy: restart,
    AutoRemove: flags.bool("rm"),
    VolumeDriver: flags.string("volume-driver"),
    VolumesFrom: listOrNull(flags.list("volumes-from")),
    CapAdd: capabilities(flags.list("cap-add")),
    CapDrop: capabilities(flags.list("cap-drop")),
    CgroupnsMode: mode(flags, "cgroupns", "CGROUP", /^(?:host|private)$/) as
      | ""
      | "host"
      | "private",
    Dns: [...flags.list("dns")],
    DnsOptions: [...flags.list("dns-option")],
    DnsSearch: [...flags.list("dns-search")],
    ExtraHosts: listOrNull(flags.list("add-host")),
    GroupAdd: listOrNull(flags.list("group-add")),
    IpcMode: flags.string("ipc"),
    Links: listOrNull(flags.list("link")),
    OomScoreAdj: flags.number("oom-score-adj"),
    PidMode: mode(flags, "pid", "PID", /^(?:host|container:.+)$/),
    Privileged: flags.bool("privileged"),
    PublishAllPorts: flags.bool("publish-all"),
    ReadonlyRootfs: flags.bool("read-only"),
    SecurityOpt: listOrNull(security.options),
    UTSMode: mode(flags, "uts", "UTS", /^host$/),
    UsernsMode: mode(flags, "userns", "USER", /^host$/),
    ShmSize: flags.number("shm-size"),
    Isolation: flags.string("isolation"),
    ...(Object.keys(annotations).length === 0 ? {} : { Annotations: annotations }),
    ...(flags.list("storage-opt").length === 0 ? {} : { StorageOpt: storageOptions(flags) }),
    ...(Object.keys(tmpfs).length === 0 ? {} : { Tmpfs: tmpfs }),
    ...(flags.list("sysctl").length === 0 ? {} : { Sysctls: mapOf(flags.list("sysctl")) }),
    ...(flags.string("runtime") === "" ? {} : { Runtime: flags.string("runtime") }),
    ...(mounts.length === 0 ? {} : { Mounts: mounts }),
    ...(security.unmasked ? { MaskedPaths: [], ReadonlyPaths: [] } : {}),
    ...(flags.changed("init") ? { Init: flags.bool("init") } : {}),
  };
}

function logConfig(flags: Flags): HostConfig["LogConfig"] {
  const driver = flags.string("log-driver");
  const options = flags.list("log-opt");
  if (driver === "none" && options.length > 0)
    throw invalid("invalid logging opts for driver none");
  return { Type: driver, Config: mapOf(options) };
}

function storageOptions(flags: Flags): Record<string, string> {
  const options = flags.list("storage-opt");
  if (options.some((option) => !option.includes("="))) throw invalid("invalid storage option");
  return mapOf(options);
}

/** `on-failure:3`. The daemon judges the name. */
export function restartPolicy(text: string): RestartPolicy {
  if (text === "") return { Name: "no", MaximumRetryCount: 0 };
  const colon = text.indexOf(":");
  const name = colon < 0 ? text : text.slice(0, colon);
  if (colon >= 0 && name === "") {
    throw invalid("invalid restart policy format: no policy provided before colon");
  }
  const count = colon < 0 ? "" : text.slice(colon + 1);
  if (count !== "" && !/^[+-]?\d+$/.test(count)) {
    throw invalid("invalid restart policy format: maximum retry count must be an integer");
  }
  return { Name: name as RestartPolicy["Name"], MaximumRetryCount: Number(count) };
}

function resources(flags: Flags): Partial<HostConfig> {
  const swappiness = flags.number("memory-swappiness");
  if (swappiness !== -1 && (swappiness < 0 || swappiness > 100)) {
    throw invalid(`invalid value: ${swappiness}. Valid memory swappiness range is 0-100`);
  }
  const devices = parseDevices(flags.list("device"));
  const requests = [...devices.requests, ...flags.list("gpus").map(parseGpus)];
  return {
    CpuShares: flags.number("cpu-shares"),
    Memory: flags.number("memory"),
    NanoCpus: flags.number("cpus"),
    CgroupParent: flags.string("cgroup-parent"),
    BlkioWeight: flags.number("blkio-weight"),
    BlkioWeightDevice: parseWeights(flags.list("blkio-weight-device")),
    BlkioDeviceReadBps: parseThrottles(flags.list("device-read-bps")),
    BlkioDeviceWriteBps: parseThrottles(flags.list("device-write-bps")),
    BlkioDeviceReadIOps: parseThrottles(flags.list("device-read-iops")),
    BlkioDeviceWriteIOps: parseThrottles(flags.list("device-write-iops")),
    CpuPeriod: flags.number("cpu-period"),
    CpuQuota: flags.number("cpu-quota"),
    CpuRealtimePeriod: flags.number("cpu-rt-period"),
    CpuRealtimeRuntime: flags.number("cpu-rt-runtime"),
    CpusetCpus: flags.string("cpuset-cpus"),
    CpusetMems: flags.string("cpuset-mems"),
    Devices: devices.devices,
    DeviceCgroupRules: listOrNull(flags.list("device-cgroup-rule")),
    DeviceRequests: requests.length === 0 ? null : requests,
    MemoryReservation: flags.number("memory-reservation"),
    MemorySwap: flags.number("memory-swap"),
    MemorySwappiness: swappiness,
    OomKillDisable: flags.bool("oom-kill-disable"),
    PidsLimit: flags.number("pids-limit"),
    Ulimits: flags.list("ulimit").map(parseUlimit),
    CpuCount: flags.number("cpu-count"),
    CpuPercent: flags.number("cpu-percent"),
    IOMaximumIOps: flags.number("io-maxiops"),
    IOMaximumBandwidth: flags.number("io-maxbandwidth"),
  };
}
