/** `naru image prune`. */
import { humanSize } from "#base";
import { pruneImages } from "#clients/api-client";

import { filtersOf } from "../options/checks.ts";
import { confirm } from "../terminal/prompt.ts";
import { print, printLine } from "../terminal/stdio.ts";
import { type Command, ExitError } from "./command.ts";
import { FILTER_FLAG } from "./shared-flags.ts";

const DANGLING_WARNING = "WARNING! This will remove all dangling images.";
const ALL_WARNING =
  "WARNING! This will remove all images without at least one container associated to them.";
/** Of who said no. */
const DECLINED = "image prune has been cancelled";

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
    { name: "force", shorthand: "f", kind: "bool", usage: "Do not prompt for confirmation" },
  ],
  async run({ flags, session }) {
    const all = flags.bool("all");
    const filters = { ...filtersOf(flags.list("filter")), dangling: [all ? "false" : "true"] };
    const warning = all ? ALL_WARNING : DANGLING_WARNING;
    if (!flags.bool("force") && !confirm(warning)) throw new ExitError(1, DECLINED);
    const answer = await pruneImages(await session.client(), filters);
    const lines = (answer.ImagesDeleted ?? []).map(({ Untagged: untagged, Deleted: deleted }) =>
      untagged === undefined ? `deleted: ${deleted}\n` : `untagged: ${untagged}\n`,
    );
    if (lines.length > 0) print(`Deleted Images:\n${lines.join("")}\n`);
    printLine(`Total reclaimed space: ${humanSize(answer.SpaceReclaimed, 4)}`);
    return 0;
  },
};
