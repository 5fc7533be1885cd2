/** Exec: another process in a running container. */
import { conflict, joinBytes, noSuch, sentenceOf } from "#base";
import type { Container, ContainerService, ExecInstance } from "#engine/container";
import {
  atLeast,
  encodeExit,
  encodeFrame,
  EXEC_ID_HEADER,
  EXEC_UPGRADE,
  type ExecInspect,
  MULTIPLEXED_STREAM,
} from "#wire/docker";
import { upgradeOf } from "#wire/http";

import type { Call } from "./call.ts";
import { sizeOf } from "./containers.ts";
import { decodeExecCreate, decodeExecStart } from "./decode/exec.ts";
import { type Connection, endGently, joinStreams } from "./join.ts";
import type { Routes } from "./routes.ts";
import { streamType } from "./streams.ts";

export function execRoutes(containers: ContainerService): Routes {
  return {
    "POST /containers/:id/exec": async (call) => {
      const request = decodeExecCreate(await call.requireBody());
      const id = await containers.createExec(call.param("id"), {
        ...request,
        ...(atLeast(call.version, "1.42") ? {} : { consoleSize: null }),
      });
      if (isOneExchange(call) && !request.terminal) await runAtOnce(call, containers, id);
      else call.json(201, { Id: id });
    },
    "POST /exec/:id/start": async (call) => {
      const request = decodeExecStart(await call.body());
      const exec = containers.resolveExec(call.param("id"));
      requireRunning(containers.resolve(exec.containerId));
      await start(call, containers, { exec, request });
    },
    "POST /exec/:id/resize": async (call) => {
      await containers.resizeExec(call.param("id"), sizeOf(call));
      call.empty(200);
    },
    "GET /exec/:id/json": (call) => {
      call.json(200, encodeExec(containers.resolveExec(call.param("id"))));
    },
  };
}

/** The client offers to go on as a stream: see wire/docker's frames. */
const isOneExchange = (call: Call): boolean =>
  call.upgraded && upgradeOf(call.request) === EXEC_UPGRADE;

/**
 * What makes the request itself wrong (no such exec, not running, started already) answers with a status. Then the
 * head goes out, before the program is there: Docker's Python client loses output that comes together with it. What
 * fails from here on is told on the stream, where clients look for it: they then ask for the exit code.
 */
async function start(
  call: Call,
  containers: ContainerService,
  { exec, request }: { exec: ExecInstance; request: ReturnType<typeof decodeExecStart> },
): Promise<void> {
  const { terminal } = exec.request;
  if (request.detach) {
    await containers.startExec(exec.id, request);
    call.empty(200);
    return;
  }
  let connection: Connection | null = null;
  const hijacked = () => (connection ??= call.hijack({ contentType: streamType(call, terminal) }));
  let streams;
  try {
    streams = await containers.startExec(exec.id, { ...request, onAccepted: hijacked });
  } catch (error) {
    if (!call.begun) throw error;
    const { sink, source } = hijacked();
    sink.write(failureText(error, terminal));
    source.resume();
    endGently(sink);
    return;
  }
  if (streams !== null) await joinStreams(hijacked(), streams);
}

/** Starts it on the connection that created it; the head comes with the streams, the exit code after them. */
async function runAtOnce(call: Call, containers: ContainerService, id: string): Promise<void> {
  let isAccepted = false;
  const hijack = () =>
    call.hijack({
      contentType: MULTIPLEXED_STREAM,
      protocol: EXEC_UPGRADE,
      headers: { [EXEC_ID_HEADER]: id },
    });
  const exit = async () => encodeExit(await containers.waitForExec(id));
  let streams;
  try {
    streams = await containers.startExec(id, {
      detach: false,
      terminal: false,
      consoleSize: null,
      onAccepted: () => (isAccepted = true),
    });
  } catch (error) {
    if (!isAccepted) throw error;
    const { sink, source } = hijack();
    sink.write(joinBytes([failureText(error, false), await exit()]));
    source.resume();
    endGently(sink);
    return;
  }
  if (streams !== null) await joinStreams(hijack(), streams, exit);
}

function failureText(error: unknown, terminal: boolean): Uint8Array {
  const words = new TextEncoder().encode(`${sentenceOf(error)}\r\n`);
  return terminal ? words : encodeFrame("stdout", words);
}

/** @throws EngineError "conflict" in Docker's words */
function requireRunning({ id, name, state }: Container): void {
  switch (state.status) {
    case "running":
      return;
    case "paused":
      throw conflict(`Container ${name} is paused, unpause the container before exec`);
    case "restarting":
      throw conflict(`Container ${name} is restarting, wait until the container is running`);
    case "removing":
      throw noSuch("container", id);
    case "created":
    case "exited":
      throw conflict(`container ${id} is not running`);
  }
}

function encodeExec({ id, containerId, request, state }: ExecInstance): ExecInspect {
  const [entrypoint = "", ...args] = request.command;
  return {
    ID: id,
    Running: state.status === "running",
    ExitCode: state.status === "exited" ? state.exitCode : null,
    ProcessConfig: {
      tty: request.terminal,
      entrypoint,
      arguments: args,
      privileged: request.privileged,
      ...(request.user === "" ? {} : { user: request.user }),
    },
    OpenStdin: request.attachStdin,
    OpenStderr: request.attachStderr,
    OpenStdout: request.attachStdout,
    CanRemove: state.status === "exited",
    ContainerID: containerId,
    DetachKeys: Buffer.from(request.detachKeys).toString("base64"),
    Pid: state.status === "created" ? 0 : state.pid,
  };
}
