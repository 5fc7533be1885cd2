/** What is done to containers one by one: stop, kill, restart, pause, unpause, rm, rename, wait. */
import { invalid } from "#base";
import {
  ApiError,
  killContainer,
  pauseContainer,
  removeContainer,
  renameContainer,
  restartContainer,
  stopContainer,
  unpauseContainer,
  waitContainer,
} from "#clients/api-client";

import type { FlagSpec } from "../flags/spec.ts";
import { printLine } from "../terminal/stdio.ts";
import { ExitError, type Command } from "./command.ts";
import { messageFor } from "./failure.ts";
import { DRY_RUN_FLAG, previewRemoval } from "./dry-run.ts";
import { forEachArgument } from "./each.ts";
import { exitCodeOf } from "./exit-code.ts";

const SIGNAL_FLAG: FlagSpec = {
  name: "signal",
  shorthand: "s",
  kind: "string",
  usage: "Signal to send to the container",
  values: ["SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"],
};
const TIMEOUT_FLAG: FlagSpec = {
  name: "timeout",
  shorthand: "t",
  kind: "int",
  usage: "Seconds to wait before killing the container",
};
/** Docker's older name of --timeout: taken, not shown. */
const TIME_FLAG: FlagSpec = { name: "time", kind: "int", usage: "Same as --timeout", hidden: true };

const stopping = (request: typeof stopContainer): Command => ({
  flags: [SIGNAL_FLAG, TIMEOUT_FLAG, TIME_FLAG],
  async run({ flags, args, session }) {
    if (flags.changed("time") && flags.changed("timeout")) {
      throw invalid("conflicting options: cannot specify both --timeout and --time");
    }
    const client = await session.client();
    const timeoutSeconds = flags.given("timeout") ?? flags.given("time");
    const signal = flags.string("signal") || undefined;
    const action = (id: string) => request(client, id, { signal, timeoutSeconds });
    return forEachArgument(args, action, printLine);
  },
});

export const stop: Command = stopping(stopContainer);
export const restart: Command = stopping(restartContainer);

export const kill: Command = {
  flags: [SIGNAL_FLAG],
  async run({ flags, args, session }) {
    const client = await session.client();
    const signal = flags.string("signal") || undefined;
    return forEachArgument(args, (id) => killContainer(client, id, signal), printLine);
  },
};

const plain = (request: typeof pauseContainer): Command => ({
  flags: [],
  async run({ args, session }) {
    const client = await session.client();
    return forEachArgument(args, (id) => request(client, id), printLine);
  },
});

export const pause: Command = plain(pauseContainer);
export const unpause: Command = plain(unpauseContainer);

export const rm: Command = {
  flags: [
    {
      name: "force",
      shorthand: "f",
      kind: "bool",
      usage: "Force the removal of a running container (uses SIGKILL)",
    },
    DRY_RUN_FLAG,
    { name: "link", shorthand: "l", kind: "bool", usage: "Remove the specified link" },
    {
      name: "volumes",
      shorthand: "v",
      kind: "bool",
      usage: "Remove anonymous volumes associated with the container",
    },
  ],
  async run({ flags, args, session }) {
    const client = await session.client();
    const force = flags.bool("force");
    if (flags.bool("dry-run")) return previewRemoval(client, args, { force });
    const options = { force, link: flags.bool("link"), volumes: flags.bool("volumes") };
    const remove = async (arg: string) => {
      const name = arg.replace(/^\/+|\/+$/g, "");
      if (name === "") throw invalid("Container name cannot be empty");
      try {
        await removeContainer(client, name, options);
      } catch (cause) {
        // Forced: what is not there is as good as removed, but it is said.
        if (!force || !(cause instanceof ApiError) || cause.status !== 404) throw cause;
        session.warn(`Error response from daemon: ${cause.message}`);
        missing.add(arg);
      }
    };
    const missing = new Set<string>();
    return forEachArgument(args, remove, (arg) => {
      if (!missing.has(arg)) printLine(arg);
    });
  },
};

export const rename: Command = {
  flags: [],
  async run({ args, session }) {
    const [from = "", to = ""] = args.map((name) => name.trim());
    if (from === "" || to === "") {
      throw invalid("Error: Neither old nor new names may be empty");
    }
    const client = await session.client();
    try {
      await renameContainer(client, from, to);
    } catch (cause) {
      throw new ExitError(
        1,
        `${messageFor(cause)}\nError: failed to rename container named ${from}`,
      );
    }
    return 0;
  },
};

export const wait: Command = {
  flags: [],
  async run({ args, session }) {
    const client = await session.client();
    const codes = new Map<string, number>();
    const action = async (id: string) => {
      const { exit } = await waitContainer(client, id);
      codes.set(id, exitCodeOf(await exit));
    };
    return forEachArgument(args, action, (id) => printLine(String(codes.get(id))));
  },
};
