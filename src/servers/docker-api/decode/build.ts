/** The query of `POST /build`: what the docker CLI without BuildKit sends, decoded; what cannot be honoured is refused. */
import { invalid, notImplemented } from "#base";
import type { BuildRequest } from "#engine/build";
import type { RegistryCredentials } from "#engine/image";
import {
  DEFAULT_DOMAIN,
  formatReference,
  parsePlatform,
  parseReference,
  withDefaultTag,
} from "#oci";
import { parseJson } from "#wire/http";

import type { Call } from "../call.ts";
import { type ClientCaches, decodeCacheSources, decodeCacheTargets } from "./build-cache.ts";
import { decodeNetworkMode } from "./modes.ts";
import { decodeCredentials } from "./registry-auth.ts";

/** What of a request the query and the headers say. */
export type BuildOptions = Omit<BuildRequest, "context" | "signal" | "inOrder" | "onEvent">;

/** Secrets of one build, all together. */
const SECRETS_LIMIT_BYTES = 1024 * 1024;
const HUB_KEY = "https://index.docker.io/v1/";

/** @throws EngineError "invalid" or "notImplemented" */
export function decodeBuild(call: Call, caches: ClientCaches | null): BuildOptions {
  const { query } = call;
  if (query.text("version") !== "2") refuse(call);
  const platform = query.text("platform");
  return {
    folders: null,
    results: new Map(),
    offer: query.text("offer"),
    remote: query.text("remote"),
    contexts: decodeContexts(query.text("contexts")),
    dockerfile: query.text("dockerfile"),
    tags: [
      ...new Set(
        query
          .all("t")
          .filter((tag) => tag !== "")
          .map(decodeTag),
      ),
    ],
    noCache: query.bool("nocache"),
    noCacheStages: query.all("nocachefilter"),
    pull: query.bool("pull"),
    buildArgs: decodeArguments(query.text("buildargs")),
    labels: decodeLabels(query.text("labels")),
    target: query.text("target"),
    platform: platform === "" ? null : parsePlatform(platform),
    network: decodeNetworkMode(query.text("networkmode")),
    host: decodeHost(call),
    secrets: decodeSecrets(call.header("x-naru-build-secrets")),
    agents: decodeAgents(call.header("x-naru-build-agents")),
    credentials: decodeRegistryConfig(call.header("x-registry-config")),
    cacheFrom: decodeCacheSources(query.text("cachefrom"), caches),
    cacheTo: decodeCacheTargets(query.text("cacheto"), caches),
    squash: query.bool("squash"),
    checkOnly: query.bool("check"),
    entitlements: query.all("allow"),
  };
}

function refuse({ query }: Call): void {
  const isolation = query.text("isolation");
  if (isolation !== "" && isolation.toLowerCase() !== "default") {
    throw invalid(`Unsupported isolation: ${JSON.stringify(isolation)}`);
  }
  for (const { Type: type } of decodeOutputs(query.text("outputs"))) {
    if (type !== "image" && type !== "docker") {
      throw notImplemented(`not implemented yet: the build output "${type}" here`);
    }
  }
}

function decodeOutputs(text: string): { Type: string }[] {
  if (text === "") return [];
  const parsed = parseJson(text);
  if (!Array.isArray(parsed)) throw invalid("invalid outputs");
  return parsed.map((output: unknown) => {
    const { Type: type } = (output ?? {}) as { Type?: unknown };
    return { Type: typeof type === "string" ? type : "" };
  });
}

function decodeTag(text: string): string {
  const reference = parseReference(text);
  if (reference.digest !== null) throw invalid("build tag cannot contain a digest");
  return formatReference(withDefaultTag(reference));
}

function recordOf(text: string, name: string): Record<string, unknown> {
  if (text === "") return {};
  const parsed = parseJson(text);
  if (parsed === null) return {};
  if (typeof parsed !== "object" || Array.isArray(parsed)) throw invalid(`invalid ${name}`);
  return parsed as Record<string, unknown>;
}

function decodeArguments(text: string): Record<string, string | null> {
  return Object.fromEntries(
    Object.entries(recordOf(text, "buildargs")).map(([name, value]) => {
      if (typeof value === "string") return [name, value];
      if (value === null) return [name, null];
      throw invalid("error reading build args: a value is no text");
    }),
  );
}

function decodeLabels(text: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(recordOf(text, "labels")).map(([name, value]) => {
      if (typeof value === "string") return [name, value];
      throw invalid("error reading labels: a value is no text");
    }),
  );
}

function decodeHost({ query }: Call): BuildOptions["host"] {
  const number = (name: string) => query.integer(name) ?? 0;
  return {
    extraHosts: query.all("extrahosts"),
    shmSizeBytes: query.integer("shmsize"),
    ulimits: decodeUlimits(query.text("ulimits")),
    cgroupParent: query.text("cgroupparent"),
    securityOptions: query.all("securityopt"),
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
      cpusetCpus: query.text("cpusetcpus"),
      cpusetMems: query.text("cpusetmems"),
      pidsLimit: null,
      blkioWeight: 0,
    },
  };
}

function decodeUlimits(text: string): BuildOptions["host"]["ulimits"] {
  if (text === "") return [];
  const parsed = parseJson(text);
  if (parsed === null) return [];
  if (!Array.isArray(parsed)) throw invalid("error reading ulimit settings: no list");
  return parsed.map((item: unknown) => {
    const { Name: name, Soft: soft, Hard: hard } = (item ?? {}) as Record<string, unknown>;
    const isGood =
      typeof name === "string" && Number.isSafeInteger(soft) && Number.isSafeInteger(hard);
    if (!isGood) throw invalid("error reading ulimit settings: no limit");
    return { name, soft: Number(soft), hard: Number(hard) };
  });
}

const fromBase64 = (text: string): string => Buffer.from(text, "base64").toString();

/** Naru's own: `{"id": "<base64>"}` in base64. In a header, since a query is logged. */
function decodeSecrets(header: string): ReadonlyMap<string, Uint8Array> {
  if (header.length > SECRETS_LIMIT_BYTES) throw invalid("the build's secrets are too large");
  const secrets = Object.entries(recordOf(fromBase64(header), "secrets"));
  return new Map(
    secrets.map(([id, value]) => {
      if (typeof value !== "string") throw invalid(`invalid secret ${id}`);
      return [id, new Uint8Array(Buffer.from(value, "base64"))];
    }),
  );
}

/** Naru's own: `{"name": "docker-image://…"}`, as `--build-context` has them. */
function decodeContexts(text: string): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(recordOf(text, "contexts")).map(([name, value]) => {
      if (typeof value === "string" && name !== "") return [name, value];
      throw invalid(`invalid context ${name}`);
    }),
  );
}

/** Naru's own: `{"default": "/path/of/agent.sock"}` in base64; the client is on this host. */
function decodeAgents(header: string): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(recordOf(fromBase64(header), "agents")).map(([id, path]) => {
      if (typeof path === "string" && path.startsWith("/")) return [id, path];
      throw invalid(`invalid agent ${id}`);
    }),
  );
}

/** Credentials for every registry that the client knows. One that cannot be read is none, as in Docker. */
function decodeRegistryConfig(header: string): (domain: string) => RegistryCredentials | undefined {
  const known = new Map<string, RegistryCredentials>();
  let parsed: Record<string, unknown> = {};
  try {
    parsed = recordOf(fromBase64(header), "registry config");
  } catch {
    // No credentials, then.
  }
  for (const [key, value] of Object.entries(parsed)) {
    const domain = key === HUB_KEY ? DEFAULT_DOMAIN : key.replace(/^https?:\/\//, "").split("/")[0];
    const encoded = Buffer.from(JSON.stringify(value)).toString("base64");
    const credentials = decodeCredentials(encoded);
    if (domain !== undefined && credentials !== undefined) known.set(domain, credentials);
  }
  return (domain) => known.get(domain);
}
