/** `naru volume`: make, list, remove and prune. */
import { humanSize, invalid } from "#base";
import {
  createVolume,
  listVolumes,
  pruneVolumes,
  removeVolume,
  updateVolume,
} from "#clients/api-client";
import { Row } from "#go-template";
import type { Volume } from "#wire/docker";

import { checkLabel, filtersOf } from "../options/checks.ts";
import { mapOf } from "../options/files.ts";
import { FORMAT_LIST_USAGE, listFormatter } from "../output/formatter.ts";
import { confirm } from "../terminal/prompt.ts";
import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { AVAILABILITY_FLAG, clusterFlags, clusterSpec } from "./cluster-volumes.ts";
import { DRY_RUN_FLAG, previewPrune } from "./dry-run.ts";
import { forEachArgument } from "./each.ts";
import { FILTER_FLAG, JSON_FLAG } from "./shared-flags.ts";

export const create: Command = {
  flags: [
    {
      name: "driver",
      shorthand: "d",
      kind: "string",
      usage: "Specify volume driver name",
      fallback: "local",
    },
    { name: "label", kind: "list", usage: "Set metadata for a volume", check: checkLabel },
    {
      name: "opt",
      shorthand: "o",
      kind: "list",
      shown: "map",
      usage: "Set driver specific options",
    },
    // Hidden in docker's help, too.
    { name: "name", kind: "string", usage: "Specify volume name", hidden: true },
    ...clusterFlags,
  ],
  async run({ flags, args, session }) {
    const named = flags.string("name");
    if (named !== "" && args.length > 0) {
      throw invalid(
        "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
      );
    }
    const Name = args[0] ?? named;
    const ClusterVolumeSpec = clusterSpec(flags);
    const { Name: made } = await createVolume(await session.client(), {
      Name,
      Driver: flags.string("driver"),
      DriverOpts: mapOf(flags.list("opt")),
      Labels: mapOf(flags.list("label")),
      ...(ClusterVolumeSpec === undefined ? {} : { ClusterVolumeSpec }),
    });
    printLine(made);
    return 0;
  },
};

const TABLE = "table {{.Driver}}\t{{.Name}}";
const CLUSTER_TABLE = "table {{.Name}}\t{{.Group}}\t{{.Driver}}\t{{.Availability}}\t{{.Status}}";
/** Of one volume. */
export const RAW = "name: {{.Name}}\ndriver: {{.Driver}}\n";
const HEADERS = {
  Name: "VOLUME NAME",
  Driver: "DRIVER",
  Scope: "SCOPE",
  Mountpoint: "MOUNTPOINT",
  Labels: "LABELS",
  Links: "LINKS",
  Size: "SIZE",
  Availability: "AVAILABILITY",
  Group: "GROUP",
  Status: "STATUS",
};

export const ls: Command = {
  flags: [
    {
      name: "cluster",
      kind: "bool",
      usage: "Display only cluster volumes, and use cluster volume list formatting",
      hidden: true,
    },
    { ...FILTER_FLAG, usage: 'Provide filter values (e.g. "dangling=true")' },
    { name: "format", kind: "string", usage: FORMAT_LIST_USAGE },
    JSON_FLAG,
    { name: "quiet", shorthand: "q", kind: "bool", usage: "Only display volume names" },
  ],
  async run({ flags, session }) {
    const format = flags.string("format");
    const table = flags.bool("cluster") ? CLUSTER_TABLE : TABLE;
    const render = listFormatter({ format, table, raw: RAW, headers: HEADERS });
    const filters = filtersOf(flags.list("filter"));
    const cluster = flags.bool("cluster");
    const { Volumes: volumes } = await listVolumes(await session.client(), filters);
    if (flags.bool("json")) {
      printLine(JSON.stringify(volumes));
      return 0;
    }
    // Those of this engine are none of a cluster's.
    if (cluster) volumes.length = 0;
    volumes.sort((one, other) =>
      one.Name.localeCompare(other.Name, "en", { numeric: true, sensitivity: "variant" }),
    );
    if (flags.bool("quiet") && format === "") {
      print(volumes.map(({ Name }) => `${Name}\n`).join(""));
      return 0;
    }
    print(render(volumes.map(volumeRow)));
    return 0;
  },
};

export const update: Command = {
  flags: [AVAILABILITY_FLAG],
  async run({ flags, args, session }) {
    await updateVolume(await session.client(), args[0] ?? "", flags.string("availability"));
    return 0;
  },
};

/** A volume as templates see it. */
export const volumeRow = (volume: Volume): Row =>
  new Row("*formatter.volumeContext", {
    Name: () => volume.Name,
    Driver: () => volume.Driver,
    Scope: () => volume.Scope,
    Mountpoint: () => volume.Mountpoint,
    Labels: () =>
      Object.entries(volume.Labels ?? {})
        .map(([name, value]) => `${name}=${value}`)
        .toSorted()
        .join(","),
    Links: () => (volume.UsageData === undefined ? "N/A" : String(volume.UsageData.RefCount)),
    Size: () => (volume.UsageData === undefined ? "N/A" : humanSize(volume.UsageData.Size)),
    Availability: () => "N/A",
    Group: () => "N/A",
    Status: () => "N/A",
    Label: (name: unknown) => volume.Labels?.[String(name)] ?? "",
  });

export const rm: Command = {
  flags: [
    {
      name: "force",
      shorthand: "f",
      kind: "bool",
      usage: "Force the removal of one or more volumes",
    },
  ],
  async run({ flags, args, session }) {
    const client = await session.client();
    const force = flags.bool("force");
    return await forEachArgument(args, (name) => removeVolume(client, name, force), printLine);
  },
};

const WARNING = {
  anonymous:
    "WARNING! This will remove anonymous local volumes not used by at least one container.",
  all: "WARNING! This will remove all local volumes not used by at least one container.",
};

export const prune: Command = {
  flags: [
    {
      name: "all",
      shorthand: "a",
      kind: "bool",
      usage: "Remove all unused volumes, not just anonymous ones",
    },
    { ...FILTER_FLAG, shorthand: "", usage: 'Provide filter values (e.g. "label=<label>")' },
    DRY_RUN_FLAG,
    { name: "force", shorthand: "f", kind: "bool", usage: "Do not prompt for confirmation" },
  ],
  async run({ flags, session }) {
    const filters = filtersOf(flags.list("filter"));
    const all = flags.bool("all");
    if (all && filters["all"] !== undefined) {
      throw invalid("conflicting options: cannot specify both --all and --filter all=1");
    }
    if (all) filters["all"] = ["true"];
    if (flags.bool("dry-run")) {
      const everything = all || filters["all"] !== undefined;
      return previewPrune(await session.client(), ["volumes"], { filters, all: everything });
    }
    const warning = all ? WARNING.all : WARNING.anonymous;
    if (!flags.bool("force") && !confirm(warning)) return 0;
    const report = await pruneVolumes(await session.client(), filters);
    const deleted = report.VolumesDeleted ?? [];
    if (deleted.length > 0) print(`Deleted Volumes:\n${deleted.join("\n")}\n\n`);
    printLine(`Total reclaimed space: ${humanSize(report.SpaceReclaimed, 4)}`);
    return 0;
  },
};
