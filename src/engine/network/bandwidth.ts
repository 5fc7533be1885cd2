/**
 * Limits of what an endpoint sends and receives, which Docker does not have: `naru.egress` and `naru.ingress`, as seen
 * from the container. They are driver options of an endpoint, else labels of the container, else options of the network.
 * How the kernel keeps them is `sandbox/limits.ts`'s.
 */
import { invalid } from "#base";

import type { Bandwidth } from "./endpoint.ts";

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
