/** `--since` and `--until`: a duration before now, a date in docker's forms, or seconds since 1970. */
import { invalid } from "#base";

import { parseDuration } from "#base";

const FORMS =
  /^(\d{4})-(\d{2})-(\d{2})(?:T(\d{2})(?::(\d{2})(?::(\d{2})(?:\.(\d+))?)?)?)?(Z|[+-]\d{2}:\d{2})?$/;

/** The API's form: `seconds.nanoseconds`, or the text itself when it already is. @throws EngineError "invalid" */
export function parseTimestamp(text: string, nowMs: number): string {
  // Docker's own exception: the beginning of time, not "no time ago".
  if (text === "0") return text;
  try {
    // Whole seconds, as docker's.
    return String(Math.floor((nowMs - parseDuration(text) / 1e6) / 1000));
  } catch {
    // Not a duration.
  }
  const match = FORMS.exec(text);
  if (match === null) {
    if (/^\d+(?:\.\d+)?$/.test(text)) return text;
    throw invalid(`failed to parse value as time or duration: ${JSON.stringify(text)}`);
  }
  const [, year, month, day, hours = "00", minutes = "00", seconds = "00", fraction = "", zone] =
    match;
  // Without a zone the time is this machine's: as in docker with today's offset, whatever the season it tells of.
  const offsetMs = zone === undefined ? new Date(nowMs).getTimezoneOffset() * 60_000 : 0;
  const atMs =
    Date.parse(`${year}-${month}-${day}T${hours}:${minutes}:${seconds}${zone ?? "Z"}`) + offsetMs;
  if (Number.isNaN(atMs)) {
    throw invalid(`failed to parse value as time or duration: ${JSON.stringify(text)}`);
  }
  return secondsText(atMs / 1000, Number(fraction.slice(0, 9).padEnd(9, "0")));
}

const secondsText = (seconds: number, nanoseconds: number): string =>
  `${seconds}.${String(nanoseconds).padStart(9, "0")}`;
