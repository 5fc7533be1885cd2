/** `naru container prune`. */
import { humanSize } from "#base";
import { pruneContainers } from "#clients/api-client";

import { filtersOf } from "../options/checks.ts";
import { confirm } from "../terminal/prompt.ts";
import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { DRY_RUN_FLAG, previewPrune } from "./dry-run.ts";
import { FILTER_FLAG } from "./shared-flags.ts";

const WARNING = "WARNING! This will remove all stopped containers.";

export const prune: Command = {
  flags: [
    {
      ...FILTER_FLAG,
      shorthand: "",
      usage: 'Provide filter values (e.g. "until=<timestamp>")',
    },
    DRY_RUN_FLAG,
    { name: "force", shorthand: "f", kind: "bool", usage: "Do not prompt for confirmation" },
  ],
  async run({ flags, session }) {
    const filters = filtersOf(flags.list("filter"));
    if (flags.bool("dry-run")) {
      return previewPrune(await session.client(), ["containers"], { filters, all: false });
    }
    if (!flags.bool("force") && !confirm(WARNING)) return 0;
    const answer = await pruneContainers(await session.client(), filters);
    const deleted = answer.ContainersDeleted ?? [];
    if (deleted.length > 0) print(`Deleted Containers:\n${deleted.join("\n")}\n\n`);
    printLine(`Total reclaimed space: ${humanSize(answer.SpaceReclaimed, 4)}`);
    return 0;
  },
};
