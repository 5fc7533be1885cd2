/** `naru top`: of a container its processes; without one, all containers live. */
import { topContainer } from "#clients/api-client";

import { isSort, SORTS } from "../live/screen.ts";
import { alignColumns } from "../output/table.ts";
import { print } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";

const MINIMUM_WIDTH = 20;

export const top: Command = {
  flags: [
    {
      name: "all",
      shorthand: "a",
      kind: "bool",
      usage: "Live view: show all containers (default shows just running)",
    },
    {
      name: "sort",
      kind: "string",
      usage: "Live view: the column to sort by",
      fallback: "cpu",
      values: SORTS,
      check: (value) => {
        if (!isSort(value)) throw new Error(`must be one of ${SORTS.join(", ")}`);
        return value;
      },
    },
  ],
  async run({ flags, args, session }) {
    const client = await session.client();
    const [container, ...psOptions] = args;
    if (container === undefined) {
      const { runLiveTop } = await import("./live-top.ts");
      const sort = flags.string("sort");
      return runLiveTop(client, {
        all: flags.bool("all"),
        sort: isSort(sort) ? sort : "cpu",
        environment: session.environment,
      });
    }
    const { Titles: titles, Processes: processes } = await topContainer(
      client,
      container,
      psOptions.join(" "),
    );
    const lines = [titles, ...(processes ?? [])].map((cells) => `${cells.join("\t")}\n`);
    print(alignColumns(lines.join(""), MINIMUM_WIDTH));
    return 0;
  },
};
