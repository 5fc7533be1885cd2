/** HEALTHCHECK of a Dockerfile, and of `--change`, as an image's config has it. Pure. */
import { durationText } from "#base";
import { type HealthCheck, parseTrigger } from "#engine/build/dockerfile";
import type { ImageRunConfig } from "#oci";

type ImageHealthCheck = NonNullable<ImageRunConfig["Healthcheck"]>;

/** @param line `HEALTHCHECK --interval=5s CMD true`. @throws EngineError "invalid" in the words of Docker's reader */
export function parseHealthCheck(line: string): ImageHealthCheck {
  const instruction = parseTrigger(line);
  if (instruction.kind !== "healthcheck") throw new Error(`no HEALTHCHECK: ${line}`);
  return imageHealthOf(instruction.check);
}

/** Times that nobody gave are left out: an image says nothing of them. */
export function imageHealthOf(check: HealthCheck): ImageHealthCheck {
  const given = (name: string, value: number) => (value === 0 ? {} : { [name]: value });
  return {
    Test: [...check.test],
    ...given("Interval", check.intervalNanoseconds),
    ...given("Timeout", check.timeoutNanoseconds),
    ...given("StartPeriod", check.startPeriodNanoseconds),
    ...given("StartInterval", check.startIntervalNanoseconds),
    ...given("Retries", check.retries),
  };
}

/** As Docker's history has it: a Go structure with its texts, times and number quoted. */
export function healthText(check: HealthCheck): string {
  const words = check.test.map((word) => JSON.stringify(word)).join(" ");
  const times = [
    check.intervalNanoseconds,
    check.timeoutNanoseconds,
    check.startPeriodNanoseconds,
    check.startIntervalNanoseconds,
  ].map((time) => `"${durationText(time)}"`);
  return `HEALTHCHECK &{[${words}] ${times.join(" ")} ${quotedCharacter(check.retries)}}`;
}

const ESCAPES: Readonly<Record<number, string>> = {
  7: "\\a",
  8: "\\b",
  9: "\\t",
  10: "\\n",
  11: "\\v",
  12: "\\f",
  13: "\\r",
  39: "\\'",
  92: "\\\\",
};

/** A number as the character that it is. */
function quotedCharacter(code: number): string {
  const known = ESCAPES[code];
  if (known !== undefined) return `'${known}'`;
  if (code < 0x20 || code === 0x7f) return `'\\x${code.toString(16).padStart(2, "0")}'`;
  return `'${String.fromCodePoint(Math.min(code, 0xff_ff))}'`;
}
