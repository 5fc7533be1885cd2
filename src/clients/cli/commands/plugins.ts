/** `naru plugin`: the list, and what looks at something before it asks the engine; the rest is in elsewhere.ts. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { invalid, wrap } from "#base";
import { encodeName } from "#clients/api-client";
import { Row } from "#go-template";

import { filtersOf } from "../options/checks.ts";
import { FORMAT_LIST_USAGE, listFormatter } from "../output/formatter.ts";
import { truncate } from "../output/text.ts";
import { print, printLine } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";
import { ask } from "./elsewhere.ts";
import { messageFor } from "./failure.ts";
import { FILTER_FLAG, JSON_FLAG } from "./shared-flags.ts";
import { swarmFlags } from "./swarm-flags.ts";

interface Plugin {
  readonly Id: string;
  readonly Name: string;
  readonly Enabled: boolean;
  readonly Config: { readonly Description: string };
  readonly PluginReference: string;
}

const TABLE = "table {{.ID}}\t{{.Name}}\t{{.Description}}\t{{.Enabled}}";
const RAW =
  "plugin_id: {{.ID}}\nname: {{.Name}}\ndescription: {{.Description}}\nenabled: {{.Enabled}}\n";
const HEADERS = { ID: "ID", Name: "NAME", Description: "DESCRIPTION", Enabled: "ENABLED" };
const SHORT_ID = 12;
const DESCRIPTION_WIDTH = 45;

export const ls: Command = {
  flags: [
    { ...FILTER_FLAG, usage: 'Provide filter values (e.g. "enabled=true")' },
    { name: "format", kind: "string", usage: FORMAT_LIST_USAGE },
    JSON_FLAG,
    { name: "no-trunc", kind: "bool", usage: "Don't truncate output" },
    { name: "quiet", shorthand: "q", kind: "bool", usage: "Only display plugin IDs" },
  ],
  async run({ flags, session }) {
    const format = flags.string("format");
    const render = listFormatter({ format, table: TABLE, raw: RAW, headers: HEADERS });
    const client = await session.client();
    const filters = JSON.stringify(filtersOf(flags.list("filter")));
    const plugins = await client.json<Plugin[]>({
      method: "GET",
      path: "/plugins",
      query: { filters: filters === "{}" ? undefined : filters },
    });
    if (flags.bool("json")) {
      printLine(JSON.stringify(plugins));
      return 0;
    }
    const whole = flags.bool("no-trunc");
    const idOf = ({ Id: id }: Plugin) => (whole ? id : id.slice(0, SHORT_ID));
    if (flags.bool("quiet") && format === "") {
      print(plugins.map((plugin) => `${idOf(plugin)}\n`).join(""));
      return 0;
    }
    const rows = plugins.map((plugin) => {
      const about = plugin.Config.Description.replaceAll("\n", " ").trim();
      return new Row("*plugin.pluginContext", {
        ID: () => idOf(plugin),
        Name: () => plugin.Name,
        Description: () => (whole ? about : truncate(about, DESCRIPTION_WIDTH)),
        Enabled: () => plugin.Enabled,
        PluginReference: () => plugin.PluginReference,
      });
    });
    print(render(rows));
    return 0;
  },
};

export const create: Command = {
  flags: swarmFlags("plugin create"),
  run(invocation) {
    const directory = invocation.args[1] ?? "";
    const missing = (call: string, path: string) =>
      invalid(`${call} ${path}: no such file or directory`);
    if (statSync(directory, { throwIfNoEntry: false }) === undefined) {
      throw missing("lstat", directory);
    }
    const config = join(directory, "config.json");
    if (statSync(config, { throwIfNoEntry: false }) === undefined) throw missing("open", config);
    JSON.parse(readFileSync(config, "utf8"));
    const asked = { method: "POST", path: "/plugins/create" } as const;
    return ask("plugin create", asked).run({ ...invocation, args: [] });
  },
};

export const upgrade: Command = {
  flags: swarmFlags("plugin upgrade"),
  async run(invocation) {
    const [plugin = ""] = invocation.args;
    const client = await invocation.session.client();
    try {
      await client.send({ method: "GET", path: `/plugins/${encodeName(plugin)}/json` });
    } catch (cause) {
      throw wrap("error reading plugin data", new Error(messageFor(cause), { cause }));
    }
    const asked = { method: "POST", path: "/plugins/:first/upgrade" } as const;
    return ask("plugin upgrade", asked).run(invocation);
  },
};
