/** `naru builder prune`. */
import { humanSize } from "#base";
import { pruneBuildCache } from "#clients/api-client";

import { filtersOf } from "../options/checks.ts";
import { confirm } from "../terminal/prompt.ts";
import { print, printLine } from "../terminal/stdio.ts";
import { type Command, ExitError } from "./command.ts";
import { DRY_RUN_FLAG, previewPrune } from "./dry-run.ts";
import { FILTER_FLAG } from "./shared-flags.ts";

const DANGLING_WARNING = "WARNING! This will remove all dangling build cache.";
const ALL_WARNING = "WARNING! This will remove all build cache.";
/** Of who said no. */
const DECLINED = "builder prune has been cancelled";

export const prune: Command = {
  flags: [
    {
      name: "all",
      shorthand: "a",
      kind: "bool",
      usage: "Remove all unused build cache, not just dangling ones",
    },
    { ...FILTER_FLAG, shorthand: "", usage: 'Provide filter values (e.g. "until=24h")' },
    DRY_RUN_FLAG,
    { name: "force", shorthand: "f", kind: "bool", usage: "Do not prompt for confirmation" },
    { name: "keep-storage", kind: "bytes", usage: "Amount of disk space to keep for cache" },
  ],
  async run({ flags, session }) {
    const all = flags.bool("all");
    const warning = all ? ALL_WARNING : DANGLING_WARNING;
    if (flags.bool("dry-run")) {
      if (flags.changed("keep-storage")) {
        throw new ExitError(1, "conflicting options: --dry-run and --keep-storage");
      }
      const filters = filtersOf(flags.list("filter"));
      return previewPrune(await session.client(), ["build cache"], { filters, all });
    }
    if (!flags.bool("force") && !confirm(warning)) throw new ExitError(1, DECLINED);
    const report = await pruneBuildCache(await session.client(), {
      all,
      keepStorageBytes: flags.number("keep-storage"),
      filters: filtersOf(flags.list("filter")),
    });
    const deleted = report.CachesDeleted ?? [];
    if (deleted.length > 0) print(`Deleted build cache objects:\n${deleted.join("\n")}\n\n`);
    printLine(`Total reclaimed space: ${humanSize(report.SpaceReclaimed, 4)}`);
    return 0;
  },
};
