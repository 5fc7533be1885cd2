/**
 * `naru __complete WORD...`: what the last word may become, one candidate a line, a description behind a tab. The line
 * `:files` asks the shell for file names. Live names come from the daemon, and a daemon that is not there is silence.
 */
import { listContainers, listImages, listVolumes } from "#clients/api-client";

import type { CommandEntry } from "./commands/command.ts";
import { commands, findCommand, groups } from "./commands/table.ts";
import { listContexts } from "./config/context-store.ts";
import { globalFlags } from "./config/global-flags.ts";
import { DEFAULT_CONTEXT, Session, type Build, type Environment } from "./config/session.ts";
import { parseFlags } from "./flags/parse.ts";
import { Flags, type CompletionKind, type FlagSpec } from "./flags/spec.ts";
import { print } from "./terminal/stdio.ts";

interface Candidate {
  readonly text: string;
  readonly about?: string;
}

/** Prints the candidates for the last of `words`. */
export async function complete(
  words: readonly string[],
  environment: Environment,
  build: Build,
): Promise<number> {
  const session = (globals: Flags) => new Session(globals, environment, build);
  const candidates = await candidatesFor(words, session).catch((): Candidate[] => []);
  const lines = candidates.map(({ text, about }) => (about ? `${text}\t${about}` : text));
  print(lines.map((line) => `${line}\n`).join(""));
  return 0;
}

async function candidatesFor(
  words: readonly string[],
  openSession: (globals: Flags) => Session,
): Promise<Candidate[]> {
  const current = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  const globals = globalFlags();
  const start = commandStart(before, globals);
  const session = openSession(globalsOf(before.slice(0, start), globals));
  const rest = before.slice(start);
  if (rest.length === 0) {
    const value = await flagValue(before, current, { specs: globals, session });
    if (value !== undefined) return value;
    return starting(current, current.startsWith("-") ? flagNames(globals) : commandNames());
  }
  const found = findCommand(rest);
  if (found.kind === "group" && rest.length === 1) {
    return starting(current, groupCommands(found.name));
  }
  if (found.kind !== "command") return [];
  const { flags: specs } = await found.entry.load();
  const after = rest.slice(found.words);
  const value = await flagValue(after, current, { specs, session });
  if (value !== undefined) return value;
  if (current.startsWith("-")) return starting(current, flagNames(specs));
  return starting(current, await argumentNames(found.entry, after, specs, session));
}

/** How many words are global flags and their values. */
function commandStart(words: readonly string[], globals: readonly FlagSpec[]): number {
  let at = 0;
  while (at < words.length && words[at]?.startsWith("-")) {
    at += needsValue(words[at] ?? "", globals) === undefined ? 1 : 2;
  }
  return Math.min(at, words.length);
}

function globalsOf(words: readonly string[], globals: readonly FlagSpec[]): Flags {
  try {
    return parseFlags(words, globals, { interspersed: false }).flags;
  } catch {
    return new Flags(globals);
  }
}

/** The flag whose value is the next word. */
function needsValue(word: string, specs: readonly FlagSpec[]): FlagSpec | undefined {
  if (word.includes("=")) return undefined;
  const spec = word.startsWith("--")
    ? specs.find(({ name }) => name === word.slice(2))
    : /^-\w+$/.test(word)
      ? specs.find(({ shorthand }) => shorthand === word.at(-1))
      : undefined;
  return spec === undefined || spec.kind === "bool" ? undefined : spec;
}

/** Candidates when the last word is the value of a flag, undefined when it is not. */
async function flagValue(
  before: readonly string[],
  current: string,
  { specs, session }: { specs: readonly FlagSpec[]; session: Session },
): Promise<Candidate[] | undefined> {
  const spec = needsValue(before.at(-1) ?? "", specs);
  if (spec !== undefined) return starting(current, await valuesOf(spec, session));
  const inline = /^--([\w-]+)=(.*)$/.exec(current);
  const inlineSpec = specs.find(({ name }) => name === inline?.[1]);
  if (inline === null || inlineSpec === undefined) return undefined;
  const values = starting(inline[2] ?? "", await valuesOf(inlineSpec, session));
  return values.map(({ text, ...more }) =>
    // The shell puts what stands before the = back itself.
    text === ":files" ? { text } : { ...more, text: `--${inline[1]}=${text}` },
  );
}

function valuesOf({ values }: FlagSpec, session: Session): Promise<Candidate[]> {
  if (values === undefined) return Promise.resolve([]);
  if (typeof values === "string") return liveNames(values, session);
  return Promise.resolve(values.map((text) => ({ text })));
}

async function argumentNames(
  entry: CommandEntry,
  after: readonly string[],
  specs: readonly FlagSpec[],
  session: Session,
): Promise<Candidate[]> {
  let given: readonly string[] = [];
  try {
    given = parseFlags(after, specs, { interspersed: entry.interspersed !== false }).args;
  } catch {
    // A line that is still being typed need not be right.
  }
  const { max } = entry.args;
  if (entry.completes === undefined || (max !== undefined && given.length >= max)) return [];
  // What follows the image or the container belongs to the command inside.
  if (entry.interspersed === false && given.length > 0) return [{ text: ":files" }];
  const names = await liveNames(entry.completes, session);
  return names.filter(({ text }) => !given.includes(text));
}

async function liveNames(kind: CompletionKind, session: Session): Promise<Candidate[]> {
  switch (kind) {
    case "files":
      return [{ text: ":files" }];
    case "commands":
      return commandNames();
    case "none":
      return [];
    case "containers":
      return containerNames(session, []);
    case "running":
      return containerNames(session, ["running", "paused", "restarting"]);
    case "stopped":
      return containerNames(session, ["created", "exited"]);
    case "images":
      return imageNames(session);
    case "contexts":
      return [
        DEFAULT_CONTEXT,
        ...listContexts(session.configDirectory).map(({ Name }) => Name),
      ].map((text) => ({ text }));
    case "volumes": {
      const client = await session.client();
      const { Volumes } = await listVolumes(client);
      return Volumes.map(({ Name: text }) => ({ text }));
    }
    case "networks": {
      const client = await session.client();
      const networks = await client.json<{ Name: string }[]>({ method: "GET", path: "/networks" });
      return networks.map(({ Name: text }) => ({ text }));
    }
  }
}

async function containerNames(session: Session, status: readonly string[]): Promise<Candidate[]> {
  const filters = status.length === 0 ? {} : { status };
  const list = await listContainers(await session.client(), { all: true, filters });
  return list.map(({ Id, Names, Image }) => ({
    text: Names[0]?.replace(/^\//, "") ?? Id.slice(0, 12),
    about: Image,
  }));
}

async function imageNames(session: Session): Promise<Candidate[]> {
  const list = await listImages(await session.client());
  return list
    .flatMap(({ RepoTags }) => RepoTags ?? [])
    .filter((name) => !name.startsWith("<none>"))
    .map((text) => ({ text }));
}

function commandNames(): Candidate[] {
  const own = commands.flatMap(({ names, short, hidden }) => {
    const text = names.at(-1) ?? "";
    return text.includes(" ") || hidden === true ? [] : [{ text, about: short }];
  });
  const management = Object.entries(groups).map(([text, about]) => ({ text, about }));
  return [...own, ...management].toSorted((a, b) => (a.text < b.text ? -1 : 1));
}

function groupCommands(group: string): Candidate[] {
  return commands.flatMap(({ names, short }) => {
    const name = names.find((candidate) => candidate.startsWith(`${group} `));
    return name === undefined ? [] : [{ text: name.slice(group.length + 1), about: short }];
  });
}

const flagNames = (specs: readonly FlagSpec[]): Candidate[] =>
  [...specs, HELP]
    .filter(({ hidden }) => hidden !== true)
    .map(({ name, usage }) => ({ text: `--${name}`, about: usage.split("\n", 1)[0] ?? "" }))
    .toSorted((a, b) => (a.text < b.text ? -1 : 1));

const HELP: FlagSpec = { name: "help", kind: "bool", usage: "Print usage" };

const starting = (prefix: string, candidates: readonly Candidate[]): Candidate[] =>
  candidates.filter(({ text }) => text === ":files" || text.startsWith(prefix));
