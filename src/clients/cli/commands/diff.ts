/** `naru diff`. */
import { containerChanges } from "#clients/api-client";

import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { JSON_FLAG } from "./shared-flags.ts";

const LETTERS = ["C", "A", "D"] as const;

export const diff: Command = {
  flags: [JSON_FLAG],
  async run({ args, flags, session }) {
    const [container = ""] = args;
    const changes = (await containerChanges(await session.client(), container)) ?? [];
    if (flags.bool("json")) {
      printLine(JSON.stringify(changes));
      return 0;
    }
    print(changes.map(({ Kind: kind, Path: path }) => `${LETTERS[kind]} ${path}\n`).join(""));
    return 0;
  },
};
