/** Values of log options as Docker writes them: sizes, truth values, durations, numbers. Pure. */
import { invalid, parseDuration } from "#base";

export type LogOptions = Readonly<Record<string, string>>;

const POWERS: Readonly<Record<string, number>> = { "": 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

/**
 * Bytes. Docker counts rotation in powers of 1000 and buffers in powers of 1024.
 * @throws EngineError "invalid" in Docker's words
 */
export function parseSize(text: string, base: 1000 | 1024): number {
  const match = /^(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?$/i.exec(text);
  const power = POWERS[(match?.[2] ?? "").toLowerCase()] ?? Number.NaN;
  const bytes = Math.floor(Number(match?.[1]) * base ** power);
  if (!Number.isSafeInteger(bytes)) throw invalid(`invalid size: '${text}'`);
  return bytes;
}

/** @throws EngineError "invalid" in Go's words */
export function parseBool(text: string): boolean {
  if (/^(1|t|T|true|TRUE|True)$/.test(text)) return true;
  if (/^(0|f|F|false|FALSE|False)$/.test(text)) return false;
  throw invalid(`strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
}

/** A whole number without sign. @throws EngineError "invalid" in Go's words */
export function parseUnsigned(text: string): number {
  const value = /^\d{1,20}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) {
    throw invalid(`strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`);
  }
  return Math.min(value, Number.MAX_SAFE_INTEGER);
}

/** A Go duration in milliseconds: `1.5s`, `1m30s`. @throws EngineError "invalid" in Go's words */
export const parseDurationMs = (text: string): number => parseDuration(text) / 1e6;
