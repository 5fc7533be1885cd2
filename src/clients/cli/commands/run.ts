/**
 * `naru run`: create, then attach and wait at once, then start: three round trips. Attaching comes before the start, so
 * nothing the container prints is missed; waiting too, so its exit cannot be.
 */
import { conflict, sentenceOf } from "#base";
import {
  attachContainer,
  ApiError,
  ConnectionError,
  explainContainer,
  killContainer,
  removeContainer,
  resizeContainer,
  startContainer,
  waitContainer,
  type ApiClient,
} from "#clients/api-client";

import type { Session } from "../config/session.ts";
import type { Flags } from "../flags/spec.ts";
import { containerRequest, type ContainerRequest } from "../options/container-request.ts";
import { print, printLine, STDIN, STDOUT, warn } from "../terminal/stdio.ts";
import { isTerminal } from "../terminal/tty.ts";
import { Detached, followSize, forwardSignals, join } from "./attached.ts";
import { ExitError, type Command, type Invocation } from "./command.ts";
import { containerFlags, runOnlyFlags } from "./container-flags.ts";
import { create } from "./create-container.ts";
import { exitCodeOf } from "./exit-code.ts";

const ENGINE_EXIT = 125;
const CANNOT_RUN_EXIT = 126;
const NOT_FOUND_EXIT = 127;

export const run: Command = {
  flags: [...containerFlags("running"), ...runOnlyFlags],
  async run(invocation) {
    const { flags, args, session } = invocation;
    const request = containerRequest(flags, args, session.environment);
    if (flags.bool("explain")) return explain(session, flags, request);
    const detach = flags.bool("detach");
    if (detach) detachRequest(flags, request);
    else checkTerminal(request);
    const id = await createStarting(session, flags, request);
    if (detach) return runDetached(invocation, id);
    return runAttached(invocation, id, request);
  },
};

function detachRequest(flags: Flags, { config }: ContainerRequest): void {
  if (flags.list("attach").length > 0) {
    throw new ExitError(1, "conflicting options: cannot specify both --attach and --detach");
  }
  config.AttachStdin = config.AttachStdout = config.AttachStderr = false;
  config.StdinOnce = false;
}

/** A terminal inside needs one outside when input is typed. */
export function checkTerminal({ config }: Pick<ContainerRequest, "config">): void {
  if (config.AttachStdin === true && config.Tty === true && !isTerminal(STDIN)) {
    throw new ExitError(1, "the input device is not a TTY");
  }
}

/** Creates; where no daemon runs and this program may start one, starts it first. */
async function createStarting(
  session: Session,
  flags: Flags,
  request: ContainerRequest,
): Promise<string> {
  try {
    return await create(session, flags, request);
  } catch (cause) {
    if (!(cause instanceof ConnectionError) || cause.failure !== "notRunning") throw cause;
    const { startDaemon } = await import("./start-daemon.ts");
    if (!(await startDaemon(session))) throw cause;
  }
  return create(session, flags, request);
}

async function runDetached(invocation: Invocation, id: string): Promise<number> {
  try {
    await startContainer(await invocation.session.client(), id);
  } catch (cause) {
    // The id is known: whoever cleans up needs it.
    printLine(id);
    return startFailed(invocation.name, cause);
  }
  printLine(id);
  return 0;
}

async function runAttached(
  invocation: Invocation,
  id: string,
  { config }: ContainerRequest,
): Promise<number> {
  const { flags, session, name } = invocation;
  const client = await session.client();
  const detachKeys = flags.string("detach-keys") || session.config.detachKeys || "";
  const streams = {
    stdin: config.AttachStdin === true,
    stdout: config.AttachStdout === true,
    stderr: config.AttachStderr === true,
  };
  const condition = flags.bool("rm") ? "removed" : "next-exit";
  const [hijacked, { exit }] = await Promise.all([
    attachContainer(client, id, { ...streams, detachKeys }),
    waitContainer(client, id, { condition }),
  ]);
  const tty = config.Tty === true;
  const joined = join(hijacked, { ...streams, tty, detachKeys });
  const stopSignals = flags.bool("sig-proxy")
    ? forwardSignals((signal) => killContainer(client, id, signal))
    : undefined;
  try {
    await startContainer(client, id);
  } catch (cause) {
    joined.restore();
    hijacked.wire.close();
    if (flags.bool("rm")) await exit.catch(() => undefined); // gone before we are
    return startFailed(name, cause);
  }
  if (tty && isTerminal(STDOUT)) followSize((size) => resizeContainer(client, id, size));
  try {
    await joined.done;
  } catch (cause) {
    if (cause instanceof Detached) return 0;
    throw cause;
  } finally {
    stopSignals?.();
  }
  return exitCodeOf(await exit);
}

function startFailed(name: string, cause: unknown): number {
  const prefix = cause instanceof ApiError ? "Error response from daemon: " : "";
  warn(`naru: ${prefix}${sentenceOf(cause)}\n\nRun '${name} --help' for more information`);
  return startExitCode(sentenceOf(cause));
}

/** Docker picks the code by these words of the sentence, and so do scripts. */
export function startExitCode(message: string): number {
  const notFound =
    /executable file not found|no such file or directory|system cannot find the file specified/;
  if (notFound.test(message)) return NOT_FOUND_EXIT;
  if (/permission denied|is a directory/.test(message)) return CANNOT_RUN_EXIT;
  return ENGINE_EXIT;
}

async function explain(session: Session, flags: Flags, request: ContainerRequest): Promise<number> {
  const id = await createStarting(session, flags, request);
  const client = await session.client();
  try {
    print(await planOf(client, id));
  } finally {
    await removeContainer(client, id, { force: true, volumes: true });
  }
  return 0;
}

async function planOf(client: ApiClient, id: string): Promise<string> {
  try {
    return await explainContainer(client, id);
  } catch (cause) {
    if (!(cause instanceof ApiError) || cause.message !== "page not found") throw cause;
    throw conflict("--explain needs a naru daemon: this engine does not tell its plans", { cause });
  }
}
