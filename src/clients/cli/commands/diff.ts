/** `naru diff`. */
import { containerChanges } from "#clients/api-client";

import { print } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";

const LETTERS = ["C", "A", "D"] as const;

export const diff: Command = {
  flags: [],
  async run({ args, session }) {
    const [container = ""] = args;
    const changes = (await containerChanges(await session.client(), container)) ?? [];
    print(changes.map(({ Kind: kind, Path: path }) => `${LETTERS[kind]} ${path}\n`).join(""));
    return 0;
  },
};
