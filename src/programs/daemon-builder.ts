/** `builder` of the configuration file: what of the build cache is kept. Docker's keys, Docker's defaults. */
import { statfsSync } from "node:fs";

import { invalid, parseDuration, sentenceOf } from "#base";
import type { BuildPruneRequest, Entitlement } from "#engine/build";
import { parseSize } from "#engine/log-delivery";
import type { HistoryLimits } from "#servers/build-api";
import { decodeBuildPrune } from "#servers/docker-api";

import { isObject } from "./daemon-json.ts";

/** One policy, with its filters as written: "not used for 48h" is another moment each time. */
export type CachePolicy = Parameters<typeof decodeBuildPrune>[0];

/** null: as Docker does without being told, by the size of the disk. Empty: never. */
export type CachePolicies = readonly CachePolicy[] | null;

type Limits = BuildPruneRequest["limits"];

const NO_LIMITS: Limits = { reservedBytes: 0, maxUsedBytes: 0, minFreeBytes: 0 };

/** @throws EngineError "invalid" */
export function builderOf(value: unknown): CachePolicies {
  if (value === undefined) return null;
  const { gc, entitlements: _, history: __, ...others } = fieldsOf(value, "builder");
  refuseOthers(others, "builder");
  return gc === undefined ? null : collectionOf(fieldsOf(gc, "builder.gc"));
}

function collectionOf(gc: Record<string, unknown>): CachePolicies {
  const { enabled = true, policy, ...sizes } = gc;
  if (typeof enabled !== "boolean") throw invalid("builder.gc.enabled is neither true nor false");
  const limits = limitsOf(sizes, "default");
  if (policy !== undefined && policy !== null && !Array.isArray(policy)) {
    throw invalid("builder.gc.policy is no list");
  }
  const policies = policy?.map((rule: unknown, index: number) => {
    const where = `builder.gc.policy[${index}]`;
    const { all = false, filter, ...own } = fieldsOf(rule, where);
    if (typeof all !== "boolean") throw invalid(`${where}.all is neither true nor false`);
    const asked: CachePolicy = {
      all,
      filters: filtersOf(filter, where),
      limits: limitsOf(own, ""),
    };
    decodeBuildPrune(asked);
    return asked;
  });
  if (!enabled) return [];
  if (policies !== undefined) return policies;
  return Object.values(limits).every((bytes) => bytes === 0) ? null : defaultPolicies(limits);
}

/** Go takes keys in any case. */
function fieldsOf(value: unknown, where: string): Record<string, unknown> {
  if (!isObject(value)) throw invalid(`${where} is no object`);
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key.toLowerCase(), each]));
}

function refuseOthers(others: Record<string, unknown>, where: string): void {
  const [other] = Object.keys(others);
  if (other !== undefined) throw invalid(`${where}.${other} is not supported by this engine`);
}

function limitsOf(fields: Record<string, unknown>, prefix: "default" | ""): Limits {
  const take = (name: string): number => {
    const key = `${prefix}${name}`;
    const { [key]: text = "" } = fields;
    delete fields[key];
    if (typeof text !== "string") throw invalid(`failed to parse ${key}: it is no text`);
    if (text === "") return 0;
    try {
      return parseSize(text, 1024);
    } catch (cause) {
      throw invalid(`failed to parse ${key}: ${sentenceOf(cause)}`);
    }
  };
  const kept = take("keepstorage");
  const reserved = take("reservedspace");
  const limits = {
    reservedBytes: reserved === 0 ? kept : reserved,
    maxUsedBytes: take("maxusedspace"),
    minFreeBytes: take("minfreespace"),
  };
  refuseOthers(fields, "builder.gc");
  return limits;
}

/** `["unused-for=48h", "type=exec.cachemount"]`, or the older `{"unused-for": {"48h": true}}`. */
function filtersOf(value: unknown, where: string): CachePolicy["filters"] {
  const filters: Record<string, string[]> = {};
  const add = (name: string, text: string) => void (filters[name] ??= []).push(text);
  if (value === undefined || value === null) return filters;
  if (isObject(value)) {
    for (const [name, values] of Object.entries(value)) {
      if (!isObject(values)) throw invalid(`${where}.filter: ${name} is no object`);
      for (const text of Object.keys(values)) add(name, text);
    }
    return filters;
  }
  if (!Array.isArray(value)) throw invalid(`${where}.filter is no list`);
  for (const entry of value) {
    if (typeof entry !== "string") throw invalid(`${where}.filter: its entries are texts`);
    const [name = "", ...rest] = entry.split("=");
    add(name.trim().toLowerCase(), rest.join("=").trim());
  }
  return filters;
}

const ENTITLEMENT_KEYS = new Map<string, Entitlement>([
  ["network-host", "network.host"],
  ["security-insecure", "security.insecure"],
  ["device", "device"],
]);

/** What builds may ask for with `--allow`. @throws EngineError "invalid" */
export function entitlementsOf(builder: unknown): ReadonlySet<Entitlement> {
  const allowed = new Set<Entitlement>(["network.host", "device"]);
  const given = builder === undefined ? undefined : fieldsOf(builder, "builder")["entitlements"];
  if (given === undefined) return allowed;
  for (const [name, value] of Object.entries(fieldsOf(given, "builder.entitlements"))) {
    if (typeof value !== "boolean") {
      throw invalid(`builder.entitlements.${name} is neither true nor false`);
    }
    const entitlement = ENTITLEMENT_KEYS.get(name);
    if (entitlement === undefined) {
      throw invalid(`builder.entitlements.${name} cannot be ${value} here`);
    }
    if (value) allowed.add(entitlement);
    else allowed.delete(entitlement);
  }
  return allowed;
}

/** What `buildx history` keeps. Docker takes what is not said for 0. @throws EngineError "invalid" */
export function historyLimitsOf(builder: unknown): HistoryLimits | undefined {
  const given = builder === undefined ? undefined : fieldsOf(builder, "builder")["history"];
  if (given === undefined) return undefined;
  const { maxage = "", maxentries = 0, ...others } = fieldsOf(given, "builder.history");
  refuseOthers(others, "builder.history");
  if (!Number.isSafeInteger(maxentries) || Number(maxentries) < 0) {
    throw invalid("builder.history.maxEntries is no number of builds");
  }
  if (typeof maxage !== "string") throw invalid("builder.history.maxAge is no text");
  return { maxEntries: Number(maxentries), maxAgeMs: ageOf(maxage) };
}

/** A duration, or seconds. */
function ageOf(text: string): number {
  if (text === "") return 0;
  if (/^-?\d+$/.test(text)) return Number(text) * 1000;
  try {
    return parseDuration(text) / 1e6;
  } catch (cause) {
    throw invalid(`builder.history.maxAge: invalid duration ${text}`, { cause });
  }
}

/** The policies as they are meant now. @param folder on the disk of the cache */
export function cachePoliciesNow(policies: CachePolicies, folder: string): BuildPruneRequest[] {
  return (policies ?? defaultPolicies(shareOfDisk(folder))).map(decodeBuildPrune);
}

const GIB = 2 ** 30;

/** Docker's: a tenth of the disk may always be used, eight tenths at most, two tenths stay free. */
function shareOfDisk(folder: string): Limits {
  const { blocks, bsize } = statfsSync(folder);
  const percent = (share: number) =>
    (Math.floor(Math.floor((blocks * bsize * share) / 100) / GIB) + 1) * 1e9;
  return { reservedBytes: percent(10), maxUsedBytes: percent(80), minFreeBytes: percent(20) };
}

/** Of what is reserved, this part may be taken by what is the easiest to make again. */
const TEMPORARY_SHARE = (Math.E * Math.PI * 1.618033988749895) / 100;
const TEMPORARY_LEAST_BYTES = 512e6;

function defaultPolicies(limits: Limits): CachePolicy[] {
  const temporaryBytes = Math.max(
    Math.round(limits.reservedBytes * TEMPORARY_SHARE),
    TEMPORARY_LEAST_BYTES,
  );
  return [
    {
      all: false,
      filters: { type: ["exec.cachemount"], until: ["48h"] },
      limits: { ...NO_LIMITS, maxUsedBytes: temporaryBytes },
    },
    { all: false, filters: { until: ["1440h"] }, limits },
    { all: false, filters: {}, limits },
    { all: true, filters: {}, limits },
  ];
}
