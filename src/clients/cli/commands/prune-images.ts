/** `naru image prune`. */
import { humanSize } from "#base";
import { pruneImages } from "#clients/api-client";
import type { ImagesPrune } from "#wire/docker";

import { filtersOf } from "../options/checks.ts";
import { confirm } from "../terminal/prompt.ts";
import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { DRY_RUN_FLAG, previewPrune } from "./dry-run.ts";
import { FILTER_FLAG } from "./shared-flags.ts";

const DANGLING_WARNING = "WARNING! This will remove all dangling images.";
const ALL_WARNING =
  "WARNING! This will remove all images without at least one container associated to them.";

/** What went away, a line each. */
export const deletedImageLines = ({ ImagesDeleted: deleted }: ImagesPrune): string[] =>
  (deleted ?? []).map(({ Untagged, Deleted }) =>
    Untagged === undefined ? `deleted: ${Deleted}` : `untagged: ${Untagged}`,
  );

export const prune: Command = {
  flags: [
    {
      name: "all",
      shorthand: "a",
      kind: "bool",
      usage: "Remove all unused images, not just dangling ones",
    },
    {
      ...FILTER_FLAG,
      shorthand: "",
      usage: 'Provide filter values (e.g. "until=<timestamp>")',
    },
    DRY_RUN_FLAG,
    { name: "force", shorthand: "f", kind: "bool", usage: "Do not prompt for confirmation" },
  ],
  async run({ flags, session }) {
    const all = flags.bool("all");
    const filters = { ...filtersOf(flags.list("filter")), dangling: [all ? "false" : "true"] };
    const warning = all ? ALL_WARNING : DANGLING_WARNING;
    if (flags.bool("dry-run")) {
      return previewPrune(await session.client(), ["images"], { filters, all });
    }
    if (!flags.bool("force") && !confirm(warning)) return 0;
    const answer = await pruneImages(await session.client(), filters);
    const lines = deletedImageLines(answer);
    if (lines.length > 0) print(`Deleted Images:\n${lines.join("\n")}\n\n`);
    printLine(`Total reclaimed space: ${humanSize(answer.SpaceReclaimed, 4)}`);
    return 0;
  },
};
