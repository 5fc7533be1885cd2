/** Help texts in docker's layout: usage, what it does, aliases, options wrapped to the terminal. */
import type { CommandEntry } from "./commands/command.ts";
import { commands, groups } from "./commands/table.ts";
import { globalFlags } from "./config/global-flags.ts";
import type { FlagSpec } from "./flags/spec.ts";
import { durationText } from "#base";
import { STDOUT } from "./terminal/stdio.ts";
import { windowSize } from "./terminal/tty.ts";

const DEFAULT_COLUMNS = 80;
/** Below this many columns a usage text starts on a line of its own. */
const NARROW_COLUMNS = 24;
const NARROW_INDENT = 16;
/** How far a line may go over to keep a last word with it. */
const SLOP = 5;

const columns = (): number => (windowSize(STDOUT)?.columns ?? DEFAULT_COLUMNS) || DEFAULT_COLUMNS;

/** Help of one command, as it was called. */
export async function commandHelp(entry: CommandEntry, name: string): Promise<string> {
  const { flags } = await entry.load();
  const parts = [usageLine(entry, name), entry.long ?? entry.short];
  if (entry.names.length > 1) {
    parts.push(`Aliases:\n  ${entry.names.map((alias) => `naru ${alias}`).join(", ")}`);
  }
  if (entry.examples !== undefined) parts.push(`Examples:\n  ${entry.examples.join("\n  ")}`);
  // Where -h means something else (--hostname), --help has to be told.
  const own = flags.some(({ shorthand }) => shorthand === "h");
  const options = flagsHelp(own ? [...flags, HELP_FLAG] : flags);
  if (options !== "") parts.push(`Options:\n${options}`);
  return `${parts.join("\n\n")}\n`;
}

const HELP_FLAG: FlagSpec = { name: "help", kind: "bool", usage: "Print usage" };

/** `Usage:  naru run [OPTIONS] IMAGE [COMMAND] [ARG...]`. */
export const usageLine = (entry: CommandEntry, name: string): string =>
  `Usage:  naru ${name} ${entry.usage}`.trimEnd();

/** Help of a group: `naru container`. */
export function groupHelp(group: string): string {
  const inside = commands.flatMap((entry) => {
    const name = entry.names.find((own) => own.startsWith(`${group} `));
    if (name === undefined || entry.hidden === true) return [];
    return [{ ...entry, shown: name.slice(group.length + 1) }];
  });
  return [
    `Usage:  naru ${group} COMMAND`,
    groups[group],
    `Commands:\n${listOf(inside)}`,
    `Run 'naru ${group} COMMAND --help' for more information on a command.\n`,
  ].join("\n\n");
}

/** Help of the program. */
export function programHelp(): string {
  const short = commands.flatMap((entry) => {
    const shown = entry.names.at(-1) ?? "";
    return shown.includes(" ") || entry.hidden === true ? [] : [{ ...entry, shown }];
  });
  const management = Object.entries(groups).map(([shown, text]) => ({ shown, short: text }));
  const programs = [
    { shown: "daemon", short: "Run the engine in the foreground" },
    ...management,
  ].toSorted((a, b) => (a.shown < b.shown ? -1 : 1));
  const others = short.filter(({ common }) => common !== true);
  return [
    "Usage:  naru [OPTIONS] COMMAND",
    "A container engine behind Docker's API",
    `Common Commands:\n${listOf(
      short.filter(({ common }) => common === true),
      false,
    )}`,
    `Management Commands:\n${listOf(programs)}`,
    `Commands:\n${listOf(others)}`,
    `Global Options:\n${flagsHelp(globalFlags(), false)}`,
    "Run 'naru COMMAND --help' for more information on a command.\n",
  ].join("\n\n");
}

function listOf(entries: readonly { shown: string; short: string }[], sorted = true): string {
  const width = Math.max(11, ...entries.map(({ shown }) => shown.length));
  const shown = sorted ? entries.toSorted((a, b) => (a.shown < b.shown ? -1 : 1)) : entries;
  return shown.map((entry) => `  ${entry.shown.padEnd(width)} ${entry.short}`).join("\n");
}

/** The lines of options, sorted by name. */
export function flagsHelp(specs: readonly FlagSpec[], sorted = true): string {
  const shown = specs.filter((spec) => spec.hidden !== true);
  const ordered = sorted ? shown.toSorted((a, b) => (a.name < b.name ? -1 : 1)) : shown;
  const lines = ordered.map(flagParts);
  const width = Math.max(0, ...lines.map(({ left }) => left.length)) + 3;
  return lines
    .map(({ left, usage }) => `${left.padEnd(width)}${wrap(usage, width, columns() - 1)}`)
    .join("\n");
}

/** A flag with its kind, and what it does. */
export const flagParts = (spec: FlagSpec): { left: string; usage: string } => ({
  left: leftOf(spec),
  usage: usageOf(spec),
});

function leftOf(spec: FlagSpec): string {
  const letter = !spec.shorthand ? "    " : `-${spec.shorthand}, `;
  const kind = spec.shown ?? (spec.kind === "bool" ? "" : kindText(spec));
  return `  ${letter}--${spec.name}${kind === "" ? "" : ` ${kind}`}`;
}

const kindText = ({ kind }: FlagSpec): string => {
  if (kind === "int64") return "int";
  return kind === "memory-swap" ? "bytes" : kind;
};

function usageOf(spec: FlagSpec): string {
  const text = spec.fallbackText ?? fallbackText(spec);
  return text === "" ? spec.usage : `${spec.usage} (default ${text})`;
}

function fallbackText({ kind, fallback, shown }: FlagSpec): string {
  if (shown === "map") return "map[]";
  if (fallback === undefined || fallback === false || fallback === "") return "";
  if (kind === "duration") return durationText(Number(fallback));
  if (fallback === 0) return "";
  return typeof fallback === "string" ? JSON.stringify(fallback) : String(fallback);
}

/** Breaks a usage text into lines that start at column `indent` and end before `width`, as pflag does. */
export function wrap(text: string, indent: number, width: number): string {
  let left = indent;
  let room = width - left;
  let result = "";
  if (room < NARROW_COLUMNS) {
    left = NARROW_INDENT;
    room = width - left;
    result = `\n${" ".repeat(left)}`;
  }
  const margin = `\n${" ".repeat(left)}`;
  if (room < NARROW_COLUMNS) return text.replaceAll("\n", result);
  let [line, rest] = breakLine(text, room - SLOP);
  result += line.replaceAll("\n", margin);
  while (rest !== "") {
    [line, rest] = breakLine(rest, room - SLOP);
    result += margin + line.replaceAll("\n", margin);
  }
  return result;
}

function breakLine(text: string, room: number): [string, string] {
  if (room + SLOP > text.length) return [text, ""];
  const head = text.slice(0, room);
  const space = Math.max(head.lastIndexOf(" "), head.lastIndexOf("\t"), head.lastIndexOf("\n"));
  if (space <= 0) return [text, ""];
  const newline = head.lastIndexOf("\n");
  const at = newline > 0 && newline < space ? newline : space;
  return [text.slice(0, at), text.slice(at + 1)];
}
