/** `--log-driver` and `--log-opt`: what is known, checked, and as the supervisor wants it. Pure. */
import { invalid, notImplemented } from "#base";
import type { LogTarget } from "#engine/supervisor";

import type { ContainerConfig, HostConfig } from "./config.ts";

type LogConfig = HostConfig["log"];

const KNOWN = new Set(["max-size", "max-file", "compress", "labels", "env", "mode"]);
/** Options Docker has and this engine has not: said so, never ignored. */
const NOT_YET = new Set(["labels-regex", "env-regex", "tag", "max-buffer-size"]);
/** More rotated files than this is a typing error, and each costs a rename at every rotation. */
const FILES_LIMIT = 1000;

/** @throws EngineError "invalid" in Docker's words, "notImplemented" for options that are not there yet */
export function checkLogOptions({ driver, options }: LogConfig): void {
  if (driver === "none") {
    const [option] = Object.keys(options);
    if (option !== undefined) throw invalid(`unknown log opt '${option}' for none log driver`);
    return;
  }
  if (driver !== "json-file")
    throw invalid(`logger: no log driver named '${driver}' is registered`);
  for (const [key, value] of Object.entries(options)) {
    if (NOT_YET.has(key)) throw notImplemented(`log opt '${key}' is not supported yet`);
    if (!KNOWN.has(key)) throw invalid(`unknown log opt '${key}' for json-file log driver`);
    if (key === "mode" && value !== "blocking") {
      if (value !== "non-blocking") throw invalid(`logger: logging mode not supported: ${value}`);
      throw notImplemented("log opt 'mode=non-blocking' is not supported yet");
    }
  }
  parseRotation(options);
}

/** Where a container's output is kept. */
export function logTargetOf(
  { driver, options }: LogConfig,
  container: { path: string; labels: ContainerConfig["labels"]; environment: readonly string[] },
): LogTarget {
  if (driver === "none") return { driver: "none" };
  return {
    driver: "json-file",
    path: container.path,
    ...parseRotation(options),
    attributes: {
      ...pickLabels(options["labels"], container.labels),
      ...pickVariables(options["env"], container.environment),
    },
  };
}

function parseRotation(options: LogConfig["options"]): {
  maxSizeBytes: number | null;
  maxFiles: number;
  compress: boolean;
} {
  const size = options["max-size"];
  const maxSizeBytes = size === undefined || size === "-1" ? null : parseSize(size);
  const files = options["max-file"] ?? "1";
  const maxFiles = /^\d{1,9}$/.test(files) ? Number(files) : NaN;
  if (!(maxFiles >= 1 && maxFiles <= FILES_LIMIT)) {
    throw invalid(
      maxFiles === 0 ? "max-file cannot be less than 1" : `invalid value for max-file: "${files}"`,
    );
  }
  const compress = options["compress"] ?? "false";
  if (!/^(1|0|t|f|true|false)$/i.test(compress)) {
    throw invalid(`strconv.ParseBool: parsing "${compress}": invalid syntax`);
  }
  const wanted = /^(1|t|true)$/i.test(compress);
  if (wanted && (maxFiles === 1 || maxSizeBytes === null)) {
    throw invalid("compress cannot be true when max-file is less than 2 or max-size is not set");
  }
  return { maxSizeBytes, maxFiles, compress: wanted };
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
};

function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([kmgt]?)(?:i?b)?$/i.exec(text);
  const bytes = Math.floor(Number(match?.[1]) * (UNITS[(match?.[2] ?? "").toLowerCase()] ?? NaN));
  if (match === null || !Number.isSafeInteger(bytes)) throw invalid(`invalid size: '${text}'`);
  if (bytes <= 0) throw invalid(`max-size must be a positive number`);
  return bytes;
}

const namesOf = (list: string | undefined): string[] =>
  (list ?? "").split(",").filter((name) => name !== "");

function pickLabels(
  list: string | undefined,
  labels: ContainerConfig["labels"],
): Record<string, string> {
  return Object.fromEntries(
    namesOf(list).flatMap((name) => {
      const value = labels[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

function pickVariables(
  list: string | undefined,
  environment: readonly string[],
): Record<string, string> {
  const wanted = new Set(namesOf(list));
  return Object.fromEntries(
    environment.flatMap((entry) => {
      const at = entry.indexOf("=");
      return at > 0 && wanted.has(entry.slice(0, at))
        ? [[entry.slice(0, at), entry.slice(at + 1)]]
        : [];
    }),
  );
}
