/** `naru create`. */
import { containerRequest, type ContainerRequest } from "../options/container-request.ts";
import { printLine } from "../terminal/stdio.ts";
import { ExitError, type Command } from "./command.ts";
import { containerFlags } from "./container-flags.ts";
import { create as createContainer } from "./create-container.ts";
import { messageFor } from "./failure.ts";

const FLAGS_EXIT = 125;

/** Flags that make no sense together end `create` as the engine's errors end `run`. */
function requestOf(read: () => ContainerRequest): ContainerRequest {
  try {
    return read();
  } catch (cause) {
    const help = "Run 'naru create --help' for more information";
    throw new ExitError(FLAGS_EXIT, `naru: ${messageFor(cause)}\n\n${help}`);
  }
}

export const create: Command = {
  flags: containerFlags("creating"),
  async run({ flags, args, session }) {
    const request = requestOf(() => containerRequest(flags, args, session.environment));
    printLine(await createContainer(session, flags, request));
    return 0;
  },
};
