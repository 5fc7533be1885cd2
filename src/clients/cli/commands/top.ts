/** `naru top`. */
import { topContainer } from "#clients/api-client";

import { alignColumns } from "../output/table.ts";
import { print } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";

const MINIMUM_WIDTH = 20;

export const top: Command = {
  flags: [],
  async run({ args, session }) {
    const [container = "", ...psOptions] = args;
    const { Titles: titles, Processes: processes } = await topContainer(
      await session.client(),
      container,
      psOptions.join(" "),
    );
    const lines = [titles, ...(processes ?? [])].map((cells) => `${cells.join("\t")}\n`);
    print(alignColumns(lines.join(""), MINIMUM_WIDTH));
    return 0;
  },
};
