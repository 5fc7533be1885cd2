/** Attaching to processes: the supervisor carries the bytes, the detach keys are watched for here. */
import { conflict, notImplemented, sentenceOf } from "#base";
import { encodeLogEntries, encodeLogNotice, readLog } from "#engine/logs";
import type { ProcessKey } from "#engine/supervisor";

import type { AttachRequest, LogsRequest, ProcessStreams } from "./container-service.ts";
import { type AttachedStreams, type Context, liveOf, type SupervisorLink } from "./context.ts";
import { DetachWatch, parseDetachKeys } from "./detach-keys.ts";
import { publishEvent } from "./happenings.ts";
import { readableLog } from "./log-files.ts";
import type { ContainerRecord } from "./records.ts";
import { waitForExit } from "./wait.ts";

/** @throws EngineError "conflict" in Docker's words when it is paused or restarting */
export async function attachContainer(
  context: Context,
  nameOrId: string,
  request: AttachRequest,
): Promise<ProcessStreams> {
  const record = context.records.resolve(nameOrId);
  const { id, config, state } = record;
  if (state.status === "paused") {
    throw conflict(`container ${nameOrId} is paused, unpause the container before attach`);
  }
  if (state.status === "restarting") {
    throw conflict(`container ${nameOrId} is restarting, wait until the container is running`);
  }
  const keys = parseDetachKeys(request.detachKeys);
  const history = request.logs ? logFrames(context, record, request) : null;
  if (!request.stream) return finished(history, config.terminal);
  const early = state.status !== "running";
  const hello = {
    key: { id },
    stdin: request.stdin && config.openStdin,
    stdout: request.stdout,
    stderr: request.stderr,
    beforeBirth: early,
  };
  const attached = early
    ? await attachEarly(context, hello)
    : await context.supervisor.attach(hello);
  publishEvent(context, record, "attach");
  return connect(attached, {
    terminal: config.terminal,
    input: request.stdin && config.openStdin,
    keys,
    history,
    onDetach: () => publishEvent(context, context.records.get(id) ?? record, "detach"),
  });
}

/** Nothing comes before the start: the client gets ready for it while the supervisor is told. */
async function attachEarly(
  context: Context,
  hello: Parameters<SupervisorLink["attach"]>[0],
): Promise<AttachedStreams> {
  const attached = await context.supervisor.attachAhead(hello);
  const { earlyAttachments } = liveOf(context, hello.key.id);
  const left = Promise.withResolvers<void>();
  const close = () => {
    earlyAttachments.delete(early);
    left.resolve();
    attached.close();
  };
  // A start that waits for it does not wait for a client that has left.
  const early = { joined: Promise.race([attached.joined, left.promise]), close };
  earlyAttachments.add(early);
  early.joined.catch((cause: unknown) => {
    earlyAttachments.delete(early);
    context.log.warn("a client was attached to nothing", { error: sentenceOf(cause) });
  });
  return { ...attached, close };
}

export interface ConnectRequest {
  readonly terminal: boolean;
  /** Whether the caller may write. */
  readonly input: boolean;
  readonly keys: Uint8Array;
  /** Sent before what is live. */
  readonly history: ReadableStream<Uint8Array> | null;
  readonly onDetach: () => void;
}

/** The supervisor's two streams, those of a terminal with the detach keys watched. */
export function connect(attached: AttachedStreams, request: ConnectRequest): ProcessStreams {
  const detach = () => attached.close();
  return {
    terminal: request.terminal,
    output: request.history === null ? attached.output : joined(request.history, attached.output),
    input: request.input ? inputOf(attached, request) : null,
    detach,
  };
}

/** As in Docker only what is typed at a terminal has keys: any other input may be of any bytes. */
const inputOf = (attached: AttachedStreams, request: ConnectRequest) =>
  request.terminal ? watched(attached, request) : attached.input;

function watched(
  attached: AttachedStreams,
  { keys, onDetach }: ConnectRequest,
): WritableStream<Uint8Array> {
  const watch = new DetachWatch(keys);
  const writer = attached.input.getWriter();
  let left = false;
  return new WritableStream<Uint8Array>({
    async write(chunk) {
      if (left) return;
      const { pass, detached } = watch.feed(chunk);
      if (pass.length > 0) await writer.write(pass);
      if (!detached) return;
      left = true;
      onDetach();
      attached.close();
    },
    async close() {
      if (!left) await writer.close();
    },
    async abort(reason) {
      if (!left) await writer.abort(reason);
    },
  });
}

function joined(
  first: ReadableStream<Uint8Array>,
  second: ReadableStream<Uint8Array>,
): ReadableStream<Uint8Array> {
  const all = (async function* () {
    yield* first;
    yield* second;
  })();
  return streamOf(all, () => second.cancel());
}

/** A pulled stream of what a generator yields; cancelling it returns the generator. */
function streamOf(
  source: AsyncGenerator<Uint8Array>,
  onCancel: () => Promise<unknown> = () => Promise.resolve(),
): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await source.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
    async cancel() {
      // A generator that waits inside returns only when its wait ends: nobody waits for that here.
      void source.return(undefined).catch(() => undefined);
      await onCancel();
    },
  });
}

function finished(history: ReadableStream<Uint8Array> | null, terminal: boolean): ProcessStreams {
  const nothing = new ReadableStream<Uint8Array>({ start: (controller) => controller.close() });
  return { terminal, output: history ?? nothing, input: null, detach: () => undefined };
}

/** What the log holds so far. */
function logFrames(
  context: Context,
  record: ContainerRecord,
  { stdout, stderr }: Pick<AttachRequest, "stdout" | "stderr">,
): ReadableStream<Uint8Array> | null {
  const log = readableLog(context, record);
  if (log === null) return null;
  const request = { stdout, stderr, tail: null, since: null, until: null, ended: null };
  return encoded(record, { ...log, ...request }, { timestamps: false, details: false });
}

/** @throws EngineError "notImplemented" for a container whose output is not kept */
export function readLogs(
  context: Context,
  nameOrId: string,
  request: LogsRequest,
): ReadableStream<Uint8Array> {
  const record = context.records.resolve(nameOrId);
  const log = readableLog(context, record);
  if (log === null) {
    throw notImplemented("configured logging driver does not support reading");
  }
  const { stdout, stderr, tail, follow, signal, timestamps, details } = request;
  const runs = record.state.status === "running" || record.state.status === "paused";
  return encoded(
    record,
    {
      ...log,
      stdout,
      stderr,
      tail,
      since: request.sinceNano,
      until: request.untilNano,
      // The supervisor has written everything before it tells of an exit.
      ended: follow && runs ? waitForExit(context, record.id, signal) : null,
      signal,
    },
    { timestamps, details },
  );
}

function encoded(
  record: ContainerRecord,
  request: Parameters<typeof readLog>[0],
  options: { timestamps: boolean; details: boolean },
): ReadableStream<Uint8Array> {
  const multiplexed = !record.config.terminal;
  const notices: string[] = [];
  const entries = readLog({ ...request, onMissed: (files) => notices.push(missedText(files)) });
  const bytes = (async function* () {
    for await (const batch of entries) {
      for (const notice of notices.splice(0)) yield encodeLogNotice(notice, { multiplexed });
      if (batch.length > 0) yield encodeLogEntries(batch, { ...options, multiplexed });
    }
  })();
  return streamOf(bytes);
}

/** Docker says so in the daemon's log only, and goes on as if nothing were missing. */
const missedText = (files: number): string =>
  `${files} rotated log ${files === 1 ? "file was" : "files were"} removed before being read: lines are missing here`;

/** A process' streams, for exec. */
export const attachProcess = (
  context: Context,
  key: ProcessKey,
  streams: { stdin: boolean; stdout: boolean; stderr: boolean },
): Promise<AttachedStreams> => context.supervisor.attach({ key, ...streams, beforeBirth: true });
