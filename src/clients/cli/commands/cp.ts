/** `naru cp`: what goes where, in Docker's rules. The copying itself is copy-files.ts. */
import { invalid } from "#base";

import type { Command } from "./command.ts";
import { copyFrom, copyTo } from "./copy-files.ts";

export const cp: Command = {
  flags: [
    {
      name: "archive",
      shorthand: "a",
      kind: "bool",
      usage: "Archive mode (copy all uid/gid information)",
    },
    {
      name: "follow-link",
      shorthand: "L",
      kind: "bool",
      usage: "Always follow symbol link in SRC_PATH",
    },
    {
      name: "quiet",
      shorthand: "q",
      kind: "bool",
      usage:
        "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached",
    },
  ],
  async run({ flags, args, session }) {
    const [source = "", target = ""] = args;
    if (source === "") throw invalid("source can not be empty");
    if (target === "") throw invalid("destination can not be empty");
    const [from, to] = [splitPlace(source), splitPlace(target)];
    const options = {
      followLink: flags.bool("follow-link"),
      copyOwner: flags.bool("archive"),
      quiet: flags.bool("quiet"),
    };
    if (from.container !== "" && to.container !== "") {
      throw invalid("copying between containers is not supported");
    }
    const client = await session.client();
    if (from.container !== "") await copyFrom(client, from, to.path, options);
    else if (to.container !== "") await copyTo(client, from.path, to, options);
    else throw invalid("must specify at least one container source");
    return 0;
  },
};

/** `container:path`, unless it is clearly a local path: `/x:y`, `./x:y`. */
function splitPlace(text: string): { container: string; path: string } {
  const colon = text.indexOf(":");
  if (text.startsWith("/") || text.startsWith(".") || colon < 0)
    return { container: "", path: text };
  return { container: text.slice(0, colon), path: text.slice(colon + 1) };
}
