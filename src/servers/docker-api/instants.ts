/** Instants as clients send them: seconds since 1970, `1700000000.000000001` or `1700000000`. */
import { invalid } from "#base";

const NANO = 1_000_000_000n;

/** Nanoseconds since 1970; null when nothing is given. @throws EngineError "invalid" */
export function parseInstant(text: string, name: string): bigint | null {
  if (text === "") return null;
  const match = /^(-?\d{1,18})(?:\.(\d{1,9}))?$/.exec(text);
  if (match !== null) {
    const [, seconds = "0", fraction = ""] = match;
    return BigInt(seconds) * NANO + BigInt(fraction.padEnd(9, "0"));
  }
  return parseRfc3339(text, name);
}

/** The instants that Docker's CLI turns into seconds itself; other clients send them as they are. */
function parseRfc3339(text: string, name: string): bigint {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  const [, whole = "", fraction = "", zone = ""] = match ?? [];
  const milliseconds = match === null ? Number.NaN : Date.parse(`${whole}${zone}`);
  if (Number.isNaN(milliseconds)) {
    throw invalid(`invalid value for "${name}": ${JSON.stringify(text)} is no timestamp`);
  }
  return BigInt(milliseconds) * 1_000_000n + BigInt(fraction.padEnd(9, "0"));
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** For `until` of filters: an instant, a day, or a Go duration before now (`24h`, `1h30m`). @throws EngineError "invalid" */
export function parseMoment(text: string, now: Date): Date {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/gy)];
  if (parts.length > 0 && parts.map(([part]) => part).join("") === text) {
    const span = parts.reduce(
      (sum, [, count, unit = ""]) => sum + Number(count) * (UNIT_MS[unit] ?? 0),
      0,
    );
    return new Date(now.getTime() - span);
  }
  const zoned = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?)?$/.test(text)
    ? new Date(text.includes("T") ? `${text}Z` : text)
    : null;
  if (zoned !== null && !Number.isNaN(zoned.getTime())) return zoned;
  return new Date(Number((parseInstant(text, "until") ?? 0n) / 1_000_000n));
}
