/** Go's durations, which Docker's flags, files and answers have: `1m30s`, `1.5h`, `300ms`. */
import { invalid } from "./errors.ts";

/** int64, about 292 years. */
const MOST_NANOSECONDS = 2 ** 63;
const UNIT_NANOSECONDS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** A Go duration (`1h30m`, `-1.5s`, `0`) in nanoseconds. @throws EngineError "invalid" in the words of Go's time package */
export function parseDuration(text: string): number {
  const sign = /^[+-]/.exec(text)?.[0] ?? "";
  let rest = text.slice(sign.length);
  if (rest === "0") return 0;
  if (rest === "") throw invalid(`time: invalid duration ${JSON.stringify(text)}`);
  let total = 0;
  while (rest !== "") {
    const number = /^(?:\d+\.?\d*|\.\d+)/.exec(rest)?.[0];
    if (number === undefined) throw invalid(`time: invalid duration ${JSON.stringify(text)}`);
    rest = rest.slice(number.length);
    const unit = /^[^\d.]+/.exec(rest)?.[0];
    if (unit === undefined) throw invalid(`time: missing unit in duration ${JSON.stringify(text)}`);
    const nanoseconds = UNIT_NANOSECONDS[unit];
    if (nanoseconds === undefined) {
      throw invalid(
        `time: unknown unit ${JSON.stringify(unit)} in duration ${JSON.stringify(text)}`,
      );
    }
    total += Math.round(Number(number) * nanoseconds);
    rest = rest.slice(unit.length);
  }
  if (total > MOST_NANOSECONDS) throw invalid(`time: invalid duration ${JSON.stringify(text)}`);
  return sign === "-" ? -total : total;
}

/** A duration as Go prints it: `0s`, `1m30s`, `1.5s`, `250ms`. */
export function durationText(nanoseconds: number): string {
  if (nanoseconds === 0) return "0s";
  const sign = nanoseconds < 0 ? "-" : "";
  const amount = Math.abs(nanoseconds);
  if (amount < 1e3) return `${sign}${amount}ns`;
  if (amount < 1e6) return `${sign}${amount / 1e3}µs`;
  if (amount < 1e9) return `${sign}${amount / 1e6}ms`;
  const hours = Math.floor(amount / 3600e9);
  const minutes = Math.floor((amount % 3600e9) / 60e9);
  const seconds = `${(amount % 60e9) / 1e9}s`;
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${sign}${minutes}m${seconds}` : `${sign}${seconds}`;
}
