/**
 * `naru exec`: a command inside a running container. One exchange with an engine that knows how, without a terminal;
 * elsewhere two, and one for the exit code.
 */
import { invalid } from "#base";
import {
  attachExec,
  createExec,
  inspectExec,
  resizeExec,
  runExec,
  startExec,
  type ApiClient,
  type Hijacked,
} from "#clients/api-client";
import { EXEC_ID_HEADER, type ExecCreateRequest, type IdResponse } from "#wire/docker";

import { readKeyValueFiles } from "../options/files.ts";
import { STDIN, STDOUT } from "../terminal/stdio.ts";
import { isTerminal, windowSize } from "../terminal/tty.ts";
import { followSize, join } from "./attached.ts";
import { ExitError, type Command, type Invocation } from "./command.ts";
import { ENV_FILE_FLAG, ENV_FLAG } from "./process-flags.ts";

export const exec: Command = {
  flags: [
    {
      name: "detach",
      shorthand: "d",
      kind: "bool",
      usage: "Detached mode: run command in the background",
    },
    {
      name: "detach-keys",
      kind: "string",
      usage: "Override the key sequence for detaching a container",
    },
    ENV_FLAG,
    ENV_FILE_FLAG,
    {
      name: "interactive",
      shorthand: "i",
      kind: "bool",
      usage: "Keep STDIN open even if not attached",
    },
    { name: "privileged", kind: "bool", usage: "Give extended privileges to the command" },
    { name: "tty", shorthand: "t", kind: "bool", usage: "Allocate a pseudo-TTY" },
    {
      name: "user",
      shorthand: "u",
      kind: "string",
      usage: 'Username or UID (format: "<name|uid>[:<group|gid>]")',
    },
    {
      name: "workdir",
      shorthand: "w",
      kind: "string",
      usage: "Working directory inside the container",
    },
  ],
  async run(invocation) {
    const { flags, args, session } = invocation;
    const [container = ""] = args;
    const client = await session.client();
    const config = execRequest(invocation);
    if (!flags.bool("detach") && config.AttachStdin && config.Tty && !isTerminal(STDIN)) {
      throw new ExitError(1, "the input device is not a TTY");
    }
    const tty = config.Tty === true;
    if (flags.bool("detach")) {
      const id = idOf(await createExec(client, container, config));
      await startExec(client, id, { Detach: true, Tty: tty });
      return 0;
    }
    if (!tty) {
      const answer = await runExec(client, container, config);
      return "wire" in answer
        ? await follow(client, answer, config)
        : await interact(client, idOf(answer), config);
    }
    const created = createExec(client, container, config);
    setImmediate(() => client.expectHijack());
    return await interact(client, idOf(await created), config);
  },
};

function idOf({ Id: id }: IdResponse): string {
  if (id === "") throw invalid("exec ID empty");
  return id;
}

/** Its streams are here already, and its exit code comes last. */
async function follow(
  client: ApiClient,
  hijacked: Hijacked,
  { AttachStdin: stdin = false }: ExecCreateRequest,
): Promise<number> {
  let exitCode: number | null = null;
  const onExit = (code: number) => (exitCode = code);
  await join(hijacked, { tty: false, stdin, detachKeys: null, onExit }).done;
  if (exitCode !== null) return exitCode;
  // The engine ended before the process: its successor may know.
  const id = hijacked.headers.get(EXEC_ID_HEADER.toLowerCase()) ?? "";
  const { ExitCode: code, Running: isRunning } = await inspectExec(client, id);
  if (isRunning) throw new ExitError(1, `the engine left before the command ended: ${id} runs on`);
  return code ?? 0;
}

function execRequest({ flags, args, session }: Invocation): ExecCreateRequest {
  const lookup = (name: string) => session.environment[name];
  const files = readKeyValueFiles(flags.list("env-file"), "env", lookup);
  const detach = flags.bool("detach");
  const tty = flags.bool("tty");
  const size = tty ? windowSize(STDOUT) : undefined;
  const detachKeys = flags.string("detach-keys") || session.config.detachKeys || "";
  return {
    User: flags.string("user"),
    Privileged: flags.bool("privileged"),
    Tty: tty,
    AttachStdin: !detach && flags.bool("interactive"),
    AttachStdout: !detach,
    AttachStderr: !detach,
    DetachKeys: detachKeys,
    Env: [...files, ...flags.list("env")],
    WorkingDir: flags.string("workdir"),
    Cmd: args.slice(1),
    ...(size === undefined ? {} : { ConsoleSize: [size.rows, size.columns] }),
  };
}

async function interact(client: ApiClient, id: string, config: ExecCreateRequest): Promise<number> {
  const tty = config.Tty === true;
  const start = { Detach: false, Tty: tty, ConsoleSize: config.ConsoleSize ?? null };
  const hijacked = await attachExec(client, id, start);
  const joined = join(hijacked, {
    tty,
    stdin: config.AttachStdin === true,
    detachKeys: config.DetachKeys ?? "",
  });
  if (tty && isTerminal(STDOUT)) followSize((size) => resizeExec(client, id, size));
  await joined.done; // a detach is an error here, as docker has it
  const { ExitCode: code } = await inspectExec(client, id);
  return code ?? 0;
}
