/**
 * The attributes of BuildKit's Dockerfile frontend as a build's options. What is not done is refused.
 * Source: moby/buildkit, frontend/dockerui.
 */
import { invalid, notImplemented } from "#base";
import type { BuildRequest, CacheSource } from "#engine/build";
import { formatPlatform, hostPlatform, parsePlatform, type Platform } from "#oci";

/** What of a request the attributes say. */
export type FrontendOptions = Pick<
  BuildRequest,
  | "cacheFrom"
  | "remote"
  | "contexts"
  | "dockerfile"
  | "noCache"
  | "noCacheStages"
  | "pull"
  | "buildArgs"
  | "labels"
  | "target"
  | "platform"
  | "network"
  | "host"
> & {
  /** The client's names for its folders. */
  readonly folders: { readonly dockerfile: string; readonly context: string };
  /** The Dockerfile is in the client's folder, wherever the context is. */
  readonly isDockerfileLocal: boolean;
};

type Attributes = Readonly<Record<string, string>>;

/** Read here, or about what the client does itself. */
const KNOWN: ReadonlySet<string> = new Set([
  "add-hosts",
  "cache-from",
  "cache-imports",
  "cgroup-parent",
  "cmdline",
  "context",
  "contextkey",
  "cpuperiod",
  "cpuquota",
  "cpusetcpus",
  "cpusetmems",
  "cpushares",
  "dockerfilekey",
  "filename",
  "force-network-mode",
  "frontend.caps",
  "hostname",
  "image-resolve-mode",
  "memory",
  "memswap",
  "multi-platform",
  "no-cache",
  "platform",
  "requestid",
  "shm-size",
  "source",
  "target",
  "ulimit",
]);
/** `input-metadata:` goes with `context:`; `vcs:` and `local-sessionid:` say where a client's folder comes from. */
const PREFIXES = [
  // Said about what is built, when it is exported.
  "attest:",
  "build-arg:",
  "label:",
  "context:",
  "input-metadata:",
  "vcs:",
  "local-sessionid:",
];

/** Each is a build of its own. */
const PLATFORM_LIMIT = 32;

/**
 * The platforms that are asked for; none: this machine's. `isMany`: the result is a list, even of one.
 * @throws EngineError "invalid"
 */
export function platformsIn(attributes: Attributes): { all: Platform[]; isMany: boolean } {
  const listed = (attributes["platform"] ?? "").split(",").filter((text) => text.trim() !== "");
  const named = new Map(listed.map((text) => [formatPlatform(parsePlatform(text.trim())), text]));
  if (named.size > PLATFORM_LIMIT) throw invalid(`too many platforms: ${named.size}`);
  const all = [...named.keys()].map((text) => parsePlatform(text));
  // A build's own argument goes before what its client asks for.
  const text = attributes["build-arg:BUILDKIT_MULTI_PLATFORM"] || attributes["multi-platform"];
  const isForced = text ? isTrue(text) : null;
  if (isForced === false && all.length > 1) {
    throw invalid("conflicting config: returning multiple target platforms is not allowed");
  }
  return { all, isMany: isForced ?? all.length > 1 };
}

function isTrue(text: string): boolean {
  if (/^(?:1|t|T|true|TRUE|True)$/.test(text)) return true;
  if (/^(?:0|f|F|false|FALSE|False)$/.test(text)) return false;
  throw invalid(`invalid boolean value for multi-platform: ${text}`);
}

/** A cache as a client asks for it. */
export interface AskedCache {
  readonly type: unknown;
  readonly attributes: Attributes;
}

/**
 * @param platform null for this machine's
 * @param sourceOf what a cache that is asked for is
 * @throws EngineError "invalid" or "notImplemented"
 */
export function decodeAttributes(
  attributes: Attributes,
  platform: Platform | null,
  sourceOf: (asked: AskedCache) => CacheSource,
): FrontendOptions {
  refuse(attributes);
  const { context = "", filename = "", target = "" } = attributes;
  const noCache = attributes["no-cache"];
  const hostname = attributes["hostname"];
  const isRemote = context !== "";
  return {
    remote: isRemote ? context : "",
    folders: {
      dockerfile: attributes["dockerfilekey"] ?? "dockerfile",
      context: attributes["contextkey"] ?? "context",
    },
    isDockerfileLocal: !isRemote || attributes["dockerfilekey"] !== undefined,
    contexts: contextsOf(attributes, platform),
    dockerfile: filename,
    noCache: noCache === "",
    noCacheStages: noCache === undefined || noCache === "" ? [] : noCache.split(","),
    pull: pullOf(attributes["image-resolve-mode"] ?? ""),
    buildArgs: {
      ...(hostname === undefined ? {} : { BUILDKIT_SANDBOX_HOSTNAME: hostname }),
      ...prefixed(attributes, "build-arg:"),
    },
    labels: prefixed(attributes, "label:"),
    target,
    platform,
    network: networkOf(attributes["force-network-mode"] ?? ""),
    host: hostOf(attributes),
    cacheFrom: cachesIn(attributes).map(sourceOf),
  };
}

function refuse(attributes: Attributes): void {
  for (const name of Object.keys(attributes)) {
    if (!KNOWN.has(name) && !PREFIXES.some((prefix) => name.startsWith(prefix))) {
      throw notImplemented(`not implemented yet: the build attribute ${JSON.stringify(name)}`);
    }
  }
}

function prefixed(attributes: Attributes, prefix: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(attributes).flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [],
    ),
  );
}

/** By the names that a Dockerfile uses; one of several for a name is that for the platform. */
function contextsOf(
  attributes: Attributes,
  platform: Platform | null,
): ReadonlyMap<string, string> {
  const wanted = formatPlatform(platform ?? hostPlatform());
  const found = new Map<string, string>();
  for (const [name, value] of Object.entries(prefixed(attributes, "context:"))) {
    const [plain = "", only] = name.split("::");
    const isMeant = only === undefined || formatPlatform(parsePlatform(only)) === wanted;
    if (isMeant && (only !== undefined || !found.has(plain))) found.set(plain, value);
  }
  return found;
}

/** `cache-imports` is a list in JSON, `cache-from` one of images' names. */
function cachesIn(attributes: Attributes): AskedCache[] {
  const text = attributes["cache-imports"] ?? "";
  let parsed: unknown = [];
  try {
    if (text !== "") parsed = JSON.parse(text);
  } catch {
    throw invalid(`failed to unmarshal cache-imports (${JSON.stringify(text.slice(0, 100))})`);
  }
  const listed = (Array.isArray(parsed) ? parsed : []).map((one: unknown): AskedCache => {
    const { Type: type, Attrs: attrs } = (one ?? {}) as { Type?: unknown; Attrs?: unknown };
    const texts = Object.entries(attrs ?? {}).filter(
      (pair): pair is [string, string] => typeof pair[1] === "string",
    );
    return { type, attributes: Object.fromEntries(texts) };
  });
  const named = listOf(attributes["cache-from"] ?? "");
  return [...listed, ...named.map((ref) => ({ type: "registry", attributes: { ref } }))];
}

function pullOf(mode: string): boolean {
  switch (mode) {
    case "":
    case "default":
    case "local":
    case "preferlocal":
      return false;
    case "pull":
      return true;
    default:
      throw invalid(`invalid image-resolve-mode: ${mode}`);
  }
}

function networkOf(mode: string): BuildRequest["network"] {
  switch (mode) {
    case "":
    case "default":
    case "sandbox":
      return { mode: "network", name: "bridge" };
    case "none":
      return { mode: "none" };
    case "host":
      return { mode: "host" };
    default:
      throw invalid(`network mode "${mode}" not supported by buildkit`);
  }
}

function hostOf(attributes: Attributes): BuildRequest["host"] {
  const number = (name: string): number => integerOf(name, attributes[name] ?? "") ?? 0;
  return {
    extraHosts: listOf(attributes["add-hosts"] ?? "").map((text) => {
      const cut = text.indexOf("=");
      if (cut < 1)
        throw invalid(`failed to parse additional hosts: invalid key-value pair ${text}`);
      return `${text.slice(0, cut)}:${text.slice(cut + 1)}`;
    }),
    shmSizeBytes: integerOf("shm-size", attributes["shm-size"] ?? ""),
    ulimits: listOf(attributes["ulimit"] ?? "").map(ulimitOf),
    cgroupParent: attributes["cgroup-parent"] ?? "",
    securityOptions: [],
    resources: {
      memoryBytes: number("memory"),
      memorySwapBytes: number("memswap"),
      memoryReservationBytes: 0,
      memorySwappiness: null,
      oomKillDisable: false,
      cpuShares: number("cpushares"),
      nanoCpus: 0,
      cpuPeriodUsec: number("cpuperiod"),
      cpuQuotaUsec: number("cpuquota"),
      cpusetCpus: attributes["cpusetcpus"] ?? "",
      cpusetMems: attributes["cpusetmems"] ?? "",
      pidsLimit: null,
      blkioWeight: 0,
    },
  };
}

const listOf = (text: string): string[] =>
  text
    .split(",")
    .map((one) => one.trim().replaceAll(/^"|"$/g, ""))
    .filter((one) => one !== "");

function integerOf(name: string, text: string): number | null {
  if (text === "") return null;
  if (!/^-?\d{1,15}$/.test(text)) throw invalid(`invalid ${name}: ${JSON.stringify(text)}`);
  return Number(text);
}

/** `nofile=1024:2048`. */
function ulimitOf(text: string): BuildRequest["host"]["ulimits"][number] {
  const match = /^([a-z]+)=(-?\d{1,15})(?::(-?\d{1,15}))?$/.exec(text);
  if (match === null) throw invalid(`failed to parse ulimit: invalid ulimit argument: ${text}`);
  const [, name = "", soft = "", hard = soft] = match;
  return { name, soft: Number(soft), hard: Number(hard) };
}
