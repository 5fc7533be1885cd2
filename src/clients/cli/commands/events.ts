/** `naru events`: one line for each thing that happens, until it is stopped. */
import { systemEventLines } from "#clients/api-client";
import type { EventMessage } from "#wire/docker";

import { filtersOf } from "../options/checks.ts";
import { parseTimestamp } from "../options/timestamps.ts";
import { compileFormat, FORMAT_USAGE } from "../output/formatter.ts";
import { localRfc3339 } from "../output/units.ts";
import { TemplateError } from "#go-template";
import { printLine } from "../terminal/stdio.ts";
import { ExitError, type Command } from "./command.ts";
import { FILTER_FLAG, JSON_FLAG } from "./shared-flags.ts";

const TEMPLATE_EXIT = 64;

export const events: Command = {
  flags: [
    FILTER_FLAG,
    { name: "format", kind: "string", usage: FORMAT_USAGE },
    JSON_FLAG,
    { name: "since", kind: "string", usage: "Show all events created since timestamp" },
    { name: "until", kind: "string", usage: "Stream events until this timestamp" },
  ],
  async run({ flags, session }) {
    const format = flags.bool("json") ? "json" : flags.string("format");
    const time = (name: string) => {
      const text = flags.string(name);
      return text === "" ? undefined : parseTimestamp(text, Date.now());
    };
    const show = format === "" ? lineOf : renderer(format);
    const lines = systemEventLines(await session.client(), {
      since: time("since"),
      until: time("until"),
      filters: filtersOf(flags.list("filter")),
    });
    for await (const line of lines) printLine(show(line));
    return 0;
  },
};

function renderer(format: string): (line: string) => string {
  if (format === "json" || format === "{{json .}}") return (line) => line;
  try {
    const render = compileFormat(format);
    return (line) => render(parseEvent(line));
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    throw new ExitError(TEMPLATE_EXIT, `Error parsing format: ${cause.message}`);
  }
}

/** Nanoseconds since 1970 do not fit a JavaScript number: they are kept as they were written. */
function parseEvent(line: string): unknown {
  const event = JSON.parse(line) as object;
  const nano = TIME_NANO.exec(line)?.[1];
  return nano === undefined ? event : { ...event, timeNano: BigInt(nano) };
}

const TIME_NANO = /"timeNano":\s*(\d+)/;

/** `2025-05-30T12:07:14.123456789+02:00 container start <id> (image=busybox, name=web)`. */
function lineOf(line: string): string {
  const { Type: type, Action: action, Actor: actor } = JSON.parse(line) as EventMessage;
  const attributes = Object.entries(actor.Attributes ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .toSorted();
  const about = attributes.length === 0 ? "" : ` (${attributes.join(", ")})`;
  return `${timeOf(line)} ${type} ${action} ${actor.ID}${about}`;
}

function timeOf(line: string): string {
  const nano = TIME_NANO.exec(line)?.[1] ?? "0";
  const seconds = Number(nano.slice(0, -9) || "0");
  const fraction = nano.slice(-9).padStart(9, "0");
  return localRfc3339(seconds).replace(/(T\d\d:\d\d:\d\d)/, `$1.${fraction}`);
}
