/** `naru history`. */
import { humanSize } from "#base";
import { imageHistory } from "#clients/api-client";
import type { ImageHistoryItem } from "#wire/docker";

import { platformDocument } from "../options/platform.ts";
import { FORMAT_LIST_USAGE, listFormatter } from "../output/formatter.ts";
import { shortImageId, truncate } from "../output/text.ts";
import { localRfc3339, timeAgo } from "../output/units.ts";
import { Row } from "#go-template";
import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { JSON_FLAG } from "./shared-flags.ts";

const HUMAN =
  "table {{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const EXACT = "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const CREATED_BY_WIDTH = 45;

const HEADERS = {
  ID: "IMAGE",
  CreatedSince: "CREATED",
  CreatedAt: "CREATED AT",
  CreatedBy: "CREATED BY",
  Size: "SIZE",
  Comment: "COMMENT",
};

export const history: Command = {
  flags: [
    { name: "format", kind: "string", usage: FORMAT_LIST_USAGE },
    {
      name: "human",
      shorthand: "H",
      kind: "bool",
      usage: "Print sizes and dates in human readable format",
      fallback: true,
    },
    JSON_FLAG,
    { name: "no-trunc", kind: "bool", usage: "Don't truncate output" },
    {
      name: "platform",
      kind: "string",
      usage:
        'Show history for the given platform. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
    },
    { name: "quiet", shorthand: "q", kind: "bool", usage: "Only show image IDs" },
  ],
  async run({ flags, args, session }) {
    const [image = ""] = args;
    const human = flags.bool("human");
    const table = human ? HUMAN : EXACT;
    const render = listFormatter({ format: flags.string("format"), table, headers: HEADERS });
    const items = await imageHistory(await session.client(), image, {
      platform: platformDocument(flags.string("platform")),
    });
    if (flags.bool("json")) {
      printLine(JSON.stringify(items));
      return 0;
    }
    const truncated = !flags.bool("no-trunc");
    const idOf = ({ Id: id }: ImageHistoryItem) => (truncated ? shortImageId(id) : id);
    if (flags.bool("quiet") && flags.string("format") === "") {
      print(items.map((item) => `${idOf(item)}\n`).join(""));
      return 0;
    }
    const nowMs = Date.now();
    const rows = items.map(
      (item) =>
        new Row("*formatter.historyContext", {
          Comment: () => item.Comment,
          CreatedAt: () => (item.Created <= 0 ? "" : localRfc3339(item.Created)),
          CreatedBy: () => {
            const text = item.CreatedBy.replaceAll("\t", " ");
            return truncated ? truncate(text, CREATED_BY_WIDTH) : text;
          },
          CreatedSince: () => (item.Created <= 0 ? "N/A" : timeAgo(item.Created, nowMs)),
          ID: () => idOf(item),
          Size: () => (human ? humanSize(item.Size) : String(item.Size)),
        }),
    );
    print(render(rows));
    return 0;
  },
};
