/**
 * The command line from its words to an exit code: global flags, the command, its flags and arguments, and what every
 * kind of failure looks like to a person.
 *
 * Exit codes: 0; 1 a failed command; 64 a template that cannot be read; 125 the engine or wrong flags, 126 and 127 a
 * container's command that cannot run or is not there, 128+n a signal; else the container's own.
 */
import {
  ExitError,
  findEntry,
  UsageError,
  type ArgumentRule,
  type CommandEntry,
  type FoundCommand,
} from "./commands/command.ts";
import { messageFor, missingNames } from "./commands/failure.ts";
import { containerCommands } from "./commands/table-containers.ts";
import { globalFlags } from "./config/global-flags.ts";
import { Session, type Build, type Environment } from "./config/session.ts";
import { FlagError, parseFlags } from "./flags/parse.ts";
import { BrokenPipe, print, warn } from "./terminal/stdio.ts";
import { restoreTerminals } from "./terminal/tty.ts";

/** What a shell reports for a program that SIGPIPE ended. */
const BROKEN_PIPE_EXIT = 141;
const FLAG_EXIT = 125;
const LOG_LEVELS = new Set([
  "debug",
  "info",
  "warn",
  "error",
  "fatal",
  "panic",
  "trace",
  "warning",
]);

/** Runs one command line. @returns the exit code; never throws */
export async function main(
  words: readonly string[],
  environment: Environment,
  build: Build,
): Promise<number> {
  try {
    return await start(words, environment, build);
  } catch (thrown) {
    restoreTerminals();
    if (thrown instanceof BrokenPipe) return BROKEN_PIPE_EXIT;
    return report(thrown);
  } finally {
    restoreTerminals();
  }
}

async function start(
  words: readonly string[],
  environment: Environment,
  build: Build,
): Promise<number> {
  if (words[0] === "__complete") {
    const { complete } = await import("./complete.ts");
    return complete(words.slice(1), environment, build);
  }
  const global = readGlobal(words);
  if (global.help) return showHelp([]);
  const session = new Session(global.flags, environment, build);
  if (global.flags.bool("version")) {
    const { versionLine } = await import("./commands/version.ts");
    print(`${versionLine(build)}\n`);
    return 0;
  }
  const level = global.flags.string("log-level");
  if (!LOG_LEVELS.has(level)) throw new ExitError(1, `Unable to parse logging level: ${level}`);
  const [first] = global.args;
  if (first === undefined) return showHelp([]);
  if (first === "help") return showHelp(global.args.slice(1));

  const found = await find(global.args);
  if (found.kind === "command") return runCommand(found, global.args.slice(found.words), session);
  const { explainMissing } = await import("./missing.ts");
  return explainMissing(found, global.args);
}

/** Most of what is typed are commands of containers: the rest of the table costs nothing then. */
const find = async (words: readonly string[]) =>
  findEntry(containerCommands, words) ?? (await import("./commands/table.ts")).findCommand(words);

async function showHelp(words: readonly string[]): Promise<number> {
  return (await import("./missing.ts")).showHelp(words);
}

function readGlobal(words: readonly string[]) {
  try {
    return parseFlags(words, globalFlags(), { interspersed: false });
  } catch (cause) {
    if (!(cause instanceof FlagError)) throw cause;
    const usage =
      "Usage:  naru [OPTIONS] COMMAND [ARG...]\n\nRun 'naru --help' for more information";
    throw new ExitError(FLAG_EXIT, `${cause.message}\n\n${usage}`);
  }
}

async function runCommand(
  { entry, name }: FoundCommand,
  words: readonly string[],
  session: Session,
): Promise<number> {
  const command = await entry.load();
  const parsed = readFlags(words, entry, name, command.flags);
  if (parsed.help) {
    const { commandHelp } = await import("./help.ts");
    print(await commandHelp(entry, name));
    return 0;
  }
  checkArguments(parsed.args, entry, name);
  try {
    return await suggestingNames(
      session,
      await command.run({ name: `naru ${name}`, ...parsed, session }),
    );
  } catch (thrown) {
    if (session.debug && thrown instanceof Error) warn(thrown.stack ?? "");
    if (thrown instanceof BrokenPipe) throw thrown;
    restoreTerminals();
    const isRun = name === "run" || name === "container run";
    const code = isRun && !(thrown instanceof ExitError) ? reportRun(thrown, name) : report(thrown);
    return suggestingNames(session, code);
  }
}

/** Costs nothing unless a name was not found. */
async function suggestingNames(session: Session, code: number): Promise<number> {
  const missing = missingNames();
  if (code !== 0 && missing.length > 0) {
    await (await import("./name-suggestions.ts")).suggestNames(session, missing);
  }
  return code;
}

function readFlags(
  words: readonly string[],
  entry: CommandEntry,
  name: string,
  specs: Parameters<typeof parseFlags>[1],
) {
  try {
    return parseFlags(words, specs, { interspersed: entry.interspersed !== false });
  } catch (cause) {
    if (!(cause instanceof FlagError)) throw cause;
    throw new ExitError(FLAG_EXIT, `${cause.message}\n\n${usage(entry, name, "Run")}`);
  }
}

function usage(entry: CommandEntry, name: string, verb: "Run" | "See"): string {
  return (
    `Usage:  naru ${name} ${entry.usage}`.trimEnd() +
    `\n\n${verb} 'naru ${name} --help' for more information`
  );
}

function checkArguments(args: readonly string[], entry: CommandEntry, name: string): void {
  const wrong = argumentError(entry.args, args.length);
  if (wrong === undefined) return;
  const { exact } = entry.args;
  if (exact !== undefined) {
    throw new ExitError(1, `accepts ${exact} arg(s), received ${args.length}`);
  }
  const verb = entry.args.max === undefined ? "See" : "Run";
  throw new ExitError(1, `naru: 'naru ${name}' ${wrong}\n\n${usage(entry, name, verb)}`);
}

/** What is wrong with a number of arguments, in docker's words. */
export function argumentError(rule: ArgumentRule, count: number): string | undefined {
  const { min, max } = rule;
  const words = (n: number) => `${n} ${n === 1 ? "argument" : "arguments"}`;
  if (count >= min && (max === undefined || count <= max)) return undefined;
  if (max === 0) return "accepts no arguments";
  if (max === undefined) return `requires at least ${words(min)}`;
  if (max === min) return `requires ${words(min)}`;
  if (min === 0) return `requires at most ${words(max)}`;
  return `requires at least ${min} and at most ${words(max)}`;
}

/** What a failure of `run` looks like: the engine's are 125, as docker has it. */
function reportRun(thrown: unknown, name: string): number {
  warn(`naru: ${messageFor(thrown)}\n\nRun 'naru ${name} --help' for more information`);
  return FLAG_EXIT;
}

function report(thrown: unknown): number {
  if (thrown instanceof ExitError) {
    if (thrown.message !== "") warn(thrown.message);
    return thrown.code;
  }
  warn(messageFor(thrown));
  return thrown instanceof UsageError ? FLAG_EXIT : 1;
}
