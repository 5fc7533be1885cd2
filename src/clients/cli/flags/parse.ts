/**
 * Flags as spf13/pflag reads them, which is what docker's users are used to: `--name v`, `--name=v`, `-n v`, `-nv`,
 * `-n=v`, `-itd`, `--rm=false`, `--` ends them, and for `run` and `exec` the first argument does.
 */
import { parseDuration } from "#base";
import { Flags, type FlagSpec, type FlagValue } from "./spec.ts";
import {
  INT64,
  parseBool,
  parseBytes,
  parseInteger,
  parseNanoCpus,
  quote,
  UINT16,
  UINT64,
} from "./values.ts";

/** The user's mistake in flags. */
export class FlagError extends Error {}

export interface Parsed {
  readonly flags: Flags;
  readonly args: readonly string[];
  /** True when --help (or -h where no flag has that letter) was given. */
  readonly help: boolean;
}

/** Reads a command's words. @throws FlagError in pflag's words */
export function parseFlags(
  words: readonly string[],
  specs: readonly FlagSpec[],
  { interspersed = true }: { interspersed?: boolean } = {},
): Parsed {
  const state = new Parser(words, specs);
  const args: string[] = [];
  for (let word = state.next(); word !== undefined; word = state.next()) {
    if (word === "--") return state.finish([...args, ...state.rest()]);
    if (word.startsWith("--")) state.long(word.slice(2));
    else if (word.startsWith("-") && word !== "-") state.short(word.slice(1));
    else if (interspersed) args.push(word);
    else return state.finish([word, ...state.rest()]);
    if (state.help) break;
  }
  return state.finish(args);
}

class Parser {
  help = false;
  readonly #words: readonly string[];
  readonly #specs: readonly FlagSpec[];
  readonly #flags: Flags;
  #at = 0;

  constructor(words: readonly string[], specs: readonly FlagSpec[]) {
    this.#words = words;
    this.#specs = specs;
    this.#flags = new Flags(specs);
  }

  next(): string | undefined {
    return this.#words[this.#at++];
  }

  rest(): readonly string[] {
    return this.#words.slice(this.#at);
  }

  finish(args: readonly string[]): Parsed {
    return { flags: this.#flags, args, help: this.help };
  }

  long(word: string): void {
    const equals = word.indexOf("=");
    const name = equals < 0 ? word : word.slice(0, equals);
    const inline = equals < 0 ? undefined : word.slice(equals + 1);
    if (name === "" || name.startsWith("-")) throw new FlagError(`bad flag syntax: --${word}`);
    const spec = this.#specs.find(
      (candidate) => candidate.name === name || candidate.formerly === name,
    );
    if (spec !== undefined) {
      this.#set(spec, inline ?? this.#noValue(spec, `flag needs an argument: --${name}`));
    } else if (name === "help") {
      this.help = inline === undefined || parseBool(inline);
    } else {
      throw new FlagError(`unknown flag: --${name}${this.#suggestion(name)}`);
    }
  }

  short(word: string): void {
    for (let rest = word; rest !== "";) {
      const letter = String.fromCodePoint(rest.codePointAt(0) ?? 0);
      const after = rest.slice(letter.length);
      const spec = this.#specs.find((candidate) => candidate.shorthand === letter);
      if (spec === undefined) {
        if (letter === "h") {
          this.help = true;
          return;
        }
        throw new FlagError(`unknown shorthand flag: '${letter}' in -${rest}`);
      }
      if (after.startsWith("=")) {
        this.#set(spec, after.slice(1));
        return;
      }
      if (spec.kind === "bool") {
        this.#set(spec, "true");
        rest = after;
        continue;
      }
      const missing = `flag needs an argument: '${letter}' in -${rest}`;
      this.#set(spec, after === "" ? this.#noValue(spec, missing) : after);
      return;
    }
  }

  #noValue(spec: FlagSpec, missing: string): string {
    if (spec.kind === "bool") return "true";
    const value = this.next();
    if (value === undefined) throw new FlagError(missing);
    return value;
  }

  #set(spec: FlagSpec, text: string): void {
    try {
      this.#flags.set(spec, valueOf(spec, text));
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const shown = !spec.shorthand ? "" : `-${spec.shorthand}, `;
      throw new FlagError(
        `invalid argument ${quote(text)} for "${shown}--${spec.name}" flag: ${reason}`,
        { cause },
      );
    }
  }

  #suggestion(name: string): string {
    const near = this.#specs
      .filter((spec) => spec.hidden !== true)
      .map((spec) => ({ spec, distance: editDistance(spec.name, name) }))
      .filter(({ distance }) => distance <= 2)
      .toSorted((a, b) => a.distance - b.distance)[0];
    return near === undefined ? "" : `\n\nDid you mean this?\n\t--${near.spec.name}`;
  }
}

function valueOf(spec: FlagSpec, raw: string): FlagValue {
  const text = spec.check?.(raw) ?? raw;
  switch (spec.kind) {
    case "bool":
      return parseBool(text);
    case "string":
      return text;
    case "list":
      return [text];
    case "strings":
      return text === "" ? [] : text.split(",");
    case "int":
    case "int64":
      return parseInteger(text, INT64);
    case "uint":
      return parseInteger(text, UINT64);
    case "uint16":
      return parseInteger(text, UINT16);
    case "duration":
      return parseDuration(text);
    case "bytes":
      return parseBytes(text);
    case "memory-swap":
      return text === "-1" ? -1 : parseBytes(text);
    case "decimal":
      return parseNanoCpus(text);
  }
}

/** How many letters to insert, delete, replace or swap to turn one word into another. */
export function editDistance(left: string, right: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= right.length; j += 1) {
      const same = left[i - 1] === right[j - 1] ? 0 : 1;
      let best = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + same);
      if (i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1]) {
        best = Math.min(best, (beforeLast[j - 2] ?? 0) + 1);
      }
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[right.length] ?? 0;
}
