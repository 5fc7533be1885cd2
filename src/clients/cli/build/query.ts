/** The flags of `build` as the query of `POST /build`. */
import type { Flags } from "../flags/spec.ts";
import { parseUlimit } from "../options/checks.ts";
import { mapOf } from "../options/files.ts";
import { parseReference } from "../options/reference.ts";
import type { Environment } from "../config/session.ts";
import { type CacheEntry, encodeCacheEntries } from "./cache-options.ts";

export interface QueryExtras {
  readonly dockerfile: string;
  readonly remote: string;
  readonly tags: readonly string[];
  readonly offer: string;
  /** What `--build-context` names, as the engine can have it. */
  readonly contexts: Readonly<Record<string, string>>;
  readonly cacheFrom: readonly CacheEntry[];
  readonly cacheTo: readonly CacheEntry[];
}

/** Proxies of the client's configuration reach builds without being asked for, as Docker has it. */
export function buildQuery(
  flags: Flags,
  extras: QueryExtras,
  { environment, proxies }: { environment: Environment; proxies: Readonly<Record<string, string>> },
): string {
  const pairs: [string, string][] = [];
  const add = (name: string, value: string | number) => {
    if (value !== "" && value !== 0) pairs.push([name, String(value)]);
  };
  for (const tag of extras.tags) {
    parseReference(tag);
    add("t", tag);
  }
  add("remote", extras.remote);
  add("offer", extras.offer);
  add("dockerfile", extras.dockerfile);
  // The events behind Docker's lines, each when it happens. Docker's own engine answers with its lines all the same.
  add("events", 1);
  for (const [flag, name] of TOGGLES) add(name, flags.bool(flag) ? 1 : 0);
  for (const [flag, name] of TEXTS) add(name, flags.string(flag));
  for (const [flag, name] of NUMBERS) add(name, flags.number(flag));
  if (flags.string("on-fail") === "shell") add("onfail", "shell");
  for (const entitlement of flags.list("allow")) add("allow", entitlement);
  for (const stage of flags.list("no-cache-filter")) add("nocachefilter", stage);
  for (const host of flags.list("add-host")) add("extrahosts", host.replace("=", ":"));
  for (const option of flags.list("security-opt")) add("securityopt", option);
  add("buildargs", jsonOf({ ...proxies, ...argumentsOf(flags.list("build-arg"), environment) }));
  add("contexts", jsonOf(extras.contexts));
  add("labels", jsonOf(mapOf(flags.list("label"))));
  add("cachefrom", encodeCacheEntries(extras.cacheFrom));
  add("cacheto", encodeCacheEntries(extras.cacheTo));
  const limits = flags.list("ulimit").map(parseUlimit);
  if (limits.length > 0) add("ulimits", JSON.stringify(limits));
  return pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
}

const TOGGLES = [
  ["no-cache", "nocache"],
  ["pull", "pull"],
  ["squash", "squash"],
  ["check", "check"],
] as const;
const TEXTS = [
  ["target", "target"],
  ["platform", "platform"],
  ["network", "networkmode"],
  ["cgroup-parent", "cgroupparent"],
  ["cpuset-cpus", "cpusetcpus"],
  ["cpuset-mems", "cpusetmems"],
  // The engine says which there are.
  ["isolation", "isolation"],
] as const;
const NUMBERS = [
  ["memory", "memory"],
  ["memory-swap", "memswap"],
  ["cpu-shares", "cpushares"],
  ["cpu-period", "cpuperiod"],
  ["cpu-quota", "cpuquota"],
  ["shm-size", "shmsize"],
] as const;

const jsonOf = (values: object): string =>
  Object.keys(values).length === 0 ? "" : JSON.stringify(values);

/** A name alone takes its value from the client's environment; null: it has none there. */
function argumentsOf(
  texts: readonly string[],
  environment: Environment,
): Record<string, string | null> {
  return Object.fromEntries(
    texts.map((text) => {
      const equals = text.indexOf("=");
      if (equals >= 0) return [text.slice(0, equals), text.slice(equals + 1)];
      return [text, environment[text] ?? null];
    }),
  );
}
