/** What a healthcheck is asked to be, by a person or an image. Zero means "not asked" and takes the default. */
import { invalid } from "#base";

export interface HealthConfig {
  /** `["NONE"]`, `["CMD", program, …]`, `["CMD-SHELL", line]`; empty is "as the image says". */
  readonly test: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly startPeriodMs: number;
  readonly startIntervalMs: number;
  /** Failures in a row that make it unhealthy. */
  readonly retries: number;
}

/** The same in the words of an image's config: nanoseconds. */
interface NanoHealth {
  Test?: string[] | null;
  Interval?: number;
  Timeout?: number;
  StartPeriod?: number;
  StartInterval?: number;
  Retries?: number;
}

const NANO_PER_MS = 1e6;
const DEFAULT_INTERVAL_MS = 30_000;
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_START_INTERVAL_MS = 5000;
const DEFAULT_RETRIES = 3;

/** Docker's and OCI's nanoseconds as milliseconds, with fractions. */
export const healthOfNano = (nano: NanoHealth): HealthConfig => ({
  test: nano.Test ?? [],
  intervalMs: (nano.Interval ?? 0) / NANO_PER_MS,
  timeoutMs: (nano.Timeout ?? 0) / NANO_PER_MS,
  startPeriodMs: (nano.StartPeriod ?? 0) / NANO_PER_MS,
  startIntervalMs: (nano.StartInterval ?? 0) / NANO_PER_MS,
  retries: nano.Retries ?? 0,
});

/** The other way round; what nobody gave is left out. */
export function nanoOfHealth(health: HealthConfig): NanoHealth & { Test?: string[] } {
  const given = (name: string, value: number) => (value === 0 ? {} : { [name]: value });
  const nano = (durationMs: number) => Math.round(durationMs * NANO_PER_MS);
  return {
    ...(health.test.length === 0 ? {} : { Test: [...health.test] }),
    ...given("Interval", nano(health.intervalMs)),
    ...given("Timeout", nano(health.timeoutMs)),
    ...given("StartPeriod", nano(health.startPeriodMs)),
    ...given("StartInterval", nano(health.startIntervalMs)),
    ...given("Retries", health.retries),
  };
}

/** What a person asks, with the image's word wherever they said nothing. */
export function mergeHealth(
  asked: HealthConfig | null,
  image: HealthConfig | null,
): HealthConfig | null {
  if (asked === null || image === null) return asked ?? image;
  return {
    test: asked.test.length > 0 ? asked.test : image.test,
    intervalMs: asked.intervalMs || image.intervalMs,
    timeoutMs: asked.timeoutMs || image.timeoutMs,
    startPeriodMs: asked.startPeriodMs || image.startPeriodMs,
    startIntervalMs: asked.startIntervalMs || image.startIntervalMs,
    retries: asked.retries || image.retries,
  };
}

/** @throws EngineError "invalid" in Docker's words */
export function checkHealth(config: HealthConfig): void {
  const durations: [string, number][] = [
    ["Interval", config.intervalMs],
    ["Timeout", config.timeoutMs],
    ["StartPeriod", config.startPeriodMs],
    ["StartInterval", config.startIntervalMs],
  ];
  for (const [name, durationMs] of durations) {
    if (durationMs !== 0 && durationMs < 1) {
      throw invalid(`${name} in Healthcheck cannot be less than 1ms`);
    }
  }
  if (config.retries < 0) throw invalid("Retries in Healthcheck cannot be negative");
  const [kind, ...words] = config.test;
  if (kind === undefined || kind === "NONE") return;
  if (kind !== "CMD" && kind !== "CMD-SHELL") {
    throw invalid(`Unknown healthcheck type '${kind}' (expected 'CMD')`);
  }
  if (words.length === 0) throw invalid(`the healthcheck ${kind} has no command`);
}

/** A healthcheck that can be run, with its defaults filled in. */
export interface Probe {
  readonly command: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly startPeriodMs: number;
  readonly startIntervalMs: number;
  readonly retries: number;
}

/**
 * @param shell the image's SHELL; null is `/bin/sh -c`
 * @returns null where nothing is to be probed
 */
export function probeOf(
  config: HealthConfig | null | undefined,
  shell: readonly string[] | null,
): Probe | null {
  const [kind, ...words] = config?.test ?? [];
  if (config === null || config === undefined || words.length === 0) return null;
  if (kind !== "CMD" && kind !== "CMD-SHELL") return null;
  const own = shell !== null && shell.length > 0 ? shell : ["/bin/sh", "-c"];
  return {
    command: kind === "CMD" ? words : [...own, ...words],
    intervalMs: config.intervalMs || DEFAULT_INTERVAL_MS,
    timeoutMs: config.timeoutMs || DEFAULT_TIMEOUT_MS,
    startPeriodMs: config.startPeriodMs,
    startIntervalMs: config.startIntervalMs || DEFAULT_START_INTERVAL_MS,
    retries: config.retries > 0 ? config.retries : DEFAULT_RETRIES,
  };
}
