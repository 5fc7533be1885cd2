/** `naru attach`: joins a running container's streams until it ends or the user detaches. */
import { conflict } from "#base";
import {
  attachContainer,
  inspectContainer,
  killContainer,
  resizeContainer,
  waitContainer,
} from "#clients/api-client";
import type { ContainerInspect } from "#wire/docker";

import { STDIN, STDOUT } from "../terminal/stdio.ts";
import { isTerminal } from "../terminal/tty.ts";
import { followSize, forwardSignals, join } from "./attached.ts";
import { ExitError, type Command } from "./command.ts";
import { exitCodeOf } from "./exit-code.ts";

export const attach: Command = {
  flags: [
    {
      name: "detach-keys",
      kind: "string",
      usage: "Override the key sequence for detaching a container",
    },
    { name: "no-stdin", kind: "bool", usage: "Do not attach STDIN" },
    {
      name: "sig-proxy",
      kind: "bool",
      usage: "Proxy all received signals to the process",
      fallback: true,
    },
  ],
  async run({ flags, args, session }) {
    const [container = ""] = args;
    const client = await session.client();
    const { exit } = await waitContainer(client, container, {});
    const inspected = await inspectContainer(client, container);
    refuseState(inspected);
    const { Config: config, Id: id } = inspected;
    const stdin = !flags.bool("no-stdin") && config.OpenStdin;
    if (stdin && config.Tty && !isTerminal(STDIN)) {
      throw new ExitError(1, "the input device is not a TTY");
    }
    const detachKeys = flags.string("detach-keys") || session.config.detachKeys || "";
    const streams = { stdin, stdout: true, stderr: true };
    const hijacked = await attachContainer(client, id, { ...streams, detachKeys });
    const joined = join(hijacked, { ...streams, tty: config.Tty, detachKeys });
    if (flags.bool("sig-proxy") && !config.Tty) {
      forwardSignals((signal) => killContainer(client, id, signal));
    }
    if (config.Tty && isTerminal(STDOUT)) followSize((size) => resizeContainer(client, id, size));
    await joined.done;
    return exitCodeOf(await exit);
  },
};

function refuseState({ State: state }: ContainerInspect): void {
  if (!state.Running) throw conflict("You cannot attach to a stopped container, start it first");
  if (state.Paused) throw conflict("You cannot attach to a paused container, unpause it first");
  if (state.Restarting)
    throw conflict("You cannot attach to a restarting container, wait until it is running");
}
