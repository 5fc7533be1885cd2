/** `naru stats`: what containers use, once or until it is stopped. */
import { humanSize } from "#base";
import { Row } from "#go-template";

import { sampleOnce, UsageFeed } from "../live/feed.ts";
import type { Usage } from "../live/usage.ts";
import { FORMAT_LIST_USAGE, listFormatter } from "../output/formatter.ts";
import { binarySize } from "../output/units.ts";
import { print, STDOUT } from "../terminal/stdio.ts";
import { isTerminal } from "../terminal/tty.ts";
import type { Command } from "./command.ts";
import { JSON_FLAG } from "./shared-flags.ts";

const TABLE =
  "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

const HEADERS = {
  Container: "CONTAINER",
  Name: "NAME",
  ID: "CONTAINER ID",
  CPUPerc: "CPU %",
  MemUsage: "MEM USAGE / LIMIT",
  MemPerc: "MEM %",
  NetIO: "NET I/O",
  BlockIO: "BLOCK I/O",
  PIDs: "PIDS",
};

const REDRAW_MS = 500;
const SHORT_ID = 12;

export const stats: Command = {
  flags: [
    {
      name: "all",
      shorthand: "a",
      kind: "bool",
      usage: "Show all containers (default shows just running)",
    },
    { name: "format", kind: "string", usage: FORMAT_LIST_USAGE },
    JSON_FLAG,
    {
      name: "no-stream",
      kind: "bool",
      usage: "Disable streaming stats and only pull the first result",
    },
    { name: "no-trunc", kind: "bool", usage: "Do not truncate output" },
  ],
  async run({ flags, args, session }) {
    const format = flags.bool("json") ? "json" : flags.string("format");
    const render = listFormatter({
      format: format || (session.config.statsFormat ?? ""),
      table: TABLE,
      headers: HEADERS,
    });
    const truncated = !flags.bool("no-trunc");
    const all = flags.bool("all");
    const client = await session.client();
    if (flags.bool("no-stream")) {
      const samples = await sampleOnce(client, args, { all });
      print(render(samples.map((sample) => statsRow(sample, truncated))));
      return 0;
    }
    using feed = new UsageFeed(client, { all });
    await (args.length > 0 ? feed.follow(args) : feed.followAll());
    const table = format === "" || format.startsWith("table");
    for (;;) {
      const rows = [...feed.entries.values()].map((entry) => statsRow(entry, truncated));
      print(frame(render(rows), table && isTerminal(STDOUT)));
      await Bun.sleep(REDRAW_MS);
      feed.throwIfFailed();
    }
  },
};

/** Over the frame before, line by line, so that nothing flickers. */
const frame = (text: string, over: boolean): string =>
  over ? `\x1b[H${text.replaceAll("\n", "\x1b[K\n")}\x1b[J` : text;

const percent = (value: number): string => `${value.toFixed(2)}%`;

/** One container as templates see it. */
function statsRow(
  { container, usage }: { container: string; usage: Usage | undefined },
  truncated: boolean,
): Row {
  const id = usage?.id ?? "";
  const known = <T>(show: (usage: Usage) => T, otherwise: T) =>
    usage === undefined ? otherwise : show(usage);
  const pair = (show: (bytes: number) => string, a: number, b: number) => `${show(a)} / ${show(b)}`;
  const decimal = (bytes: number) => humanSize(bytes, 3);
  return new Row("*container.statsContext", {
    BlockIO: known((own) => pair(decimal, own.readBytes, own.writeBytes), "--"),
    CPUPerc: known((own) => percent(own.cpuPercent), "--"),
    Container: container,
    ID: truncated ? id.slice(0, SHORT_ID) : id,
    MemPerc: known((own) => percent(own.memoryPercent), "--"),
    MemUsage: known((own) => pair(binarySize, own.memoryBytes, own.memoryLimitBytes), "-- / --"),
    Name: known((own) => own.name.replace(/^\//, ""), "--"),
    NetIO: known((own) => pair(decimal, own.rxBytes, own.txBytes), "--"),
    PIDs: known((own) => String(own.pids), "--"),
  });
}
