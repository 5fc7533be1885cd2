/** HEALTHCHECK of a Dockerfile, and of `--change`, as an image's config has it. Pure. */
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
