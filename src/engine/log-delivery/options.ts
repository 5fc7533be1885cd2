/**
 * `--log-driver` and `--log-opt`: what each driver knows, in Docker's names, and what is wrong with them in Docker's
 * sentences. Pure, but for sockets that must be there.
 */
import { invalid } from "#base";

import { fluentdAddress, gelfAddress, syslogAddress } from "./address.ts";
import { type Expression, parseExpression } from "./expression.ts";
import { type LogOptions, parseBool, parseDurationMs, parseSize, parseUnsigned } from "./values.ts";

/** More rotated files than this is a typing error, and each costs a rename at every rotation. */
const FILES_LIMIT = 1000;
const LOCAL_SIZE_BYTES = 20 * 1024 * 1024;
const LOCAL_FILES = 5;
const RECONNECT_LEAST_MS = 100;
const RECONNECT_MOST_MS = 10_000;

/** Every driver there is; what else Docker has (awslogs, splunk, gcplogs, plugins) is refused by its name. */
export const LOG_DRIVERS = [
  "fluentd",
  "gelf",
  "journald",
  "json-file",
  "local",
  "none",
  "syslog",
] as const;
export type LogDriver = (typeof LOG_DRIVERS)[number];

/** Known to every driver. */
const COMMON = ["mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file"];
const BUILT_IN = new Set([...COMMON, "cache-compress"]);
const ATTRIBUTES = ["labels", "labels-regex", "env", "env-regex", "tag"];
const ROTATION = ["max-size", "max-file", "compress"];

const KNOWN: Readonly<Record<Exclude<LogDriver, "none">, ReadonlySet<string>>> = {
  "json-file": new Set([...ATTRIBUTES, ...ROTATION]),
  local: new Set([...ATTRIBUTES, ...ROTATION]),
  journald: new Set(ATTRIBUTES),
  syslog: new Set([
    ...ATTRIBUTES,
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
  ]),
  fluentd: new Set([
    ...ATTRIBUTES,
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
  ]),
  gelf: new Set([
    ...ATTRIBUTES,
    "gelf-address",
    "gelf-compression-level",
    "gelf-compression-type",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
  ]),
};

/** Docker's sentence of each driver differs. */
const unknownOption = (driver: LogDriver, key: string): string => {
  if (driver === "local") return `unknown log opt '${key}' for log driver local`;
  const quoted = driver === "gelf" ? JSON.stringify(key) : `'${key}'`;
  return `unknown log opt ${quoted} for ${driver} log driver`;
};

const isDriver = (name: string): name is LogDriver =>
  (LOG_DRIVERS as readonly string[]).includes(name);

/** @throws EngineError "invalid" in Docker's words */
export function parseLogDriver(name: string): LogDriver {
  if (!isDriver(name)) throw invalid(`logger: no log driver named '${name}' is registered`);
  return name;
}

/** @throws EngineError "invalid" in Docker's words */
export function checkLogOptions(log: { readonly driver: string; readonly options: LogOptions }) {
  const driver = parseLogDriver(log.driver);
  const { options } = log;
  // As Docker: what is not kept needs no options, and whatever it has means nothing.
  if (driver === "none") return;
  checkMode(options);
  const cached = options["cache-disabled"] ?? "";
  if (cached !== "" && !/^(1|0|t|f|true|false)$/i.test(cached)) {
    throw invalid(`invalid value for option cache-disabled: ${cached}`);
  }
  rotationOf("local", cacheOptions(options));
  for (const key of Object.keys(options)) {
    if (!KNOWN[driver].has(key) && !BUILT_IN.has(key)) throw invalid(unknownOption(driver, key));
  }
  checkExpression(options["labels-regex"]);
  checkExpression(options["env-regex"]);
  switch (driver) {
    case "json-file":
    case "local":
      rotationOf(driver, options);
      return;
    case "journald":
      return;
    case "syslog":
      syslogAddress(options["syslog-address"] ?? "");
      facilityOf(options["syslog-facility"] ?? "");
      syslogFormatOf(options["syslog-format"] ?? "");
      return;
    case "fluentd":
      fluentdSettings(options);
      return;
    case "gelf":
      checkGelf(options);
  }
}

function checkMode(options: LogOptions): void {
  const mode = options["mode"] ?? "";
  if (mode !== "" && mode !== "blocking" && mode !== "non-blocking") {
    throw invalid(`logger: logging mode not supported: ${mode}`);
  }
  const size = options["max-buffer-size"];
  if (size === undefined) return;
  if (mode !== "non-blocking") {
    throw invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'");
  }
  try {
    parseSize(size, 1024);
  } catch {
    throw invalid(`error parsing option max-buffer-size: invalid size: '${size}'`);
  }
}

/** null where nothing is asked for. @throws EngineError "invalid" */
export const checkExpression = (source: string | undefined): Expression | null =>
  source === undefined || source === "" ? null : parseExpression(source);

export interface Rotation {
  readonly maxSizeBytes: number | null;
  readonly maxFiles: number;
  readonly compress: boolean;
}

/** `cache-max-size` and its like, as the options of the local driver that they are. */
export const cacheOptions = (options: LogOptions): LogOptions =>
  Object.fromEntries(
    ROTATION.flatMap((name) => {
      const value = options[`cache-${name}`];
      return value === undefined ? [] : [[name, value]];
    }),
  );

/** @throws EngineError "invalid" */
export function rotationOf(driver: "json-file" | "local", options: LogOptions): Rotation {
  const isLocal = driver === "local";
  const size = options["max-size"];
  const files = options["max-file"];
  const compress = options["compress"];
  const isEndless = size === undefined || (!isLocal && size === "-1");
  const maxSizeBytes = isEndless ? (isLocal ? LOCAL_SIZE_BYTES : null) : parseSize(size, 1000);
  if (maxSizeBytes !== null && maxSizeBytes <= 0) {
    throw invalid("max-size must be a positive number");
  }
  const maxFiles = files === undefined ? (isLocal ? LOCAL_FILES : 1) : fileCount(files);
  const isCompressed = compress === undefined ? isLocal : parseBool(compress);
  if (isCompressed && isLocal && maxFiles < 2) {
    throw invalid("compression cannot be enabled when max file count is 1");
  }
  if (isCompressed && (maxFiles < 2 || maxSizeBytes === null)) {
    throw invalid("compress cannot be true when max-file is less than 2 or max-size is not set");
  }
  return { maxSizeBytes, maxFiles, compress: isCompressed };
}

function fileCount(text: string): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (count === 0) throw invalid("max-file cannot be less than 1");
  if (!(count <= FILES_LIMIT)) throw invalid(`invalid value for max-file: "${text}"`);
  return count;
}

/** By number; 12 to 15 have none. */
const FACILITIES = (
  "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - " +
  "local0 local1 local2 local3 local4 local5 local6 local7"
).split(" ");

/** 0 to 23. @throws EngineError "invalid" */
export function facilityOf(text: string): number {
  if (text === "") return FACILITIES.indexOf("daemon");
  const number = /^\d{1,2}$/.test(text) ? Number(text) : FACILITIES.indexOf(text);
  if (text === "-" || number < 0 || number > 23) throw invalid("invalid syslog facility");
  return number;
}

export type SyslogFormat = "" | "rfc3164" | "rfc5424" | "rfc5424micro";

/** @throws EngineError "invalid" */
export function syslogFormatOf(text: string): SyslogFormat {
  if (text === "" || text === "rfc3164" || text === "rfc5424" || text === "rfc5424micro") {
    return text;
  }
  throw invalid("invalid syslog format");
}

/** @throws EngineError "invalid" */
export function fluentdSettings(options: LogOptions) {
  const given = <T>(name: string, parse: (text: string) => T, otherwise: T): T => {
    const text = options[`fluentd-${name}`] ?? "";
    return text === "" ? otherwise : parse(text);
  };
  const reconnectMs = given("async-reconnect-interval", parseDurationMs, 0);
  if (reconnectMs !== 0 && (reconnectMs < RECONNECT_LEAST_MS || reconnectMs > RECONNECT_MOST_MS)) {
    throw invalid("invalid fluentd-async-reconnect-interval: value must be between 100ms and 10s");
  }
  return {
    address: fluentdAddress(options["fluentd-address"] ?? ""),
    /** Events that may wait while the server is away, where nobody waits for it. */
    bufferedEvents: given("buffer-limit", (text) => parseSize(text, 1024), 1024 * 1024),
    retryWaitMs: given("retry-wait", parseDurationMs, 1000),
    maxRetries: given("max-retries", parseUnsigned, 2 ** 31 - 1),
    isAsync: given("async", parseBool, false),
    reconnectMs,
    subSecond: given("sub-second-precision", parseBool, false),
    requestAck: given("request-ack", parseBool, false),
  };
}

function checkGelf(options: LogOptions): void {
  const { type } = gelfAddress(options["gelf-address"] ?? "");
  for (const [key, value] of Object.entries(options)) {
    const wrong = () =>
      invalid(
        `unknown value ${JSON.stringify(value)} for log opt ${JSON.stringify(key)} for gelf log driver`,
      );
    if (key.startsWith("gelf-compression-") && type !== "udp") {
      throw invalid("compression is only supported on UDP");
    }
    if (key === "gelf-compression-level" && !/^(-1|\+?\d)$/.test(value)) throw wrong();
    if (key === "gelf-compression-type" && !/^(gzip|zlib|none)$/.test(value)) throw wrong();
    if (!key.startsWith("gelf-tcp-")) continue;
    if (type !== "tcp") throw invalid(`${JSON.stringify(key)} is only valid for TCP`);
    if (!/^\d{1,9}$/.test(value)) {
      throw invalid(`${JSON.stringify(key)} must be a positive integer`);
    }
  }
}
