/** `naru ps`. */
import { humanSize } from "#base";
import { listContainers } from "#clients/api-client";
import type { ContainerSummary } from "#wire/docker";

import { checkFilter, filtersOf } from "../options/checks.ts";
import { FORMAT_LIST_USAGE, listFormatter, quietText } from "../output/formatter.ts";
import { displayPorts } from "../output/ports.ts";
import { shortImageId, truncate } from "../output/text.ts";
import { localTime, timeAgo } from "../output/units.ts";
import { Row } from "#go-template";
import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { FILTER_FLAG, JSON_FLAG } from "./shared-flags.ts";

const TABLE =
  "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
/** Of one container, without its size. */
export const RAW = `container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{.State}}
status: {{.Status}}
names: {{.Names}}
labels: {{- if .Labels}} {{.Labels}}{{end}}
ports: {{- if .Ports}} {{.Ports}}{{end}}
`;

const HEADERS = {
  ID: "CONTAINER ID",
  Names: "NAMES",
  Image: "IMAGE",
  Command: "COMMAND",
  CreatedAt: "CREATED AT",
  RunningFor: "CREATED",
  Ports: "PORTS",
  State: "STATE",
  Status: "STATUS",
  Size: "SIZE",
  Labels: "LABELS",
  Mounts: "MOUNTS",
  LocalVolumes: "LOCAL VOLUMES",
  Networks: "NETWORKS",
};

const COMMAND_WIDTH = 20;
const MOUNT_WIDTH = 15;

export const ps: Command = {
  flags: [
    {
      name: "all",
      shorthand: "a",
      kind: "bool",
      usage: "Show all containers (default shows just running)",
    },
    { ...FILTER_FLAG, check: checkFilter },
    { name: "format", kind: "string", usage: FORMAT_LIST_USAGE },
    JSON_FLAG,
    {
      name: "last",
      shorthand: "n",
      kind: "int",
      usage: "Show n last created containers (includes all states)",
      fallback: -1,
    },
    {
      name: "latest",
      shorthand: "l",
      kind: "bool",
      usage: "Show the latest created container (includes all states)",
    },
    { name: "no-trunc", kind: "bool", usage: "Don't truncate output" },
    { name: "quiet", shorthand: "q", kind: "bool", usage: "Only display container IDs" },
    { name: "size", shorthand: "s", kind: "bool", usage: "Display total file sizes" },
  ],
  async run({ flags, session }) {
    const quiet = flags.bool("quiet");
    const format = flags.string("format") || (quiet ? "" : (session.config.psFormat ?? ""));
    const size = flags.changed("size")
      ? flags.bool("size")
      : /\.Size\b|\{\{\s*json\s+\.\s*\}\}/.test(format);
    const limit = flags.bool("latest") && !flags.changed("last") ? 1 : flags.number("last");
    const table = size ? `${TABLE}\t{{.Size}}` : TABLE;
    const raw = size ? `${RAW}size: {{.Size}}\n` : RAW;
    const render = listFormatter({ format, table, raw, headers: HEADERS, sentences: "ps" });
    const containers = await listContainers(await session.client(), {
      all: flags.bool("all"),
      limit: limit > 0 ? limit : undefined,
      size,
      filters: filtersOf(flags.list("filter")),
    });
    if (flags.bool("json")) {
      printLine(JSON.stringify(containers));
      return 0;
    }
    const options = { truncated: !flags.bool("no-trunc"), nowMs: Date.now() };
    const rows = containers.map((container) => containerRow(container, options));
    const ids = quiet ? quietText(rows, { format, label: "container_id" }) : undefined;
    print(ids ?? render(rows));
    return 0;
  },
};

interface RowOptions {
  readonly truncated: boolean;
  readonly nowMs: number;
}

/** One container as templates see it. */
export function containerRow(container: ContainerSummary, { truncated, nowMs }: RowOptions): Row {
  const labels = container.Labels ?? {};
  return new Row("*formatter.ContainerContext", {
    Command: () =>
      JSON.stringify(truncated ? truncate(container.Command, COMMAND_WIDTH) : container.Command),
    CreatedAt: () => localTime(container.Created),
    ID: () => (truncated ? container.Id.slice(0, 12) : container.Id),
    Image: () => imageOf(container, truncated),
    Labels: () => labelsText(labels),
    LocalVolumes: () =>
      String((container.Mounts ?? []).filter(({ Driver }) => Driver === "local").length),
    Mounts: () =>
      (container.Mounts ?? [])
        .map(({ Name, Source }) => Name || Source)
        .map((name) => (truncated ? truncate(name, MOUNT_WIDTH) : name))
        .join(","),
    Names: () => namesOf(container, truncated),
    Networks: () =>
      Object.keys(container.NetworkSettings?.Networks ?? {})
        .toSorted()
        .join(","),
    Platform: () => null,
    Ports: () => displayPorts(container.Ports ?? []),
    RunningFor: () => timeAgo(container.Created, nowMs),
    Size: () => sizeOf(container),
    State: () => container.State,
    Status: () => container.Status,
    Label: (name: unknown) => labels[String(name)] ?? "",
  });
}

function imageOf({ Image: image, ImageID: id }: ContainerSummary, truncated: boolean): string {
  if (image === "") return "<no image>";
  if (!truncated) return image;
  if (shortImageId(id) === shortImageId(image)) return shortImageId(id);
  // A name with both tag and digest is shown with its tag.
  return /^([^@]+:[^@/]+)@sha256:/.exec(image)?.[1] ?? image;
}

function namesOf({ Names: names }: ContainerSummary, truncated: boolean): string {
  const bare = (names ?? []).map((name) => name.replace(/^\//, ""));
  const own = truncated ? bare.find((name) => !name.includes("/")) : undefined;
  return own ?? bare.join(",");
}

function sizeOf({ SizeRw: written = 0, SizeRootFs: whole = 0 }: ContainerSummary): string {
  return whole > 0 ? `${humanSize(written)} (virtual ${humanSize(whole)})` : humanSize(written);
}

/** Labels on one line, by name. */
export const labelsText = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .toSorted()
    .join(",");
