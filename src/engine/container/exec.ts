/** Further processes in a running container: create, start, resize, and how they ended. */
import { conflict, invalid, newId, noSuch, sentenceOf } from "#base";
import { resolveIdentity } from "#engine/runtime";
import type { ExitReport } from "#engine/supervisor";
import { anyMayStall, readMountInfo } from "#linux/mount";
import type { ProcessSpec } from "#oci";

import type {
  ExecCreateRequest,
  ExecInstance,
  ExecStartRequest,
  ProcessStreams,
} from "./container-service.ts";
import { type Context, inBackground } from "./context.ts";
import { parseDetachKeys } from "./detach-keys.ts";
import { OPEN_LIMIT } from "./exec-table.ts";
import { startError, startFailureOf } from "./failures.ts";
import { openLiveRoot } from "./files/view.ts";
import { publishEvent } from "./happenings.ts";
import { linkedContainers, linkEnvironment } from "./links.ts";
import type { ContainerRecord } from "./records.ts";
import { apparmorProfileOf, parseSecurityOptions } from "./security-options.ts";
import { capabilitiesOf, environmentOf, powersOf } from "./spec.ts";
import { attachProcess, connect } from "./streams.ts";

/** @throws EngineError "conflict" in Docker's words when the container does not run */
export function createExec(
  context: Context,
  nameOrId: string,
  request: ExecCreateRequest,
  kind: { readonly isProbe?: true } = {},
): string {
  const record = runningContainer(context, context.records.resolve(nameOrId).id, nameOrId);
  if (request.command.length === 0) throw invalid("No exec command specified");
  if (request.user !== "") checkUser(record, request.user);
  parseDetachKeys(request.detachKeys, "escape keys");
  const linked = linkEnvironment(linkedContainers(context, record), record.name);
  if (!context.execs.makeRoom(record.id, context.startingExecs)) {
    throw conflict(`container ${record.id} has ${OPEN_LIMIT} exec instances that have not ended`);
  }
  const exec: ExecInstance = {
    id: newId(),
    containerId: record.id,
    request,
    ...(linked.length === 0 ? {} : { linked }),
    ...kind,
    state: { status: "created" },
  };
  context.execs.put(exec);
  publishEvent(context, record, `exec_create: ${wordsOf(request.command)}`, { execID: exec.id });
  return exec.id;
}

/** Who is not there is told now; the start looks again. @throws EngineError "invalid" in Docker's words */
function checkUser(record: ContainerRecord, user: string): void {
  using root = openLiveRoot(record);
  if (root === null) throw conflict(`container ${record.id} is not running`);
  const mayStall = () => anyMayStall(readMountInfo(record.process?.pid));
  try {
    resolveIdentity(root.fd, { user, groups: record.host.groupAdd }, mayStall);
  } catch (cause) {
    throw invalid(sentenceOf(cause), { cause });
  }
}

/** As Docker's events tell it: behind the program is a space, also where no argument follows. */
const wordsOf = ([program = "", ...words]: readonly string[]): string =>
  `${program} ${words.join(" ")}`;

/** @param name what the client called it. */
function runningContainer(context: Context, id: string, name = id): ContainerRecord {
  const record = context.records.must(id);
  const { state } = record;
  switch (state.status) {
    case "running":
      return record;
    case "paused":
      throw conflict(`Container ${name} is paused, unpause the container before exec`);
    case "restarting":
      throw conflict(`Container ${id} is restarting, wait until the container is running`);
    case "created":
    case "exited":
    case "removing":
      throw conflict(`container ${id} is not running`);
  }
}

/** @throws EngineError in Docker's words */
export async function startExec(
  context: Context,
  execId: string,
  start: ExecStartRequest,
): Promise<ProcessStreams | null> {
  const exec = context.execs.must(execId);
  const { containerId, request } = exec;
  if (exec.state.status === "exited") throw conflict(`exec command ${execId} has already run`);
  if (exec.state.status === "running" || context.startingExecs.has(execId)) {
    throw conflict(`exec command ${execId} is already running`);
  }
  const record = runningContainer(context, containerId);
  const key = { id: containerId, execId };
  const settled = Promise.withResolvers<void>();
  context.startingExecs.set(execId, settled.promise);
  try {
    start.onAccepted?.();
    // The supervisor makes room for the streams while the record is written.
    const attaching = start.detach
      ? null
      : attachProcess(context, key, {
          stdin: request.attachStdin,
          stdout: request.attachStdout,
          stderr: request.attachStderr,
        });
    writeOrWarn(context, exec);
    const attached = await attaching;
    try {
      await runExec(context, record, exec, start);
    } catch (cause) {
      attached?.close();
      throw cause;
    }
    if (attached === null) return null;
    return connect(attached, {
      terminal: request.terminal,
      input: request.attachStdin,
      keys: parseDetachKeys(request.detachKeys),
      history: null,
      onDetach: () => publishEvent(context, record, "exec_detach", { execID: execId }),
    });
  } finally {
    context.startingExecs.delete(execId);
    settled.resolve();
  }
}

/** The record is there before the process is; on a full disk, where someone wants to clear up, only in memory. */
function writeOrWarn(context: Context, exec: ExecInstance): void {
  try {
    context.execs.write(exec);
  } catch (cause) {
    context.log.warn(`exec ${exec.id} could not be written down`, { error: sentenceOf(cause) });
  }
}

async function runExec(
  context: Context,
  record: ContainerRecord,
  exec: ExecInstance,
  start: ExecStartRequest,
): Promise<void> {
  const { id, containerId, request } = exec;
  const [rows, columns] = start.consoleSize ?? request.consoleSize ?? [0, 0];
  publishEvent(context, record, `exec_start: ${wordsOf(request.command)}`, { execID: id });
  try {
    const report = await context.supervisor.request({
      type: "exec",
      id: containerId,
      execId: id,
      process: execProcess(context, record, exec, [rows, columns]),
      identity: {
        user: request.user === "" ? record.config.user : request.user,
        groups: record.host.groupAdd,
      },
      stdio: {
        openStdin: request.attachStdin,
        stdinOnce: request.attachStdin,
        terminal: request.terminal ? { columns, rows } : null,
      },
    });
    // Its end may have overtaken the answer.
    if (context.execs.get(id)?.state.status === "exited") return;
    context.execs.put({ ...exec, state: { status: "running", pid: report.pid } });
  } catch (cause) {
    const failure = startFailureOf(cause);
    context.execs.put({ ...exec, state: { status: "exited", pid: 0, exitCode: failure.exitCode } });
    throw startError(failure, cause);
  }
}

/** The container's own process, with what the exec asks instead. Pure but for the context's defaults. */
function execProcess(
  context: Pick<Context, "facts" | "specDefaults">,
  record: ContainerRecord,
  { request, linked }: ExecInstance,
  [rows, columns]: readonly [number, number],
): ProcessSpec {
  const { config, host } = record;
  const security = parseSecurityOptions(host.securityOptions);
  const privileged = host.privileged || request.privileged;
  const names = capabilitiesOf({ ...host, privileged }, context.specDefaults);
  // Docker's `exec --privileged` leaves the container's profile in force.
  const apparmor = apparmorProfileOf(security, {
    privileged: host.privileged,
    enabled: context.facts.apparmor,
  });
  return {
    terminal: request.terminal,
    ...(request.terminal && rows > 0 && columns > 0
      ? { consoleSize: { height: rows, width: columns } }
      : {}),
    user: { uid: 0, gid: 0 },
    args: [...request.command],
    env: environmentOf(
      {
        config: {
          ...config,
          terminal: request.terminal,
          environment: [...config.environment, ...request.environment],
        },
      },
      linked,
    ),
    cwd: request.workingDirectory || config.workingDirectory || "/",
    ...powersOf(host, names),
    noNewPrivileges: security.noNewPrivileges,
    ...(apparmor === null ? {} : { apparmorProfile: apparmor }),
  };
}

/** The end of an exec. The supervisor keeps its own record until ours is written. */
export function handleExecExit(context: Context, exit: ExitReport): void {
  const { id: containerId, execId = "" } = exit.key;
  const exec = context.execs.get(execId);
  if (exec !== undefined && exec.state.status !== "exited") {
    context.execs.put({
      ...exec,
      state: { status: "exited", pid: exit.pid, exitCode: exit.exitCode },
    });
    const record = context.records.get(containerId);
    if (record !== undefined) {
      publishEvent(context, record, "exec_die", {
        execID: execId,
        exitCode: String(exit.exitCode),
      });
    }
  }
  context.execEnds.get(execId)?.(exit.exitCode);
  context.execEnds.delete(execId);
  context.forgetLater(exit.key);
}

/** @throws EngineError "notFound" */
export function waitForExec(context: Context, execId: string): number | Promise<number> {
  const { state } = context.execs.must(execId);
  if (state.status === "exited") return state.exitCode;
  const ended = Promise.withResolvers<number>();
  context.execEnds.set(execId, ended.resolve);
  return ended.promise;
}

export async function resizeExec(
  context: Context,
  execId: string,
  { columns, rows }: { columns: number; rows: number },
): Promise<void> {
  context.execs.must(execId);
  // Clients know of the stream before the terminal is there, and set its size at once.
  await context.startingExecs.get(execId);
  const exec = context.execs.must(execId);
  if (exec.state.status === "exited") throw noSuch("exec instance", execId);
  const key = { id: exec.containerId, execId };
  await context.supervisor.request({ type: "resize", key, columns, rows });
}

/** Writes the ends that wait, then lets the supervisor forget them: one transaction for all of a moment. */
export function forgetSoon(context: Context): Context["forgetLater"] {
  const waiting: { id: string; execId?: string }[] = [];
  let timer: NodeJS.Timeout | null = null;
  const work = () => {
    timer = null;
    const keys = waiting.splice(0);
    try {
      // The supervisor's own records end with the machine as well.
      context.store.transact(() => null, "process");
    } catch (cause) {
      // The supervisor keeps its own records of these ends, for the next daemon.
      context.log.error("ends of execs were not written", { error: sentenceOf(cause) });
      return;
    }
    for (const key of keys) {
      inBackground(context, "forget an exec", context.supervisor.request({ type: "forget", key }));
    }
  };
  return (key) => {
    waiting.push(key);
    timer ??= setTimeout(work, FORGET_DELAY_MS).unref();
  };
}

/** How long an exec's end waits for others, so that many short ones cost one sync. */
const FORGET_DELAY_MS = 100;
