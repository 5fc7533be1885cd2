/** The health of a container, as its probes' answers make it. Source: Docker's reference of HEALTHCHECK. */
import type { Probe } from "./config.ts";

/** One probe's answer. Times are ISO 8601. */
export interface ProbeResult {
  readonly startedAt: string;
  readonly endedAt: string;
  /** 0 is healthy; -1 for a probe that took too long or could not be run. */
  readonly exitCode: number;
  /** Bounded by `OUTPUT_LIMIT_BYTES`. */
  readonly output: string;
}

export interface Health {
  readonly status: "starting" | "healthy" | "unhealthy";
  readonly failingStreak: number;
  /** The last five, oldest first. */
  readonly log: readonly ProbeResult[];
}

/** What is kept of a probe's output. */
export const OUTPUT_LIMIT_BYTES = 4096;
const LOG_ENTRIES = 5;
/** The longest that a timer can wait: 24.8 days. */
const TIMER_LIMIT_MS = 2 ** 31 - 1;

/** At the start of a run: what the last one's probes said is still told. */
export const startedHealth = (before: Health | null): Health => ({
  status: "starting",
  failingStreak: 0,
  log: before?.log ?? [],
});

/** Who is not probed any more (paused, ended) counts as unhealthy, as in Docker. */
export const stoppedHealth = (health: Health): Health => ({ ...health, status: "unhealthy" });

/** @param runStartedAtMs when the container's run began, in milliseconds since 1970 */
export function afterProbe(
  health: Health,
  result: ProbeResult,
  { probe, runStartedAtMs }: { probe: Probe; runStartedAtMs: number },
): Health {
  const log = [...health.log, result].slice(-LOG_ENTRIES);
  if (result.exitCode === 0) return { status: "healthy", failingStreak: 0, log };
  const isForgiven =
    health.status === "starting" &&
    Date.parse(result.startedAt) - runStartedAtMs < probe.startPeriodMs;
  if (isForgiven) return { ...health, log };
  const failingStreak = health.failingStreak + 1;
  const status = failingStreak >= probe.retries ? "unhealthy" : health.status;
  return { status, failingStreak, log };
}

/** How long to wait for the next probe, from the end of the last one or the start of the run. */
export function delayMs(
  health: Health,
  { probe, runForMs }: { probe: Probe; runForMs: number },
): number {
  const starts = health.status === "starting" && runForMs < probe.startPeriodMs;
  return Math.min(starts ? probe.startIntervalMs : probe.intervalMs, TIMER_LIMIT_MS);
}
