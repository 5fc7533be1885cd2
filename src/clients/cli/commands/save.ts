/** `naru save`. */
import { saveImages } from "#clients/api-client";

import { platformDocument } from "../options/platform.ts";
import type { Command } from "./command.ts";
import { checkOutput, writeOutput } from "./output-file.ts";

export const save: Command = {
  flags: [
    {
      name: "output",
      shorthand: "o",
      kind: "string",
      usage: "Write to a file, instead of STDOUT",
      values: "files",
    },
    {
      name: "platform",
      kind: "string",
      usage:
        'Save only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
    },
  ],
  async run({ flags, args, session }) {
    const output = flags.string("output");
    checkOutput(output, "save image");
    const response = await saveImages(await session.client(), args, {
      platform: platformDocument(flags.string("platform")),
    });
    await writeOutput(output, response);
    return 0;
  },
};
