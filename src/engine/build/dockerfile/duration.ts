/** Go's durations, which Docker's texts have: `1m30s`, `1.5h`, `300ms`. */
import { invalid } from "#base";

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

/** @throws EngineError "invalid" in the words of Go's time package */
export function durationNanoseconds(text: string): number {
  const negative = text.startsWith("-");
  const rest = text.replace(/^[+-]/, "");
  if (rest === "0") return 0;
  let total = 0;
  let end = 0;
  const piece = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;
  for (let match = piece.exec(rest); match !== null; match = piece.exec(rest)) {
    total += Number(match[1]) * (UNIT_NANOSECONDS[match[2] ?? ""] ?? 0);
    end = piece.lastIndex;
  }
  if (rest === "" || end !== rest.length || !Number.isSafeInteger(Math.round(total))) {
    const unitless = /^\d+\.?\d*$/.test(rest);
    throw invalid(
      `time: ${unitless ? "missing unit in" : "invalid"} duration ${JSON.stringify(text)}`,
    );
  }
  return Math.round(negative ? -total : total);
}
