/**
 * Who is probed, and when: one monitor for each running container with a healthcheck. It ends with the run, with a
 * pause and with the daemon; the next daemon goes on where it was, and kills the probe that was under way.
 */
import { sentenceOf } from "#base";
import {
  afterProbe,
  delayMs,
  type Health,
  type Probe,
  probeOf,
  startedHealth,
  stoppedHealth,
} from "#engine/health";

import { type Context, inBackground, liveOf } from "./context.ts";
import { publishEvent } from "./happenings.ts";
import { killProbe, runProbe } from "./probe.ts";
import type { ContainerRecord } from "./records.ts";
import { millisecondsOf } from "./times.ts";

const probeFor = ({ config }: ContainerRecord): Probe | null =>
  config.healthcheck === null || config.healthcheck === undefined
    ? null
    : probeOf(config.healthcheck, config.shell);

/** At the start of a run, before its record is written, which writes this too. */
export function resetHealth(context: Context, record: ContainerRecord): void {
  if (probeFor(record) === null) return;
  context.health.put(record.id, startedHealth(context.health.get(record.id)));
}

/** Begins to probe a container that runs; one that has no healthcheck, or is probed already, is left alone. */
export function watchHealth(context: Context, record: ContainerRecord): void {
  const probe = probeFor(record);
  if (probe === null) return;
  const { id } = record;
  const live = liveOf(context, id);
  if (live.health !== null) return;
  const abort = new AbortController();
  live.health = abort;
  if (context.health.get(id) === null) context.health.put(id, startedHealth(null));
  inBackground(
    context,
    `watch the health of ${id}`,
    monitor(context, id, { probe, signal: abort.signal }),
  );
}

/** Ends the watch, if there is one: the container has ended or stands still. */
export function unwatchHealth(context: Context, id: string): void {
  const live = context.lives.get(id);
  if (live === undefined || live.health === null) return;
  live.health.abort();
  live.health = null;
  const health = context.health.get(id);
  if (health !== null) context.health.put(id, stoppedHealth(health));
}

/** At start-up: containers that run are probed on, and probes of the dead daemon are killed. */
export function resumeHealth(context: Context, record: ContainerRecord): void {
  for (const execId of context.execs.idsOf(record.id)) {
    const exec = context.execs.get(execId);
    if (exec?.isProbe !== true) continue;
    const work = async () => {
      if (exec.state.status === "running") await killProbe(context, record, execId);
      context.execs.remove(record.id, execId);
    };
    inBackground(context, `end a probe of ${record.id}`, work());
  }
  if (record.state.status === "running") watchHealth(context, record);
}

async function monitor(
  context: Context,
  id: string,
  { probe, signal }: { probe: Probe; signal: AbortSignal },
): Promise<void> {
  for (;;) {
    const before = runOf(context, id);
    if (before === null) return;
    const runForMs = context.clock.now().getTime() - before.runStartedAtMs;
    try {
      await context.clock.sleep(delayMs(before.health, { probe, runForMs }), signal);
    } catch {
      return; // only the signal ends a sleep
    }
    const run = runOf(context, id);
    if (run === null) return;
    const startedAt = context.clock.now().toISOString();
    const { startSeconds = 0, ...answer } = await runProbe(context, run.record, { probe, signal });
    if (signal.aborted) return;
    context.onProbed?.({ startSeconds, failed: answer.exitCode !== 0 });
    const endedAt = context.clock.now().toISOString();
    const now = runOf(context, id);
    if (now === null) return;
    const around = { probe, runStartedAtMs: now.runStartedAtMs };
    record(context, now, afterProbe(now.health, { startedAt, endedAt, ...answer }, around));
  }
}

interface ProbedRun {
  readonly record: ContainerRecord;
  readonly health: Health;
  readonly runStartedAtMs: number;
}

/** null when there is nothing to probe any more. */
function runOf(context: Context, id: string): ProbedRun | null {
  const found = context.records.get(id);
  const health = context.health.get(id);
  if (found?.state.status !== "running" || health === null) return null;
  return { record: found, health, runStartedAtMs: millisecondsOf(found.state.startedAt) };
}

function record(context: Context, { record: { id }, ...before }: ProbedRun, health: Health): void {
  context.health.put(id, health);
  const current = context.records.get(id) ?? null;
  if (current !== null && before.health.status !== health.status) {
    publishEvent(context, current, `health_status: ${health.status}`);
  }
  try {
    context.health.flush();
  } catch (cause) {
    context.log.warn(`the health of ${id} could not be written`, { error: sentenceOf(cause) });
  }
}
