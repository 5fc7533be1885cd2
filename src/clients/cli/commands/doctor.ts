/** `naru doctor`: the daemon's own look at this host, without a daemon. */
import { DEFAULT_CONTEXT } from "../config/session.ts";
import { ExitError, type Command } from "./command.ts";
import { daemonEnvironment, programWords } from "./own-program.ts";
import { JSON_FLAG } from "./shared-flags.ts";

export const doctor: Command = {
  flags: [{ ...JSON_FLAG, usage: "Print the findings as JSON" }],
  async run({ flags, session }) {
    const host = session.defaultHost;
    if (session.contextName !== DEFAULT_CONTEXT || !host.startsWith("unix://")) {
      throw new ExitError(
        1,
        "naru doctor looks at the host it runs on: run it there, without -H, DOCKER_HOST or a context",
      );
    }
    const form = flags.bool("json") ? "json" : "text";
    const engine = session.usesDefaultSocket ? [] : ["--host", host];
    const child = Bun.spawn([...programWords(), "daemon", `--doctor=${form}`, ...engine], {
      stdio: ["ignore", "inherit", "inherit"],
      env: daemonEnvironment(),
    });
    return await child.exited;
  },
};
