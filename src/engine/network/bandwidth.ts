/**
 * Limits of what an endpoint sends and receives, which Docker does not have: `naru.egress` and `naru.ingress`, as seen
 * from the container. They are driver options of an endpoint, else labels of the container, else options of the network.
 * The kernel's token buckets keep them: one on the container's end of a link, one on the host's.
 */
import { invalid } from "#base";
import type { LinkRate, Netlink } from "#linux/netlink";

import type { Bandwidth, BridgeEndpoint } from "./endpoint.ts";

type Options = Readonly<Record<string, string>>;

export const EGRESS = "naru.egress";
export const INGRESS = "naru.ingress";
const NAMES = [EGRESS, INGRESS] as const;

const UNITS: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["bit", 1],
  ["kbit", 1e3],
  ["mbit", 1e6],
  ["gbit", 1e9],
]);
/** Less would hold up a single packet for seconds; more no bridge carries. */
const SMALLEST_BITS = 8e3;
const LARGEST_BITS = 1e11;
/** What may pass at once after a pause, beyond one packet: 4 ms of the rate. */
const BURST_SECONDS = 0.004;
const SMALLEST_BURST_BYTES = 16_384;
const FRAME_BYTES = 64;
/** What waits longer is dropped, and TCP slows down. */
const QUEUE_SECONDS = 0.05;

/** Only what limits bandwidth, in the words it was asked for. */
export const bandwidthOptions = (options: Options): Record<string, string> =>
  Object.fromEntries(
    NAMES.flatMap((name) => {
      const text = options[name];
      return text === undefined || text === "" ? [] : [[name, text]];
    }),
  );

/** null where nothing is limited. @throws EngineError "invalid" */
export function bandwidthOf(options: Options): Bandwidth | null {
  const [egress, ingress] = [rateOf(options, EGRESS), rateOf(options, INGRESS)];
  if (egress === null && ingress === null) return null;
  return {
    ...(egress === null ? {} : { egressBytesPerSecond: egress }),
    ...(ingress === null ? {} : { ingressBytesPerSecond: ingress }),
  };
}

/** @throws EngineError "invalid" for a name that is ours and means nothing */
export function checkOwnOptions(options: Options): void {
  const unknown = Object.keys(options).find(
    (name) => name.startsWith("naru.") && name !== EGRESS && name !== INGRESS,
  );
  if (unknown !== undefined) throw invalid(`the driver option ${unknown} is not known`);
}

/** What only a link with an end on the host can be. @throws EngineError "invalid" */
export function checkBandwidth(driver: string, options: Options): void {
  const asked = bandwidthOf(options);
  if (asked?.ingressBytesPerSecond === undefined || driver === "bridge") return;
  throw invalid(`${INGRESS} needs a bridge network: a ${driver} link has no end on the host`);
}

function rateOf(options: Options, name: string): number | null {
  const text = options[name];
  if (text === undefined || text === "") return null;
  const match = /^(\d{1,12}(?:\.\d{1,6})?)([a-z]*)$/.exec(text.toLowerCase());
  const unit = UNITS.get(match?.[2] ?? "");
  if (match === null || unit === undefined) {
    throw invalid(
      `invalid ${name} ${JSON.stringify(text.slice(0, 64))}: a rate is a number and bit, kbit, mbit or gbit (per second), such as 10mbit`,
    );
  }
  const bits = Number(match[1]) * unit;
  if (bits < SMALLEST_BITS || bits > LARGEST_BITS) {
    throw invalid(`invalid ${name} ${text}: a rate is between 8kbit and 100gbit`);
  }
  return Math.floor(bits / 8);
}

/** What the container sends; by a socket of its namespace. */
export function limitEgress(inside: Netlink, endpoint: BridgeEndpoint): void {
  const rate = endpoint.bandwidth?.egressBytesPerSecond;
  if (rate !== undefined) inside.limitLink(endpoint.containerLink, bucketOf(rate, endpoint));
}

/** What it receives, as the host's end sends it. */
export function limitIngress(outside: Netlink, endpoint: BridgeEndpoint): void {
  const rate = endpoint.bandwidth?.ingressBytesPerSecond;
  if (rate !== undefined) outside.limitLink(endpoint.hostLink, bucketOf(rate, endpoint));
}

function bucketOf(bytesPerSecond: number, { mtu }: BridgeEndpoint): LinkRate {
  const burstBytes = Math.max(
    Math.ceil(bytesPerSecond * BURST_SECONDS),
    SMALLEST_BURST_BYTES,
    mtu + FRAME_BYTES,
  );
  const queueBytes = burstBytes + Math.ceil(bytesPerSecond * QUEUE_SECONDS);
  return { bytesPerSecond, burstBytes, queueBytes };
}
