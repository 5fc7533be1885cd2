/**
 * A terminal or a pipe on one side, a container's streams on the other. Output goes straight to write(2); input is
 * forwarded with its end; the terminal is raw while both are joined and is put back whatever happens.
 */
import { EngineError } from "#base";
import type { Hijacked } from "#clients/api-client";
import { FrameDecoder } from "#wire/docker";

import { STDERR, STDIN, STDOUT, writeAll } from "../terminal/stdio.ts";
import { makeRaw, windowSize, type WindowSize } from "../terminal/tty.ts";
import { DetachKeys } from "./detach-keys.ts";

/** The user typed the detach keys: the container runs on. */
export class Detached extends Error {}

export interface Joined {
  /** Settles when the container's output ended. @throws Detached */
  readonly done: Promise<void>;
  /** Gives the terminal back. */
  restore(): void;
}

export interface JoinOptions {
  readonly tty: boolean;
  /** Forward standard input. */
  readonly stdin: boolean;
  /** null: there is nothing to detach from. */
  readonly detachKeys: string | null;
  /** Where what the daemon sends on each stream goes; false drops it. */
  readonly stdout?: boolean;
  readonly stderr?: boolean;
  /** Told the exit code, of an exec in one exchange. */
  readonly onExit?: (exitCode: number) => void;
}

/** Joins this program's streams with a hijacked connection. */
export function join(hijacked: Hijacked, options: JoinOptions): Joined {
  const raw = options.stdin && options.tty ? makeRaw(STDIN) : undefined;
  const detached = Promise.withResolvers<never>();
  if (options.stdin) {
    const keys = keysOf(options);
    forwardInput(hijacked, keys).catch(detached.reject);
  }
  const done = Promise.race([showOutput(hijacked, options), detached.promise]).finally(() => {
    raw?.restore();
    hijacked.wire.close();
  });
  done.catch(() => undefined); // whoever waits for it may come later than the failure
  return { done, restore: () => raw?.restore() };
}

const keysOf = ({ tty, detachKeys }: JoinOptions): DetachKeys | undefined =>
  tty && detachKeys !== null ? new DetachKeys(detachKeys) : undefined;

async function forwardInput({ wire }: Hijacked, keys: DetachKeys | undefined): Promise<void> {
  for await (const chunk of Bun.stdin.stream()) {
    const { bytes, detach } = keys?.filter(chunk) ?? { bytes: chunk, detach: false };
    try {
      await wire.write(bytes);
    } catch {
      return; // the container has gone: its output's end tells
    }
    if (detach) throw new Detached("read escape sequence");
  }
  wire.finish();
}

async function showOutput({ wire }: Hijacked, options: JoinOptions): Promise<void> {
  const show = options.tty ? showRaw : frameWriter(options);
  for (let chunk = await wire.read(); chunk !== undefined; chunk = await wire.read()) show(chunk);
}

const showRaw = (chunk: Uint8Array): void => writeAll(STDOUT, chunk);

/** Writes frames to the stream they are for. */
export function frameWriter(
  options: Pick<JoinOptions, "stdout" | "stderr" | "onExit">,
): (chunk: Uint8Array) => void {
  const decoder = new FrameDecoder((stream, payload) => {
    if (stream === "systemerr") {
      const text = new TextDecoder().decode(payload);
      throw new EngineError("internal", `error from daemon in stream: ${text}`);
    }
    if (stream === "stderr") {
      if (options.stderr !== false) writeAll(STDERR, payload);
    } else if (options.stdout !== false) writeAll(STDOUT, payload);
  }, options.onExit);
  return (chunk) => decoder.push(chunk);
}

/** Tells the container its terminal's size, now and whenever it changes. @returns the way to stop */
export function followSize(resize: (size: WindowSize) => Promise<void>): () => void {
  const tell = () => {
    const size = windowSize(STDOUT);
    // A process that is just being born or has just ended has no size: nothing is lost.
    if (size !== undefined) resize(size).catch(() => undefined);
  };
  tell();
  process.on("SIGWINCH", tell);
  return () => process.off("SIGWINCH", tell);
}

const FORWARDED = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;
/** How many times ^C (or SIGTERM) is passed on before this program gives up waiting. */
const FORCE_AFTER = 3;

/** Passes this program's signals on to the container. @returns the way to stop */
export function forwardSignals(kill: (signal: string) => Promise<void>): () => void {
  let interrupts = 0;
  const forward = (signal: string) => {
    if (signal === "SIGINT" || signal === "SIGTERM") interrupts += 1;
    if (interrupts >= FORCE_AFTER) {
      writeAll(STDERR, `got ${FORCE_AFTER} SIGTERM/SIGINTs, forcefully exiting\n`);
      process.exit(1);
    }
    kill(signal).catch(() => undefined); // not started yet, or gone meanwhile
  };
  for (const signal of FORWARDED) process.on(signal, forward);
  return () => {
    for (const signal of FORWARDED) process.off(signal, forward);
  };
}
