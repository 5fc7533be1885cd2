/** `naru logs`. */
import { wrap } from "#base";
import { containerLogs, inspectContainer } from "#clients/api-client";

import { parseTimestamp } from "../options/timestamps.ts";
import { STDOUT, writeAll } from "../terminal/stdio.ts";
import { frameWriter } from "./attached.ts";
import type { Command } from "./command.ts";

function parseTime(name: string, text: string): string {
  try {
    return parseTimestamp(text, Date.now());
  } catch (cause) {
    throw wrap(`invalid value for "${name}"`, cause);
  }
}

export const logs: Command = {
  flags: [
    { name: "details", kind: "bool", usage: "Show extra details provided to logs" },
    { name: "follow", shorthand: "f", kind: "bool", usage: "Follow log output" },
    {
      name: "since",
      kind: "string",
      usage:
        'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
    },
    {
      name: "tail",
      shorthand: "n",
      kind: "string",
      usage: "Number of lines to show from the end of the logs",
      fallback: "all",
    },
    { name: "timestamps", shorthand: "t", kind: "bool", usage: "Show timestamps" },
    {
      name: "until",
      kind: "string",
      usage:
        'Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
    },
  ],
  async run({ flags, args, session }) {
    const [container = ""] = args;
    const client = await session.client();
    const inspected = await inspectContainer(client, container);
    const time = (name: string) => {
      const text = flags.string(name);
      return text === "" ? undefined : parseTime(name, text);
    };
    const response = await containerLogs(client, inspected.Id, {
      stdout: true,
      stderr: true,
      follow: flags.bool("follow"),
      since: time("since"),
      until: time("until"),
      timestamps: flags.bool("timestamps"),
      tail: flags.string("tail"),
      details: flags.bool("details"),
    });
    const show = inspected.Config.Tty
      ? (chunk: Uint8Array) => writeAll(STDOUT, chunk)
      : frameWriter({});
    for (let chunk = await response.read(); chunk; chunk = await response.read()) show(chunk);
    return 0;
  },
};
