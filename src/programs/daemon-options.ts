/** What the daemon was asked to be: flags over the configuration file over defaults, checked. */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, resolve } from "node:path";

import { invalid, sentenceOf } from "#base";
import type { Entitlement } from "#engine/build";
import type { EngineOptions } from "#engine/container";
import { checkLogOptions, parseSize } from "#engine/log-delivery";
import type { NetworkOptions } from "#engine/network";

import type { CachePolicies } from "./daemon-builder.ts";
import { type ConfigFile, readConfigFile } from "./daemon-config-file.ts";
import {
  checkFeatures,
  hostGatewaysOf,
  type MetricsAddress,
  metricsAddressOf,
  minApiVersionOf,
  type RealtimeShare,
  realtimeShareOf,
} from "./daemon-option-checks.ts";
import { type FlagValues, parseFlags, refuseFixed } from "./daemon-flag-parser.ts";
import { type Host, parseHosts, type TlsFiles } from "./daemon-hosts.ts";
import { type LogLevel, parseLogLevel } from "./daemon-log.ts";
import {
  type DefaultNetworkOptions,
  defaultNetworkOptionsOf,
  networkOptionsOf,
} from "./daemon-networking.ts";
import { readUserRemap } from "./user-remap.ts";

export const DEFAULT_DATA_ROOT = "/var/lib/naru";
export const DEFAULT_EXEC_ROOT = "/run/naru";
const DEFAULT_CONFIG_FILE = "/etc/naru/daemon.json";
const DEFAULT_SHUTDOWN_SECONDS = 15;
const PROFILE_LIMIT_BYTES = 1024 * 1024;

export interface DaemonOptions {
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly hosts: readonly Host[];
  /** null: TCP is served without TLS. */
  readonly tls: TlsFiles | null;
  /** True when a person said in so many words that TCP needs no TLS. */
  readonly tlsRefused: boolean;
  readonly group: string | null;
  readonly pidFile: string;
  readonly network: NetworkOptions;
  readonly defaultNetworkOptions: DefaultNetworkOptions;
  readonly cachePolicies: CachePolicies;
  readonly buildEntitlements: ReadonlySet<Entitlement>;
  readonly buildHistory: ConfigFile["buildHistory"];
  readonly insecureRegistries: readonly string[];
  readonly registryMirrors: readonly string[];
  readonly labels: readonly string[];
  /** Asked about every request, in order. */
  readonly authorizationPlugins: readonly string[];
  readonly liveRestore: boolean;
  readonly experimental: boolean;
  /** The oldest API that clients may speak. */
  readonly minApiVersion: string;
  /** Negative: for ever. */
  readonly shutdownTimeoutSeconds: number;
  readonly maxConcurrentDownloads: number;
  readonly maxConcurrentUploads: number;
  readonly maxDownloadAttempts: number;
  readonly proxies: { readonly http: string; readonly https: string; readonly none: string };
  readonly features: Readonly<Record<string, boolean>>;
  /** "builtin", "unconfined", or the profile's JSON. */
  readonly seccompProfile: string;
  /** The same, or the file it was read from. */
  readonly seccompProfileName: string;
  readonly modes: { readonly ipc: string; readonly cgroupns: "host" | "private" };
  readonly debug: boolean;
  /** What flags and file say, by flag: a reload changes only what is said. */
  readonly said: ReadonlySet<string>;
  readonly logLevel: LogLevel;
  readonly logFormat: "text" | "json";
  /** Never in colours, also on a terminal. */
  readonly rawLogs: boolean;
  /** null: no metrics, and nothing is counted. */
  readonly metrics: MetricsAddress | null;
  readonly engine: EngineOptions;
  /** What a container may write that does not say; null: whatever there is. */
  readonly storageLimitBytes: number | null;
  /** Of the cgroup that all containers are in; null: as it is. */
  readonly realtimeShare: RealtimeShare | null;
}

export type Invocation =
  | { readonly action: "help" | "version" | "validate" }
  | {
      readonly action: "doctor";
      readonly options: DaemonOptions;
      readonly form: "text" | "json";
    }
  | { readonly action: "run" | "uninstall"; readonly options: DaemonOptions };

/** @throws EngineError "invalid" */
export function readInvocation(args: readonly string[]): Invocation {
  const given = parseFlags(args);
  if (given.get("help") === true) return { action: "help" };
  if (given.get("version") === true) return { action: "version" };
  const options = readOptions(given);
  if (given.get("validate") === true) return { action: "validate" };
  const form = textOf(given, "doctor");
  if (form === "text" || form === "json") return { action: "doctor", options, form };
  if (form !== null) throw invalid(`invalid argument "${form}" for "--doctor" flag: text or json`);
  return { action: given.get("uninstall") === true ? "uninstall" : "run", options };
}

/** The options as the file says them now; for SIGHUP. */
export const rereadOptions = (args: readonly string[]): DaemonOptions =>
  readOptions(parseFlags(args));

function readOptions(given: FlagValues): DaemonOptions {
  const named = textOf(given, "config-file");
  const file = readConfigFile(named ?? DEFAULT_CONFIG_FILE, given, named !== null);
  const values: FlagValues = new Map([...file.values, ...given]);
  refuseFixed(values);
  checkStorage(values);
  checkExecOptions(listOf(values, "exec-opt"));
  const dataRoot = pathOf(values, "data-root", DEFAULT_DATA_ROOT);
  const execRoot = pathOf(values, "exec-root", DEFAULT_EXEC_ROOT);
  const { tls, refused: tlsRefused } = tlsOf(values);
  return {
    dataRoot,
    execRoot,
    hosts: parseHosts(listOf(values, "host"), {
      tls: tls !== null,
      byDefault: `${execRoot}/naru.sock`,
    }),
    tls,
    tlsRefused,
    group: textOf(values, "group"),
    pidFile: pathOf(values, "pidfile", `${execRoot}/naru.pid`),
    network: networkOptionsOf(values, {
      pools: [...listOf(values, "default-address-pool"), ...file.addressPools],
      dataRoot: dataRoot === DEFAULT_DATA_ROOT ? null : dataRoot,
    }),
    defaultNetworkOptions: defaultNetworkOptionsOf(
      listOf(values, "default-network-opt"),
      file.networkOptions,
    ),
    cachePolicies: file.cachePolicies,
    buildEntitlements: file.buildEntitlements,
    buildHistory: file.buildHistory,
    ...registryOptionsOf(values),
    labels: labelsOf(listOf(values, "label")),
    authorizationPlugins: [...new Set(listOf(values, "authorization-plugin"))],
    liveRestore: values.get("live-restore") !== false,
    experimental: values.get("experimental") === true,
    minApiVersion: minApiVersionOf(process.env["DOCKER_MIN_API_VERSION"] ?? ""),
    shutdownTimeoutSeconds: numberOf(values, "shutdown-timeout") ?? DEFAULT_SHUTDOWN_SECONDS,
    features: featuresOf(values, file),
    seccompProfile: seccompProfileOf(textOf(values, "seccomp-profile")),
    seccompProfileName: textOf(values, "seccomp-profile") ?? "builtin",
    modes: modesOf(values),
    debug: values.get("debug") === true,
    said: new Set([
      ...values.keys(),
      ...(Object.keys(file.runtimes).length > 0 ? ["runtimes"] : []),
    ]),
    ...logOf(values),
    rawLogs: values.get("raw-logs") === true,
    metrics: metricsAddressOf(textOf(values, "metrics-addr")),
    engine: engineOptionsOf(values, file, dataRoot),
    storageLimitBytes: storageLimitOf(listOf(values, "storage-opt")),
    realtimeShare: realtimeShareOf(
      numberOf(values, "cpu-rt-period") ?? 0,
      numberOf(values, "cpu-rt-runtime") ?? 0,
    ),
  };
}

function logOf(values: FlagValues): Pick<DaemonOptions, "logLevel" | "logFormat"> {
  const level = values.get("debug") === true ? "debug" : (textOf(values, "log-level") ?? "info");
  const logLevel = parseLogLevel(level);
  if (logLevel === null) throw invalid(`invalid logging level: ${level}`);
  const logFormat = textOf(values, "log-format") ?? "text";
  if (logFormat !== "text" && logFormat !== "json")
    throw invalid(`invalid log format: ${logFormat}`);
  return { logLevel, logFormat };
}

type RegistryOptions = Pick<
  DaemonOptions,
  | "insecureRegistries"
  | "registryMirrors"
  | "maxConcurrentDownloads"
  | "maxConcurrentUploads"
  | "maxDownloadAttempts"
  | "proxies"
>;

function registryOptionsOf(values: FlagValues): RegistryOptions {
  const environment = (name: string) => process.env[name] ?? process.env[name.toLowerCase()] ?? "";
  return {
    insecureRegistries: listOf(values, "insecure-registry").map(checkIndexName),
    registryMirrors: listOf(values, "registry-mirror").map(checkMirror),
    maxConcurrentDownloads: positive(
      values,
      "max-concurrent-downloads",
      "max concurrent downloads",
      3,
    ),
    maxConcurrentUploads: positive(values, "max-concurrent-uploads", "max concurrent uploads", 5),
    maxDownloadAttempts: positive(values, "max-download-attempts", "max download attempts", 5),
    proxies: {
      http: textOf(values, "http-proxy") ?? environment("HTTP_PROXY"),
      https: textOf(values, "https-proxy") ?? environment("HTTPS_PROXY"),
      none: textOf(values, "no-proxy") ?? environment("NO_PROXY"),
    },
  };
}

/** Docker's: no slash, and no dash at an end. */
function checkIndexName(name: string): string {
  if (name.startsWith("-") || name.endsWith("-")) {
    throw invalid(`invalid index name (${name}). Cannot begin or end with a hyphen`);
  }
  if (/:\/\//.test(name)) throw invalid(`invalid index name (${name}): it has a scheme`);
  return name;
}

/** @throws EngineError "invalid" in Docker's words */
function checkMirror(text: string): string {
  const wrong = (why: string) => invalid(`invalid mirror: ${why}`);
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw wrong(`"${text}" is not a valid URI`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw wrong(`unsupported scheme "${url.protocol.slice(0, -1)}" in "${text}"`);
  }
  if (url.username !== "" || url.password !== "") {
    throw wrong("username/password not allowed in URI");
  }
  if (url.search !== "" || url.hash !== "") {
    throw wrong(`query or fragment at end of the URI "${text}"`);
  }
  return text.replace(/\/*$/, "/");
}

/** One value a key. @throws EngineError "invalid" in Docker's words */
function labelsOf(labels: readonly string[]): string[] {
  const values = new Map<string, string>();
  for (const label of labels) {
    const at = label.indexOf("=");
    if (at < 1) throw invalid(`bad attribute format: ${label}`);
    const [key, value] = [label.slice(0, at), label.slice(at + 1)];
    const other = values.get(key);
    if (other !== undefined && other !== value) {
      throw invalid(`conflict labels for ${key}=${value} and ${key}=${other}`);
    }
    values.set(key, value);
  }
  return [...values].map(([key, value]) => `${key}=${value}`);
}

function checkStorage(values: FlagValues): void {
  const driver = textOf(values, "storage-driver");
  if (driver === null || ["overlay2", "overlayfs", "naru"].includes(driver)) return;
  throw invalid(`error initializing graphdriver: driver not supported: ${driver}`);
}

/** @throws EngineError "invalid" for what overlay2 has no option for */
function storageLimitOf(options: readonly string[]): number | null {
  let limit: number | null = null;
  for (const option of options) {
    const at = option.indexOf("=");
    if (at < 0) throw invalid(`Unable to parse key/value option: "${option}"`);
    const key = option.slice(0, at).trim().toLowerCase();
    if (key !== "overlay2.size") throw invalid(`overlay2: unknown option ${key}`);
    limit = parseSize(option.slice(at + 1).trim(), 1024);
  }
  return limit === 0 ? null : limit;
}

function checkExecOptions(options: readonly string[]): void {
  for (const option of options) {
    const [key = "", value = ""] = option.split("=", 2);
    const wrong = (why: string) => invalid(`invalid exec-opt (${option}): ${why}`);
    if (key === "" || value === "") throw wrong("must be formatted 'opt=value'");
    if (key === "isolation") throw wrong("option 'isolation' is only supported on windows");
    if (key !== "native.cgroupdriver") throw wrong(`unknown option: '${key}'`);
    if (value !== "cgroupfs") throw wrong(`the cgroup driver '${value}' is not supported`);
  }
}

/** TLS as Docker decides it: asked for by either switch; verified unless that was refused aloud. */
function tlsOf(values: FlagValues): { tls: TlsFiles | null; refused: boolean } {
  const folder = process.env["DOCKER_CERT_PATH"] ?? `${homedir()}/.docker`;
  const verifySaid = values.get("tlsverify");
  const byEnvironment = (process.env["DOCKER_TLS_VERIFY"] ?? "") !== "";
  const wanted = values.get("tls") === true || verifySaid !== undefined || byEnvironment;
  const refused = values.get("tls") === false || verifySaid === false;
  if (!wanted) return { tls: null, refused };
  const verified = verifySaid !== false;
  return {
    tls: {
      cert: textOf(values, "tlscert") ?? `${folder}/cert.pem`,
      key: textOf(values, "tlskey") ?? `${folder}/key.pem`,
      clientAuthority: verified ? (textOf(values, "tlscacert") ?? `${folder}/ca.pem`) : null,
    },
    refused,
  };
}

function featuresOf(values: FlagValues, file: ConfigFile): Record<string, boolean> {
  const given = (values.get("feature") as Record<string, string> | undefined) ?? {};
  const asked = Object.entries(given).map(([name, text]) => {
    if (!/^(1|0|t|f|true|false)$/i.test(text)) {
      throw invalid(`feature ${name}: ${text} is neither true nor false`);
    }
    return [name, /^(1|t|true)$/i.test(text)] as const;
  });
  return checkFeatures({ ...file.features, ...Object.fromEntries(asked) });
}

function seccompProfileOf(asked: string | null): string {
  if (asked === null || asked === "builtin" || asked === "unconfined") return asked ?? "builtin";
  const wrong = (why: string) => invalid(`opening seccomp profile (${asked}) failed: ${why}`);
  try {
    const text = readFileSync(asked, "utf8");
    if (text.length > PROFILE_LIMIT_BYTES) throw new Error("it is too large");
    JSON.parse(text);
    return text;
  } catch (cause) {
    throw wrong(sentenceOf(cause));
  }
}

function modesOf(values: FlagValues): DaemonOptions["modes"] {
  const ipc = textOf(values, "default-ipc-mode") ?? "private";
  if (ipc !== "private" && ipc !== "shareable") {
    const known = ipc === "host" || ipc === "none" || ipc.startsWith("container:");
    throw invalid(
      known
        ? `IPC mode "${ipc}" is not supported as default value; use "shareable" or "private"`
        : `default IPC mode setting (${ipc}) is invalid; use "shareable" or "private"`,
    );
  }
  const cgroupns = textOf(values, "default-cgroupns-mode") ?? (isUnified() ? "private" : "host");
  if (cgroupns !== "host" && cgroupns !== "private") {
    throw invalid(`invalid default cgroup namespace (${cgroupns}): use "host" or "private"`);
  }
  return { ipc, cgroupns };
}

const numberOf = (values: FlagValues, name: string): number | null =>
  (values.get(name) as number | undefined) ?? null;

/** Docker takes 0 for "not said". */
function positive<T extends number | null>(
  values: FlagValues,
  name: string,
  what: string,
  byDefault: T,
): number | T {
  const value = numberOf(values, name) ?? 0;
  if (value < 0) throw invalid(`invalid ${what}: ${value}`);
  return value === 0 ? byDefault : value;
}

const textOf = (values: FlagValues, name: string): string | null => {
  const value = values.get(name);
  return typeof value === "string" && value !== "" ? value : null;
};

const listOf = (values: FlagValues, name: string): readonly string[] =>
  (values.get(name) as readonly string[] | undefined) ?? [];

function pathOf(values: FlagValues, name: string, otherwise: string): string {
  const path = textOf(values, name) ?? otherwise;
  return isAbsolute(path) ? path.replace(/(.)\/+$/, "$1") : resolve(path);
}

type Ulimits = EngineOptions["defaultUlimits"];

const flagUlimitsOf = (list: readonly string[]): Ulimits =>
  list.map((text) => {
    const match = /^(\w+)=(-?\d+)(?::(-?\d+))?$/.exec(text);
    if (match === null) throw invalid(`invalid ulimit argument: ${text}`);
    const soft = Number(match[2]);
    return { name: match[1] ?? "", soft, hard: match[3] === undefined ? soft : Number(match[3]) };
  });

/** Found by name where the default is `native`; the other two if they are installed. */
function engineOptionsOf(values: FlagValues, file: ConfigFile, dataRoot: string): EngineOptions {
  const runtimes = new Map<string, string>([["naru", "native"]]);
  for (const name of ["crun", "runc"]) if (Bun.which(name) !== null) runtimes.set(name, name);
  for (const [name, path] of Object.entries(file.runtimes)) runtimes.set(name, path);
  for (const text of listOf(values, "add-runtime")) {
    const match = /^([^=]+)=(.+)$/.exec(text);
    if (match === null) throw invalid(`invalid runtime: ${text}: use name=path`);
    runtimes.set(match[1] ?? "", match[2] ?? "");
  }
  const defaultRuntime = textOf(values, "default-runtime") ?? "naru";
  if (!runtimes.has(defaultRuntime)) {
    throw invalid(`specified default runtime '${defaultRuntime}' does not exist`);
  }
  const defaultLog = {
    driver: textOf(values, "log-driver") ?? "json-file",
    options: (values.get("log-opt") as Record<string, string> | undefined) ?? {},
  };
  checkLogOptions(defaultLog);
  return {
    defaultRuntime,
    runtimes,
    defaultLog,
    defaultShmSizeBytes: parseSize(textOf(values, "default-shm-size") ?? "64M", 1024),
    init: values.get("init") === true,
    initPath: initPathOf(textOf(values, "init-path"), file.defaultInit),
    cgroupParent: textOf(values, "cgroup-parent") ?? defaultCgroupParent(dataRoot),
    defaultUlimits: [...file.ulimits, ...flagUlimitsOf(listOf(values, "default-ulimit"))],
    seccompUnconfined: textOf(values, "seccomp-profile") === "unconfined",
    noNewPrivileges: values.get("no-new-privileges") === true,
    dns: listOf(values, "dns"),
    dnsSearch: listOf(values, "dns-search"),
    dnsOptions: listOf(values, "dns-opt"),
    resolvConf: textOf(values, "resolv-conf"),
    cdiFolders: cdiFoldersOf(values, file),
    hostGatewayIps: hostGatewaysOf(listOf(values, "host-gateway-ip")),
    userRemap: readUserRemap(textOf(values, "userns-remap"), values.get("validate") === true),
  };
}

/** The specification's own two, unless others are named or the feature is off. */
function cdiFoldersOf(values: FlagValues, { features }: ConfigFile): readonly string[] {
  if (features["cdi"] === false) return [];
  const named = listOf(values, "cdi-spec-dir");
  return named.length > 0 ? named : ["/etc/cdi", "/var/run/cdi"];
}

/** null when none is installed: then `--init` is refused by name. @throws EngineError for a path that is not there */
function initPathOf(asked: string | null, first: string | null): string | null {
  if (asked !== null) {
    const found = isAbsolute(asked) ? (existsSync(asked) ? asked : null) : Bun.which(asked);
    if (found === null) throw invalid(`--init-path ${asked}: there is no such program`);
    return found;
  }
  for (const name of [first, "docker-init", "tini-static", "tini"]) {
    const found = name === null ? null : Bun.which(name);
    if (found !== null) return found;
  }
  const shipped = ["/usr/libexec/docker/docker-init", "/usr/lib/docker/docker-init"];
  return shipped.find((path) => existsSync(path)) ?? null;
}

/** Two engines on one host must not take each other's cgroups for leftovers. */
function defaultCgroupParent(dataRoot: string): string {
  if (dataRoot === DEFAULT_DATA_ROOT) return "/naru";
  const tag = new Bun.CryptoHasher("sha256").update(dataRoot).digest("hex").slice(0, 8);
  return `/naru-${tag}`;
}

/** One hierarchy of the second version: there Docker gives each container a cgroup namespace. */
const isUnified = (): boolean => existsSync("/sys/fs/cgroup/cgroup.controllers");
