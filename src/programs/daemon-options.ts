/** What the daemon was asked to be: flags over the configuration file over defaults, checked. */
import { existsSync, readFileSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";

import { invalid, sentenceOf } from "#base";
import type { EngineOptions } from "#engine/container";
import { checkLogOptions } from "#engine/log-delivery";

import {
  checkFileValue,
  FILE_ONLY_KEYS,
  flagOfKey,
  type FlagValues,
  parseFlags,
} from "./daemon-flags.ts";
import { type LogLevel, parseLogLevel } from "./daemon-log.ts";

export const DEFAULT_DATA_ROOT = "/var/lib/naru";
export const DEFAULT_EXEC_ROOT = "/run/naru";
const DEFAULT_CONFIG_FILE = "/etc/naru/daemon.json";
const CONFIG_LIMIT_BYTES = 1024 * 1024;

export interface DaemonOptions {
  readonly dataRoot: string;
  readonly execRoot: string;
  /** A socket's path, or systemd's descriptors. */
  readonly hosts: readonly ({ readonly path: string } | { readonly activation: true })[];
  readonly group: string | null;
  readonly pidFile: string;
  readonly bridge: {
    readonly name: string | null;
    readonly address: string | null;
    readonly mtu: number | null;
  };
  readonly insecureRegistries: readonly string[];
  readonly registryMirrors: readonly string[];
  readonly labels: readonly string[];
  readonly liveRestore: boolean;
  readonly logLevel: LogLevel;
  readonly logFormat: "text" | "json";
  readonly engine: EngineOptions;
}

export type Invocation =
  | { readonly action: "help" | "version" | "validate" }
  | { readonly action: "run"; readonly options: DaemonOptions };

/** @throws EngineError "invalid" */
export function readInvocation(args: readonly string[]): Invocation {
  const given = parseFlags(args);
  if (given.get("help") === true) return { action: "help" };
  if (given.get("version") === true) return { action: "version" };
  const options = readOptions(given);
  return given.get("validate") === true ? { action: "validate" } : { action: "run", options };
}

/** The options as the file says them now; for SIGHUP. */
export const rereadOptions = (args: readonly string[]): DaemonOptions =>
  readOptions(parseFlags(args));

function readOptions(given: FlagValues): DaemonOptions {
  const file = readConfigFile(textOf(given, "config-file") ?? DEFAULT_CONFIG_FILE);
  const both = [...file.values.keys()].filter((name) => given.has(name) && name !== "debug");
  if (both.length > 0) {
    throw invalid(
      "the following directives are specified both as a flag and in the configuration file: " +
        both.map((name) => `${name} (from flag: ${JSON.stringify(given.get(name))})`).join(", "),
    );
  }
  const values: FlagValues = new Map([...file.values, ...given]);
  const dataRoot = pathOf(values, "data-root", DEFAULT_DATA_ROOT);
  const execRoot = pathOf(values, "exec-root", DEFAULT_EXEC_ROOT);
  const level = values.get("debug") === true ? "debug" : (textOf(values, "log-level") ?? "info");
  const logLevel = parseLogLevel(level);
  if (logLevel === null) throw invalid(`invalid logging level: ${level}`);
  const logFormat = textOf(values, "log-format") ?? "text";
  if (logFormat !== "text" && logFormat !== "json")
    throw invalid(`invalid log format: ${logFormat}`);
  return {
    dataRoot,
    execRoot,
    hosts: hostsOf(listOf(values, "host"), execRoot),
    group: textOf(values, "group"),
    pidFile: pathOf(values, "pidfile", `${execRoot}/naru.pid`),
    bridge: {
      name: textOf(values, "bridge"),
      address: textOf(values, "bip"),
      mtu: (values.get("mtu") as number | undefined) ?? null,
    },
    insecureRegistries: listOf(values, "insecure-registry"),
    registryMirrors: listOf(values, "registry-mirror"),
    labels: listOf(values, "label"),
    liveRestore: values.get("live-restore") !== false,
    logLevel,
    logFormat,
    engine: engineOptionsOf(values, file, dataRoot),
  };
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

function hostsOf(hosts: readonly string[], execRoot: string): DaemonOptions["hosts"] {
  if (hosts.length === 0) return [{ path: `${execRoot}/naru.sock` }];
  return hosts.map((host) => {
    if (host.startsWith("unix://")) {
      const path = host.slice("unix://".length);
      if (!isAbsolute(path))
        throw invalid(`invalid bind address (${host}): the path must be absolute`);
      return { path };
    }
    if (host.startsWith("fd://")) return { activation: true };
    if (/^(tcp|http|https):/.test(host) || /^[\w.-]*:\d+$/.test(host)) {
      throw invalid(
        `${host}: TCP sockets are not supported yet: use unix:///path, and ssh to reach another machine`,
      );
    }
    throw invalid(`invalid bind address (${host}): use unix:///path or fd://`);
  });
}

interface ConfigFile {
  readonly values: FlagValues;
  readonly runtimes: Readonly<Record<string, string>>;
  readonly ulimits: EngineOptions["defaultUlimits"];
}

function readConfigFile(path: string): ConfigFile {
  const nothing: ConfigFile = { values: new Map(), runtimes: {}, ulimits: [] };
  if (!existsSync(path)) return nothing;
  const wrong = (why: string) =>
    invalid(`unable to configure the daemon with file ${path}: ${why}`);
  const text = readFileSync(path, "utf8");
  if (text.length > CONFIG_LIMIT_BYTES) throw wrong("it is too large");
  if (text.trim() === "") return nothing;
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw wrong(sentenceOf(cause));
  }
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw wrong("it is no JSON object");
  }
  const values: FlagValues = new Map();
  const unknown: string[] = [];
  for (const [key, value] of Object.entries(document)) {
    const flag = flagOfKey(key);
    if (flag !== undefined) values.set(flag.name, checkFileValue(flag, value));
    else if (!FILE_ONLY_KEYS.has(key)) unknown.push(key);
  }
  if (unknown.length > 0) {
    throw wrong(
      `the following directives don't match any configuration option: ${unknown.join(", ")}`,
    );
  }
  const { runtimes, "default-ulimits": ulimits } = document as Record<string, unknown>;
  return { values, runtimes: runtimesOf(runtimes), ulimits: fileUlimitsOf(ulimits) };
}

function runtimesOf(value: unknown): Record<string, string> {
  if (value === undefined) return {};
  if (typeof value !== "object" || value === null) throw invalid('"runtimes" is no object');
  return Object.fromEntries(
    Object.entries(value as Record<string, unknown>).map(([name, entry]) => {
      const { path, ...others } = (entry ?? {}) as { path?: unknown };
      const [other] = Object.keys(others);
      if (other !== undefined) throw invalid(`runtime ${name}: "${other}" is not supported`);
      if (typeof path !== "string" || path === "") throw invalid(`runtime ${name}: it has no path`);
      return [name, path];
    }),
  );
}

type Ulimits = EngineOptions["defaultUlimits"];

function fileUlimitsOf(value: unknown): Ulimits {
  if (value === undefined) return [];
  if (typeof value !== "object" || value === null) throw invalid('"default-ulimits" is no object');
  return Object.entries(value as Record<string, { Soft?: unknown; Hard?: unknown }>).map(
    ([name, { Soft: soft, Hard: hard }]) => {
      if (typeof soft !== "number" || typeof hard !== "number") {
        throw invalid(`default-ulimits: ${name} needs the numbers Soft and Hard`);
      }
      return { name, soft, hard };
    },
  );
}

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
    defaultShmSizeBytes: sizeOf(textOf(values, "default-shm-size") ?? "64M"),
    init: values.get("init") === true,
    initPath: initPathOf(textOf(values, "init-path")),
    cgroupParent: textOf(values, "cgroup-parent") ?? defaultCgroupParent(dataRoot),
    defaultUlimits: [...file.ulimits, ...flagUlimitsOf(listOf(values, "default-ulimit"))],
    dns: listOf(values, "dns"),
    dnsSearch: listOf(values, "dns-search"),
    dnsOptions: listOf(values, "dns-opt"),
  };
}

const UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

function sizeOf(text: string): number {
  const match = /^(\d{1,12})\s*([bkmg]?)(?:i?b)?$/i.exec(text);
  if (match === null) throw invalid(`invalid size: '${text}'`);
  return Number(match[1]) * (UNITS[(match[2] ?? "").toLowerCase()] ?? 1);
}

/** null when none is installed: then `--init` is refused by name. @throws EngineError for a path that is not there */
function initPathOf(asked: string | null): string | null {
  if (asked !== null) {
    const found = isAbsolute(asked) ? (existsSync(asked) ? asked : null) : Bun.which(asked);
    if (found === null) throw invalid(`--init-path ${asked}: there is no such program`);
    return found;
  }
  for (const name of ["docker-init", "tini-static", "tini"]) {
    const found = Bun.which(name);
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
