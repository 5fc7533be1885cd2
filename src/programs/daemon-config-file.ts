/** The configuration file: dockerd's keys and dockerd's sentences about what is wrong with it. */
import { existsSync, readFileSync } from "node:fs";

import { type EngineError, invalid, sentenceOf } from "#base";
import type { Entitlement } from "#engine/build";
import type { EngineOptions } from "#engine/container";
import { formatRuntimeCommand } from "#engine/runtime";

import type { HistoryLimits } from "#servers/build-api";

import {
  builderOf,
  type CachePolicies,
  entitlementsOf,
  historyLimitsOf,
} from "./daemon-builder.ts";
import { checkFileValue, flagOfKey, type FlagValues, keyOfFlag } from "./daemon-flag-parser.ts";
import { FILE_ONLY_KEYS } from "./daemon-flags.ts";
import { isObject } from "./daemon-json.ts";

const CONFIG_LIMIT_BYTES = 1024 * 1024;
/** Groups of keys; what is in them counts as if it stood outside. */
const NESTED = new Set(["proxies"]);

export interface ConfigFile {
  readonly values: FlagValues;
  /** Name to command, see `formatRuntimeCommand`. */
  readonly runtimes: Readonly<Record<string, string>>;
  readonly ulimits: EngineOptions["defaultUlimits"];
  readonly features: Readonly<Record<string, boolean>>;
  /** `base=10.10.0.0/16,size=24`, as the flag says them. */
  readonly addressPools: readonly string[];
  /** As it stands there. */
  readonly networkOptions: unknown;
  readonly cachePolicies: CachePolicies;
  readonly buildEntitlements: ReadonlySet<Entitlement>;
  /** undefined: nothing is said of it. */
  readonly buildHistory: HistoryLimits | undefined;
  /** The init program of whoever made the package; null: none is named. */
  readonly defaultInit: string | null;
}

const NOTHING: ConfigFile = {
  values: new Map(),
  runtimes: {},
  ulimits: [],
  features: {},
  addressPools: [],
  networkOptions: undefined,
  cachePolicies: null,
  buildEntitlements: entitlementsOf(undefined),
  buildHistory: undefined,
  defaultInit: null,
};

/**
 * @param asked true when a person named the file: then it must be there
 * @throws EngineError "invalid": `unable to configure the Docker daemon with file …`
 */
export function readConfigFile(path: string, given: FlagValues, asked: boolean): ConfigFile {
  const wrong = (why: string) =>
    invalid(`unable to configure the Docker daemon with file ${path}: ${why}`);
  if (!existsSync(path)) {
    if (!asked) return NOTHING;
    throw wrong(`open ${path}: no such file or directory`);
  }
  const text = readFileSync(path, "utf8").replace(/^\uFEFF/, "");
  if (text.length > CONFIG_LIMIT_BYTES) throw wrong("it is too large");
  if (text.trim() === "") return NOTHING;
  const document = parse(text, wrong);
  const values: FlagValues = new Map();
  const unknown: string[] = [];
  for (const [key, value] of Object.entries(document)) {
    const flag = flagOfKey(key);
    if (flag !== undefined) {
      const checked = attempt(() => checkFileValue(flag, value), wrong);
      values.set(flag.name, checked);
    } else if (!FILE_ONLY_KEYS.has(key)) unknown.push(key);
  }
  if (unknown.length > 0) {
    throw wrong(
      `the following directives don't match any configuration option: ${unknown.join(", ")}`,
    );
  }
  refuseConflicts(given, document, wrong);
  const { runtimes, "default-ulimits": ulimits, features } = document;
  const { "default-address-pools": pools, "default-network-opts": networkOptions } = document;
  return attempt(
    () => ({
      values,
      runtimes: runtimesOf(runtimes),
      ulimits: ulimitsOf(ulimits),
      features: featuresOf(features),
      addressPools: addressPoolsOf(pools),
      networkOptions,
      cachePolicies: builderOf(document["builder"]),
      buildEntitlements: entitlementsOf(document["builder"]),
      buildHistory: historyLimitsOf(document["builder"]),
      defaultInit: defaultInitOf(document["default-init"]),
    }),
    wrong,
  );
}

type Wrong = (why: string) => EngineError;

function attempt<T>(work: () => T, wrong: Wrong): T {
  try {
    return work();
  } catch (cause) {
    throw wrong(sentenceOf(cause));
  }
}

function parse(text: string, wrong: Wrong): Record<string, unknown> {
  const document: unknown = attempt(() => JSON.parse(text) as unknown, wrong);
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw wrong("it is no JSON object");
  }
  const flat = Object.entries(document).flatMap(([key, value]: [string, unknown]) =>
    // The older name, of one address.
    key === "host-gateway-ip" && typeof value === "string"
      ? [["host-gateway-ips", [value]] as [string, unknown]]
      : NESTED.has(key) && typeof value === "object" && value !== null
        ? (Object.entries(value) as [string, unknown][])
        : [[key, value] as [string, unknown]],
  );
  return Object.fromEntries(flat);
}

/** The file and a flag may not both say something, even the same: which of them counts would be a guess. */
function refuseConflicts(
  given: FlagValues,
  document: Readonly<Record<string, unknown>>,
  wrong: Wrong,
): void {
  const KEYS: Readonly<Record<string, string>> = {
    "default-address-pool": "default-address-pools",
    "default-network-opt": "default-network-opts",
    "default-ulimit": "default-ulimits",
    feature: "features",
  };
  const conflicts = [...given].flatMap(([name, value]) => {
    const key = KEYS[name] ?? keyOfFlag(name);
    if (!Object.hasOwn(document, key)) return [];
    return [`${key}: (from flag: ${shown(value)}, from file: ${shown(document[key])})`];
  });
  if (conflicts.length === 0) return;
  throw wrong(
    `the following directives are specified both as a flag and in the configuration file: ${conflicts.join(", ")}`,
  );
}

/** As Go prints a value, without a proxy's password. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return `[${value.join(" ")}]`;
  if (typeof value !== "string") return JSON.stringify(value);
  return value.replace(/\/\/[^/@]*@/, "//xxxxx:xxxxx@");
}

function runtimesOf(value: unknown): Record<string, string> {
  if (value === undefined) return {};
  if (!isObject(value)) throw invalid('"runtimes" is no object');
  return Object.fromEntries(
    Object.entries(value).map(([name, entry]) => {
      const { path, runtimeArgs = [], ...others } = isObject(entry) ? entry : {};
      const [other] = Object.keys(others);
      if (other !== undefined) throw invalid(`runtime ${name}: "${other}" is not supported`);
      if (typeof path !== "string" || path === "") throw invalid(`runtime ${name}: it has no path`);
      if (!isStrings(runtimeArgs))
        throw invalid(`runtime ${name}: runtimeArgs is no list of texts`);
      return [name, formatRuntimeCommand({ path, args: runtimeArgs })];
    }),
  );
}

const isStrings = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((each) => typeof each === "string");

function ulimitsOf(value: unknown): EngineOptions["defaultUlimits"] {
  if (value === undefined) return [];
  if (!isObject(value)) throw invalid('"default-ulimits" is no object');
  return Object.entries(value).map(([name, limit]) => {
    const { Soft: soft, Hard: hard } = isObject(limit) ? limit : {};
    if (typeof soft !== "number" || typeof hard !== "number") {
      throw invalid(`default-ulimits: ${name} needs the numbers Soft and Hard`);
    }
    return { name, soft, hard };
  });
}

function featuresOf(value: unknown): Record<string, boolean> {
  if (value === undefined) return {};
  if (!isObject(value)) throw invalid('"features" is no object');
  return Object.fromEntries(
    Object.entries(value).map(([name, on]) => {
      if (typeof on !== "boolean") throw invalid(`features: ${name} is neither true nor false`);
      return [name, on];
    }),
  );
}

function defaultInitOf(value: unknown): string | null {
  if (value === undefined || value === "") return null;
  if (typeof value !== "string") throw invalid('"default-init" is no text');
  return value;
}

function addressPoolsOf(value: unknown): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalid('"default-address-pools" is no list');
  return value.map((pool: unknown) => {
    const { base, size } = isObject(pool) ? pool : {};
    if (typeof base !== "string" || typeof size !== "number") {
      throw invalid("default-address-pools: each needs a base and a size");
    }
    return `base=${base},size=${size}`;
  });
}
