/** `naru stack config`, `stack deploy` and `swarm unlock`: what docker looks at before it asks for a swarm. */
import { notImplemented, unavailable } from "#base";
import { systemInfo } from "#clients/api-client";

import type { Flags } from "../flags/spec.ts";
import { ExitError, type Command } from "./command.ts";
import { swarmFlags } from "./swarm-flags.ts";

function requireFile(flags: Flags): void {
  if (flags.string("compose-file") === "") {
    throw new ExitError(1, "Specify a Compose file (with --compose-file)");
  }
}

export const config: Command = {
  flags: swarmFlags("stack config"),
  run({ flags }) {
    requireFile(flags);
    throw notImplemented("naru: 'stack config' needs docker's own client");
  },
};

export const deploy: Command = {
  flags: swarmFlags("stack deploy"),
  async run({ flags, session }) {
    requireFile(flags);
    const { Swarm } = await systemInfo(await session.client());
    if (Swarm.ControlAvailable) {
      throw notImplemented("naru: 'stack deploy' needs docker's own client on this engine");
    }
    throw unavailable(
      'this node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again',
    );
  },
};

export const unlock: Command = {
  flags: [],
  async run({ session }) {
    const { Swarm } = await systemInfo(await session.client());
    const state = Swarm.LocalNodeState;
    if (state === "inactive") throw new ExitError(1, "Error: This node is not part of a swarm");
    if (state !== "locked") throw new ExitError(1, "Error: swarm is not locked");
    throw notImplemented("naru: 'swarm unlock' needs docker's own client on this engine");
  },
};
