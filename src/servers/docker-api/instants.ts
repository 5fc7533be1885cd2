/** Instants as clients send them: seconds since 1970, `1700000000.000000001` or `1700000000`. */
import { invalid, parseDuration } from "#base";

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

/** For `until` of filters: an instant, a day, or a Go duration before now (`24h`, `1h30m`). @throws EngineError "invalid" */
export function parseMoment(text: string, now: Date): Date {
  if (/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(text)) {
    return new Date(now.getTime() - parseDuration(text) / 1e6);
  }
  const zoned = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?)?$/.test(text)
    ? new Date(text.includes("T") ? `${text}Z` : text)
    : null;
  if (zoned !== null && !Number.isNaN(zoned.getTime())) return zoned;
  try {
    return new Date(Number((parseInstant(text, "until") ?? 0n) / 1_000_000n));
  } catch (cause) {
    const sentence = `failed to parse value as time or duration: ${JSON.stringify(text)}`;
    throw invalid(sentence, { cause });
  }
}
