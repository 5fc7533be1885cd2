/** `naru system prune`: containers, networks, volumes, images and build cache, in docker's order. */
import { humanSize, invalid } from "#base";
import {
  pruneBuildCache,
  pruneContainers,
  pruneImages,
  pruneNetworks,
  pruneVolumes,
  type ApiClient,
} from "#clients/api-client";

import { filtersOf } from "../options/checks.ts";
import { confirm } from "../terminal/prompt.ts";
import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { DRY_RUN_FLAG, previewPrune, type PrunedKind } from "./dry-run.ts";
import { deletedImageLines } from "./prune-images.ts";
import { FILTER_FLAG } from "./shared-flags.ts";

interface Asked {
  readonly all: boolean;
  readonly volumes: boolean;
  readonly filters: Readonly<Record<string, string[]>>;
}

export const prune: Command = {
  flags: [
    {
      name: "all",
      shorthand: "a",
      kind: "bool",
      usage: "Remove all unused images not just dangling ones",
    },
    { ...FILTER_FLAG, shorthand: "", usage: 'Provide filter values (e.g. "label=<key>=<value>")' },
    DRY_RUN_FLAG,
    { name: "force", shorthand: "f", kind: "bool", usage: "Do not prompt for confirmation" },
    { name: "volumes", kind: "bool", usage: "Prune anonymous volumes" },
  ],
  async run({ flags, session }) {
    const asked: Asked = {
      all: flags.bool("all"),
      volumes: flags.bool("volumes"),
      filters: filtersOf(flags.list("filter")),
    };
    if (asked.volumes && asked.filters["until"] !== undefined) {
      throw invalid('ERROR: The "until" filter is not supported with "--volumes"');
    }
    if (flags.bool("dry-run")) {
      return previewPrune(await session.client(), kindsOf(asked), { ...asked, allVolumes: false });
    }
    if (!flags.bool("force") && !confirm(warningOf(asked))) return 0;
    let reclaimedBytes = 0;
    for (const step of stepsOf(asked)) reclaimedBytes += await step(await session.client());
    printLine(`Total reclaimed space: ${humanSize(reclaimedBytes, 4)}`);
    return 0;
  },
};

/** A prune by labels leaves the build cache, which has none, alone. */
function kindsOf({ volumes, filters }: Asked): PrunedKind[] {
  const labelled = filters["label"] !== undefined || filters["label!"] !== undefined;
  return [
    "containers",
    "networks",
    ...(volumes ? (["volumes"] as const) : []),
    "images",
    ...(labelled ? [] : (["build cache"] as const)),
  ];
}

function warningOf({ all, volumes, filters }: Asked): string {
  const things = [
    "all stopped containers",
    "all networks not used by at least one container",
    ...(volumes ? ["all anonymous volumes not used by at least one container"] : []),
    all ? "all images without at least one container associated to them" : "all dangling images",
    all ? "all build cache" : "unused build cache",
  ];
  const list = things.map((thing) => `  - ${thing}\n`).join("");
  const given = Object.entries(filters).flatMap(([name, values]) =>
    values.map((value) => `  - ${name}=${value}\n`),
  );
  const filtered =
    given.length === 0
      ? ""
      : `\n  Items to be pruned will be filtered with:\n${given.toSorted().join("")}`;
  return `WARNING! This will remove:\n${list}${filtered}`;
}

type Step = (client: ApiClient) => Promise<number>;

function stepsOf({ all, volumes, filters }: Asked): Step[] {
  const show = (title: string, lines: readonly string[] | null) => {
    if (lines !== null && lines.length > 0) print(`${title}:\n${lines.join("\n")}\n\n`);
  };
  const containers: Step = async (client) => {
    const report = await pruneContainers(client, filters);
    show("Deleted Containers", report.ContainersDeleted);
    return report.SpaceReclaimed;
  };
  const networks: Step = async (client) => {
    show("Deleted Networks", (await pruneNetworks(client, filters)).NetworksDeleted);
    return 0;
  };
  const unnamed: Step = async (client) => {
    const report = await pruneVolumes(client, filters);
    show("Deleted Volumes", report.VolumesDeleted);
    return report.SpaceReclaimed;
  };
  const images: Step = async (client) => {
    const dangling = [all ? "false" : "true"];
    const report = await pruneImages(client, { ...filters, dangling });
    show("Deleted Images", deletedImageLines(report));
    return report.SpaceReclaimed;
  };
  const cache: Step = async (client) => {
    const report = await pruneBuildCache(client, { all, keepStorageBytes: 0, filters });
    show("Deleted build cache objects", report.CachesDeleted);
    return report.SpaceReclaimed;
  };
  return [containers, networks, ...(volumes ? [unnamed] : []), images, cache];
}
