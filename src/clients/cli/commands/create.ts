/** `naru create`. */
import { containerRequest } from "../options/container-request.ts";
import { printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { containerFlags } from "./container-flags.ts";
import { create as createContainer } from "./create-container.ts";

export const create: Command = {
  flags: containerFlags("creating"),
  async run({ flags, args, session }) {
    const request = containerRequest(flags, args, session.environment);
    printLine(await createContainer(session, flags, request));
    return 0;
  },
};
