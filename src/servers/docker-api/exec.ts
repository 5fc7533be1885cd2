/** Exec: another process in a running container. */
import { conflict, noSuch, sentenceOf } from "#base";
import type { Container, ContainerService, ExecInstance } from "#engine/container";
import { atLeast, encodeFrame, type ExecInspect } from "#wire/docker";

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
      call.json(201, { Id: id });
    },
    "POST /exec/:id/start": (call) => start(call, containers),
    "POST /exec/:id/resize": async (call) => {
      await containers.resizeExec(call.param("id"), sizeOf(call));
      call.empty(200);
    },
    "GET /exec/:id/json": (call) => {
      call.json(200, encodeExec(containers.resolveExec(call.param("id"))));
    },
  };
}

/**
 * What makes the request itself wrong (no such exec, not running, started already) answers with a status. Then the
 * head goes out, before the program is there: Docker's Python client loses output that comes together with it. What
 * fails from here on is told on the stream, where clients look for it: they then ask for the exit code.
 */
async function start(call: Call, containers: ContainerService): Promise<void> {
  const request = decodeExecStart(await call.body());
  const exec = containers.resolveExec(call.param("id"));
  requireRunning(containers.resolve(exec.containerId));
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
    const words = new TextEncoder().encode(`${sentenceOf(error)}\r\n`);
    sink.write(terminal ? words : encodeFrame("stdout", words));
    source.resume();
    endGently(sink);
    return;
  }
  if (streams !== null) await joinStreams(hijacked(), streams);
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
