/** What single options of the daemon may say. Pure. */
import { isIP } from "node:net";

import { invalid } from "#base";
import { API_VERSION, compareApiVersions, MIN_API_VERSION } from "#wire/docker";

/** Features of dockerd: those that may be on here, and why the others may not. */
const FEATURES: Readonly<Record<string, string | null>> = {
  cdi: null,
  // Only tells clients which builder to ask for by themselves; they are told by the ping that there is no BuildKit.
  buildkit: null,
  "containerd-snapshotter": "there is no containerd",
  "containerd-migration": "there is no containerd",
};

/** What is not there may be off. @throws EngineError "invalid" */
export function checkFeatures(features: Record<string, boolean>): Record<string, boolean> {
  for (const [name, on] of Object.entries(features)) {
    const why = Object.hasOwn(FEATURES, name) ? FEATURES[name] : undefined;
    if (why === undefined) throw invalid(`features: ${name} is not known`);
    if (on && why !== null) throw invalid(`features: ${name} cannot be true: ${why}`);
  }
  return features;
}

/** `--ip`; null and 0.0.0.0: any address. @throws EngineError "invalid" */
export function hostAddressOf(text: string | null): string | null {
  if (text === null || text === "0.0.0.0") return null;
  if (isIP(text) === 0) {
    throw invalid(`invalid argument "${text}" for "--ip" flag: ${text} is not an ip address`);
  }
  return text;
}

/** `1`, `0x1` or `0x1/0xff`: a mark of packets, and which of its bits count. @throws EngineError "invalid" */
export function markOf(text: string | null): string | null {
  if (text === null) return null;
  const isMark = (part: string) =>
    /^(0x[0-9a-fA-F]{1,8}|\d{1,10})$/.test(part) && Number(part) < 2 ** 32;
  const parts = text.split("/");
  if (parts.length > 2 || !parts.every(isMark)) {
    throw invalid(`invalid firewall mark "${text}": use mark or mark/mask`);
  }
  return text;
}

/** `DOCKER_MIN_API_VERSION`, as dockerd reads it; "" is not said. @throws EngineError "invalid" in Docker's words */
export function minApiVersionOf(text: string): string {
  if (text === "") return MIN_API_VERSION;
  const wrong = (why: string) => invalid(`invalid DOCKER_MIN_API_VERSION: ${why}`);
  if (/^v/i.test(text)) throw wrong('API version must be provided without "v" prefix');
  const isVersion = /^\d+(\.\d+)*$/.test(text);
  if (!isVersion || compareApiVersions(text, MIN_API_VERSION) < 0) {
    throw wrong(`minimum supported API version is ${MIN_API_VERSION}: ${text}`);
  }
  if (compareApiVersions(text, API_VERSION) > 0) {
    throw wrong(`maximum supported API version is ${API_VERSION}: ${text}`);
  }
  return text;
}

export interface RealtimeShare {
  readonly periodUsec: number;
  readonly runtimeUsec: number;
}

/** null: none was asked for. @throws EngineError "invalid" */
export function realtimeShareOf(periodUsec: number, runtimeUsec: number): RealtimeShare | null {
  if (periodUsec === 0 && runtimeUsec === 0) return null;
  if (periodUsec < 0 || runtimeUsec < 0) {
    throw invalid(`invalid cpu-rt-period or cpu-rt-runtime: ${Math.min(periodUsec, runtimeUsec)}`);
  }
  if (periodUsec !== 0 && runtimeUsec > periodUsec) {
    throw invalid("cpu-rt-runtime cannot be higher than cpu-rt-period");
  }
  return { periodUsec, runtimeUsec };
}

/** At most one of each family. @throws EngineError "invalid" */
export function hostGatewaysOf(texts: readonly string[]): readonly string[] {
  for (const text of texts) {
    if (isIP(text) === 0) throw invalid(`invalid host-gateway-ip: ${text} is not an ip address`);
  }
  for (const family of [4, 6]) {
    const all = texts.filter((text) => isIP(text) === family);
    if (all.length > 1) {
      throw invalid(`only one IPv${family} host gateway IP address can be specified`);
    }
  }
  return texts;
}

export interface MetricsAddress {
  /** "": every address of this host. */
  readonly host: string;
  readonly port: number;
}

/** `--metrics-addr`, as Go's listeners read it. @throws EngineError "invalid" */
export function metricsAddressOf(text: string | null): MetricsAddress | null {
  if (text === null) return null;
  const match = /^(\[[0-9a-fA-F:.%]+\]|[^:[\]/]*):(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port > 65_535) {
    throw invalid(`invalid metrics-addr: ${text}: use address:port`);
  }
  return { host: (match[1] ?? "").replace(/^\[|\]$/g, ""), port };
}
