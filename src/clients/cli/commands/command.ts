/** What a command is, to the table, the parser, help and completion alike. */
import type { CompletionKind, FlagSpec, Flags } from "../flags/spec.ts";
import type { Session } from "../config/session.ts";

/** One start of a command, with its words already read. */
export interface Invocation {
  /** As the user called it: `naru container run`. */
  readonly name: string;
  readonly flags: Flags;
  readonly args: readonly string[];
  readonly session: Session;
}

/** What lies behind a command's import. */
export interface Command {
  readonly flags: readonly FlagSpec[];
  /** @returns the exit code */
  run(invocation: Invocation): Promise<number> | number;
}

/** How many arguments a command takes; no `max` is any number. */
export interface ArgumentRule {
  readonly min: number;
  readonly max?: number;
  /** The number, for the few commands where docker counts in other words. */
  readonly exact?: number;
}

export interface CommandEntry {
  /** Every way to call it; the first names it in its group, the last is the short form. */
  readonly names: readonly string[];
  /** Behind the name in the usage line: `[OPTIONS] CONTAINER [CONTAINER...]`. */
  readonly usage: string;
  readonly short: string;
  /** More than `short`, where there is more to say. */
  readonly long?: string;
  readonly args: ArgumentRule;
  readonly examples?: readonly string[];
  /** False: the first argument ends the flags (`run`, `exec`). */
  readonly interspersed?: boolean;
  readonly completes?: CompletionKind;
  /** Flags and action. Behind an import of its own, so that a start loads only what it runs. */
  readonly load: () => Promise<Command>;
  /** Not in help. */
  readonly hidden?: boolean;
  /** In the first section of `naru --help`. */
  readonly common?: boolean;
}

export interface FoundCommand {
  readonly kind: "command";
  readonly entry: CommandEntry;
  readonly name: string;
  /** How many of the words are its name. */
  readonly words: number;
}

/** The entry whose name, of two words or of one, `words` begin with. */
export function findEntry(
  entries: readonly CommandEntry[],
  words: readonly string[],
): FoundCommand | null {
  for (const count of [2, 1]) {
    if (words.length < count) continue;
    const name = words.slice(0, count).join(" ");
    const entry = entries.find(({ names }) => names.includes(name));
    if (entry !== undefined) return { kind: "command", entry, name, words: count };
  }
  return null;
}

/** Ends the program with a code, after a message unless it is empty. */
export class ExitError extends Error {
  readonly code: number;

  constructor(code: number, message = "") {
    super(message);
    this.code = code;
  }
}

/** A command's words were understood but make no sense; says where help is. */
export class UsageError extends Error {}
