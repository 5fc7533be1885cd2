/** What a container says and hears: logs, attach over a hijacked connection and over a WebSocket. */
import { invalid } from "#base";
import type { AttachRequest, ContainerService, LogsRequest } from "#engine/container";
import { atLeast, FrameDecoder, MULTIPLEXED_STREAM, RAW_STREAM } from "#wire/docker";
import {
  upgradeOf,
  webSocketAccept,
  WebSocketDecoder,
  webSocketFrame,
  WEB_SOCKET_OPCODES,
  writeChunk,
} from "#wire/http";

import type { Call } from "./call.ts";
import { parseInstant } from "./instants.ts";
import { type Connection, endGently, joinStreams } from "./join.ts";
import type { Routes } from "./routes.ts";

export function streamRoutes(containers: ContainerService): Routes {
  return {
    "GET /containers/:id/logs": (call) => logs(call, containers),
    "POST /containers/:id/attach": (call) => attach(call, containers),
    "GET /containers/:id/attach/ws": (call) => attachWebSocket(call, containers),
  };
}

/** How a client is to read a process's output: only 1.42 and newer know of the multiplexed type. */
export const streamType = (call: Call, terminal: boolean): string =>
  !terminal && atLeast(call.version, "1.42") ? MULTIPLEXED_STREAM : RAW_STREAM;

async function logs(call: Call, containers: ContainerService): Promise<void> {
  const { query } = call;
  const request: LogsRequest = {
    stdout: query.bool("stdout"),
    stderr: query.bool("stderr"),
    follow: query.bool("follow"),
    timestamps: query.bool("timestamps"),
    details: query.bool("details"),
    // Docker's clients say 0 for "not asked".
    sinceNano: parseInstant(query.text("since"), "since") || null,
    untilNano: parseInstant(query.text("until"), "until") || null,
    tail: tailOf(query.text("tail")),
    signal: call.signal,
  };
  const container = containers.resolve(call.param("id"));
  if (!request.stdout && !request.stderr) {
    throw invalid("Bad parameters: you must choose at least one stream");
  }
  const output = await containers.logs(container.id, request);
  await call.stream(output, streamType(call, container.config.terminal));
}

/** Docker reads everything that is no number of lines as "all". */
const tailOf = (text: string): number | null => (/^\d{1,15}$/.test(text) ? Number(text) : null);

function attachRequest(call: Call): AttachRequest {
  const { query } = call;
  return {
    stdin: query.bool("stdin"),
    stdout: query.bool("stdout"),
    stderr: query.bool("stderr"),
    stream: query.bool("stream"),
    logs: query.bool("logs"),
    detachKeys: query.text("detachKeys"),
  };
}

async function attach(call: Call, containers: ContainerService): Promise<void> {
  const streams = await containers.attach(call.param("id"), attachRequest(call));
  const contentType = streamType(call, streams.terminal);
  await joinStreams(call.hijack({ contentType }), streams);
}

/** One binary message for each piece of output, without Docker's frames; what the client sends is stdin. */
async function attachWebSocket(call: Call, containers: ContainerService): Promise<void> {
  const key = call.header("sec-websocket-key");
  const upgrade = upgradeOf(call.request)?.toLowerCase();
  if (!call.upgraded || upgrade !== "websocket" || key === "") {
    containers.resolve(call.param("id"));
    throw invalid("not a websocket handshake: upgrade to websocket is missing");
  }
  const streams = await containers.attach(call.param("id"), attachRequest(call));
  const connection = call.hijack({
    contentType: RAW_STREAM,
    protocol: "websocket",
    headers: { "Sec-WebSocket-Accept": webSocketAccept(key) },
  });
  const writer = streams.input?.getWriter() ?? null;
  const reading = readMessages(connection, writer);
  const output = streams.terminal ? streams.output : withoutFrames(streams.output);
  try {
    const reader = output.getReader();
    connection.sink.once("close", () => void reader.cancel().catch(() => {}));
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (!(await writeChunk(connection.sink, webSocketFrame(BINARY, value)))) break;
    }
    if (!connection.sink.writableEnded) closeWebSocket(connection, NORMAL_CLOSURE);
  } finally {
    if (!connection.sink.writableEnded) connection.sink.destroy();
    streams.detach();
    await reading;
  }
}

const { binary: BINARY, close: CLOSE, ping: PING, pong: PONG } = WEB_SOCKET_OPCODES;
/** Status 1000. */
const NORMAL_CLOSURE = new Uint8Array([0x03, 0xe8]);

function closeWebSocket({ sink }: Connection, status: Uint8Array): void {
  if (sink.writableEnded) return;
  sink.write(webSocketFrame(CLOSE, status));
  endGently(sink);
}

/** Resolves when the client has closed; a broken frame cuts the connection. */
function readMessages(
  { sink, source }: Connection,
  writer: WritableStreamDefaultWriter<Uint8Array> | null,
): Promise<void> {
  let writing: Promise<void> = Promise.resolve();
  const decoder = new WebSocketDecoder((opcode, payload) => {
    if (opcode === CLOSE) closeWebSocket({ sink, source }, payload);
    else if (opcode === PING) {
      // Who asks without reading the answers is not read any further.
      writing = writing.then(
        async () => void (await writeChunk(sink, webSocketFrame(PONG, payload))),
      );
    } else if (opcode !== PONG && writer !== null)
      writing = writing.then(() => writer.write(payload));
  });
  source.on("data", (chunk: Uint8Array) => {
    source.pause();
    try {
      decoder.push(chunk);
    } catch {
      source.destroy();
    }
    // A process that reads no more stdin: what is typed is dropped.
    writing = writing.catch(() => {});
    void writing.then(() => source.resume());
  });
  return new Promise((resolve) => {
    const done = () => {
      void writing.then(() => writer?.close()).then(resolve, resolve);
    };
    source.once("end", done);
    source.once("close", done);
  });
}

/** The payloads of a multiplexed stream, stdout and stderr as they come. */
function withoutFrames(output: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  const payloads: Uint8Array[] = [];
  const decoder = new FrameDecoder((_, payload) => payloads.push(payload));
  return output.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        decoder.push(chunk);
        for (const payload of payloads.splice(0)) controller.enqueue(payload);
      },
    }),
  );
}
