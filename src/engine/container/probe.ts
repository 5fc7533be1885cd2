/**
 * One probe: an exec whose output is bounded and whose time is. A probe is never left behind: when its time is up, or
 * nobody wants its answer any more, everything in its session is killed.
 */
import { durationText, sentenceOf, unavailable } from "#base";
import type { Probe } from "#engine/health";
import { attempt } from "#linux/ffi";
import { pidfdOpen, pidfdSendSignal, readProcessStat, SIGKILL } from "#linux/process";

import type { ProcessStreams } from "./container-service.ts";
import type { Context } from "./context.ts";
import { createExec, startExec } from "./exec.ts";
import { ProbeOutput } from "./probe-output.ts";
import type { ContainerRecord } from "./records.ts";
import { cgroupOf } from "./signal.ts";

/** Being born is not the probe's time; but a supervisor that does not answer must not hold the monitor for ever. */
const START_TIMEOUT_MS = 30_000;
/** For a killed process to end, and for the last output of one that ended. */
const END_TIMEOUT_MS = 5000;
const DRAIN_TIMEOUT_MS = 500;

export interface ProbeAnswer {
  readonly exitCode: number;
  readonly output: string;
  /** How long it took until it ran; absent when it never did. */
  readonly startSeconds?: number;
}

/** @param signal nobody wants the answer any more. Never rejects: a probe that cannot be run is an answer, too */
export async function runProbe(
  context: Context,
  record: ContainerRecord,
  { probe, signal }: { probe: Probe; signal: AbortSignal },
): Promise<ProbeAnswer> {
  let execId: string | null = null;
  try {
    execId = createExec(context, record.id, probeExec(probe), { isProbe: true });
    return await exchange(context, record, { execId, probe, signal });
  } catch (cause) {
    return { exitCode: -1, output: sentenceOf(cause) };
  } finally {
    if (execId !== null) {
      context.execEnds.delete(execId);
      context.execs.remove(record.id, execId);
    }
  }
}

const probeExec = ({ command }: Probe): Parameters<typeof createExec>[2] => ({
  command,
  attachStdin: false,
  attachStdout: true,
  attachStderr: true,
  terminal: false,
  detachKeys: "",
  environment: [],
  workingDirectory: "",
  user: "",
  privileged: false,
  consoleSize: null,
});

async function exchange(
  context: Context,
  record: ContainerRecord,
  { execId, probe, signal }: { execId: string; probe: Probe; signal: AbortSignal },
): Promise<ProbeAnswer> {
  const ended = Promise.withResolvers<number>();
  context.execEnds.set(execId, ended.resolve);
  const askedAt = performance.now();
  const streams = await started(context, record, execId);
  const startSeconds = (performance.now() - askedAt) / 1000;
  const output = new ProbeOutput();
  const drained = output.drain(streams.output);
  try {
    const exitCode = await within(ended.promise, probe.timeoutMs, signal);
    if (exitCode !== null) {
      await within(drained, DRAIN_TIMEOUT_MS, signal);
      return { exitCode, output: output.text, startSeconds };
    }
    await killProbe(context, record, execId);
    await within(ended.promise, END_TIMEOUT_MS);
    const said = output.text === "" ? "" : `: ${output.text}`;
    return {
      exitCode: -1,
      output: `Health check exceeded timeout (${durationText(probe.timeoutMs * 1e6)})${said}`,
      startSeconds,
    };
  } finally {
    streams.detach();
  }
}

/** @throws EngineError as the exec could not be started */
async function started(
  context: Context,
  record: ContainerRecord,
  execId: string,
): Promise<ProcessStreams> {
  const starting = startExec(context, execId, {
    detach: false,
    terminal: false,
    consoleSize: null,
  });
  const streams = await within(starting, START_TIMEOUT_MS);
  if (streams !== null) return streams;
  // Should it be born after all, it is not wanted any more.
  starting.then(
    (late) => {
      late?.detach();
      void killProbe(context, record, execId);
    },
    () => undefined,
  );
  throw unavailable(`timed out starting health check for container ${record.id}`);
}

/** The value, or null when the time is up or the signal aborts first. */
async function within<T>(
  work: Promise<T>,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<T | null> {
  const { promise, resolve } = Promise.withResolvers<null>();
  const giveUp = () => resolve(null);
  const timer = setTimeout(giveUp, Math.min(timeoutMs, 2 ** 31 - 1));
  signal?.addEventListener("abort", giveUp, { once: true });
  if (signal?.aborted) giveUp();
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
}

/** The probe, and what it started: a shell's children outlive the shell. */
export async function killProbe(
  context: Context,
  record: ContainerRecord,
  execId: string,
): Promise<void> {
  const state = context.execs.get(execId)?.state;
  try {
    if (state?.status === "running") killSession(cgroupOf(context, record).pids(), state.pid);
    const key = { id: record.id, execId };
    await context.supervisor.request({ type: "signal", key, signal: SIGKILL });
  } catch (cause) {
    // It has ended, or the supervisor has: the next one is told again at start-up.
    context.log.debug(`could not kill a probe of ${record.id}`, { error: sentenceOf(cause) });
  }
}

function killSession(pids: readonly number[], session: number): void {
  for (const pid of pids) {
    if (readProcessStat(pid)?.sessionId !== session) continue;
    let pidfd;
    try {
      pidfd = pidfdOpen(pid);
    } catch {
      continue; // it ended meanwhile
    }
    // Looked at again through the descriptor's lifetime: the number may be somebody else's by now.
    if (readProcessStat(pid)?.sessionId === session) pidfdSendSignal(pidfd, SIGKILL);
    attempt("close", pidfd);
  }
}
