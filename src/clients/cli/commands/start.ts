/** `naru start`: one or more stopped containers; with -a or -i one of them, joined to this program's streams. */
import { invalid } from "#base";
import {
  attachContainer,
  inspectContainer,
  killContainer,
  resizeContainer,
  startContainer,
  waitContainer,
} from "#clients/api-client";

import { printLine, STDIN, STDOUT, warn } from "../terminal/stdio.ts";
import { isTerminal } from "../terminal/tty.ts";
import { Detached, followSize, forwardSignals, join } from "./attached.ts";
import { ExitError, type Command, type Invocation } from "./command.ts";
import { exitCodeOf } from "./exit-code.ts";
import { messageFor } from "./failure.ts";

export const start: Command = {
  flags: [
    {
      name: "attach",
      shorthand: "a",
      kind: "bool",
      usage: "Attach STDOUT/STDERR and forward signals",
    },
    { name: "checkpoint", kind: "string", usage: "Restore from this checkpoint", hidden: true },
    {
      name: "checkpoint-dir",
      kind: "string",
      usage: "Use a custom checkpoint storage directory",
      hidden: true,
    },
    {
      name: "detach-keys",
      kind: "string",
      usage: "Override the key sequence for detaching a container",
    },
    { name: "interactive", shorthand: "i", kind: "bool", usage: "Attach container's STDIN" },
  ],
  async run(invocation) {
    const { flags, args } = invocation;
    for (const flag of ["checkpoint", "checkpoint-dir"]) {
      if (!flags.changed(flag)) continue;
      const { requireExperimental } = await import("./checkpoints.ts");
      await requireExperimental(await invocation.session.client(), `"--${flag}"`);
    }
    if (!flags.bool("attach") && !flags.bool("interactive")) {
      return flags.string("checkpoint") === "" ? startMany(invocation) : startFrom(invocation);
    }
    const [container = "", second] = args;
    if (second !== undefined) {
      throw invalid("you cannot start and attach multiple containers at once");
    }
    return startAttached(invocation, container);
  },
};

async function startMany({ args, session }: Invocation): Promise<number> {
  const client = await session.client();
  const failed: string[] = [];
  for (const container of args) {
    try {
      await startContainer(client, container);
      printLine(container);
    } catch (cause) {
      warn(messageFor(cause));
      failed.push(container);
    }
  }
  if (failed.length === 0) return 0;
  throw new ExitError(1, `Error: failed to start containers: ${failed.join(", ")}`);
}

/** What docker's client sends with such a start. */
const checkpointOf = ({ flags }: Invocation) => ({
  checkpoint: flags.string("checkpoint") || undefined,
  checkpointDirectory: flags.string("checkpoint-dir") || undefined,
});

/** One container from its checkpoint; nothing is printed. */
async function startFrom(invocation: Invocation): Promise<number> {
  const [container = "", second] = invocation.args;
  if (second !== undefined) throw invalid("you cannot restore multiple containers at once");
  await startContainer(await invocation.session.client(), container, checkpointOf(invocation));
  return 0;
}

async function startAttached(invocation: Invocation, container: string): Promise<number> {
  const { flags, session } = invocation;
  const client = await session.client();
  const { Config: config, HostConfig: host, Id: id } = await inspectContainer(client, container);
  const detachKeys = flags.string("detach-keys") || session.config.detachKeys || "";
  const streams = {
    stdin: flags.bool("interactive") && config.OpenStdin,
    stdout: true,
    stderr: true,
  };
  if (streams.stdin && config.Tty && !isTerminal(STDIN)) {
    throw new ExitError(1, "the input device is not a TTY");
  }
  const [hijacked, { exit }] = await Promise.all([
    attachContainer(client, id, { ...streams, detachKeys }),
    waitContainer(client, id, { condition: host.AutoRemove ? "removed" : "next-exit" }),
  ]);
  const joined = join(hijacked, { ...streams, tty: config.Tty, detachKeys });
  if (!config.Tty) forwardSignals((signal) => killContainer(client, id, signal));
  try {
    await startContainer(client, id, checkpointOf(invocation));
  } catch (cause) {
    joined.restore();
    hijacked.wire.close();
    throw cause;
  }
  if (config.Tty && isTerminal(STDOUT)) followSize((size) => resizeContainer(client, id, size));
  try {
    await joined.done;
  } catch (cause) {
    if (cause instanceof Detached) return 0;
    throw cause;
  }
  return exitCodeOf(await exit);
}
