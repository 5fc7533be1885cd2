/** `naru export`. */
import { exportContainer } from "#clients/api-client";

import type { Command } from "./command.ts";
import { checkOutput, writeOutput } from "./output-file.ts";

export const exportCommand: Command = {
  flags: [
    {
      name: "output",
      shorthand: "o",
      kind: "string",
      usage: "Write to a file, instead of STDOUT",
      values: "files",
    },
  ],
  async run({ flags, args, session }) {
    const output = flags.string("output");
    const [container = ""] = args;
    checkOutput(output, "export container");
    await writeOutput(output, await exportContainer(await session.client(), container));
    return 0;
  },
};
