/**
 * Variables in a Dockerfile's words: quotes taken off, escapes resolved, `$x` and `${x…}` replaced.
 * Source: the Dockerfile reference, "Environment replacement"; POSIX shell, 2.6.2 for the forms it borrows. Where
 * the two leave room, what BuildKit does is in expand.test.ts.
 */
import { EngineError, invalid, sentenceOf } from "#base";

import { replaceMatches, trimPrefix, trimSuffix } from "./glob.ts";

export type Environment = Readonly<Record<string, string>>;

export interface Expansion {
  readonly text: string;
  /** Variables that were asked for and have a value. */
  readonly defined: readonly string[];
  /** Variables that were asked for and have no value, in whatever form. */
  readonly undefined: readonly string[];
}

/** A form nested deeper is nobody's. */
const DEPTH_LIMIT = 32;
/** A program takes no variable of more than 128 KiB; a few lines of `ENV a=$a$a` would be more than there is memory. */
const WORD_LIMIT = 1024 * 1024;
const HEREDOC_LIMIT = 16 * 1024 * 1024;

const PLAIN: Omit<Settings, "environment"> = {
  escape: "\\",
  quotes: "taken",
  rawEscapes: false,
  keepUnset: false,
  splits: false,
  limit: WORD_LIMIT,
};

/** One word. @throws EngineError "invalid": `failed to process "${x": …` */
export function expandWord(text: string, environment: Environment, escape = "\\"): Expansion {
  return expansionOf(text, { ...PLAIN, environment, escape });
}

/** What is in a heredoc: quotes mean nothing there. @throws EngineError "invalid" */
export function expandHeredoc(text: string, environment: Environment): Expansion {
  return expansionOf(text, { ...PLAIN, environment, quotes: "ordinary", limit: HEREDOC_LIMIT });
}

/**
 * A word that may become several: what a variable holds is split at its spaces, unless that stood in quotes.
 * @throws EngineError "invalid"
 */
export function expandWords(text: string, environment: Environment, escape = "\\"): string[] {
  return lexed(text, { ...PLAIN, environment, escape, splits: true }).words;
}

/** A line as words that keep their quotes, escapes and variables; none where a quote is never closed. */
export function wordsOfLine(line: string): string[] {
  try {
    const raw = {
      quotes: "kept",
      rawEscapes: true,
      keepUnset: true,
      splits: true,
      limit: HEREDOC_LIMIT,
    } as const;
    return lexed(line, { ...PLAIN, ...raw, environment: {} }).words;
  } catch {
    return [];
  }
}

/** The words that a heredoc's name is, with its quotes or without. @throws EngineError "invalid" */
export function wordsOfName(text: string, quotes: "taken" | "kept"): string[] {
  const settings = { ...PLAIN, quotes, keepUnset: true, splits: true, environment: {} };
  return lexed(text, settings).words;
}

/** Of a text in an error. */
const SHOWN = 4096;

function expansionOf(text: string, settings: Settings): Expansion {
  const { result, lexer } = lexed(text, settings);
  return { text: result, defined: [...lexer.defined], undefined: [...lexer.missing] };
}

function lexed(text: string, settings: Settings) {
  const lexer = new Lexer(text, settings);
  try {
    return { ...lexer.whole(), lexer };
  } catch (cause) {
    if (!(cause instanceof EngineError)) throw cause;
    const shown = text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
    throw invalid(`failed to process ${JSON.stringify(shown)}: ${sentenceOf(cause)}`);
  }
}

interface Settings {
  readonly environment: Environment;
  readonly escape: string;
  readonly quotes: "taken" | "kept" | "ordinary";
  readonly rawEscapes: boolean;
  /** A variable without a value stays as it is written. */
  readonly keepUnset: boolean;
  /** Words are wanted, and not only the text. */
  readonly splits: boolean;
  /** So many characters come of it at most. */
  readonly limit: number;
}

/** Words that grow character by character: what was quoted or escaped is never split. */
class Words {
  readonly #words: string[] = [];
  #word = "";

  add(text: string): void {
    for (const char of text) {
      if (!/\s/.test(char)) this.#word += char;
      else this.#end();
    }
  }

  addRaw(text: string): void {
    this.#word += text;
  }

  all(): string[] {
    this.#end();
    return this.#words;
  }

  #end(): void {
    if (this.#word !== "") this.#words.push(this.#word);
    this.#word = "";
  }
}

/** Runs of these are taken at once. */
const ORDINARY = /[^$<'"\\`{}/]+/y;

const tooLarge = (limit: number): Error => invalid(`more than ${limit} characters come of it`);

class Lexer {
  readonly defined = new Set<string>();
  readonly missing = new Set<string>();
  readonly #text: string;
  readonly #settings: Settings;
  #at = 0;
  #depth = 0;

  constructor(text: string, settings: Settings) {
    this.#text = text;
    this.#settings = settings;
  }

  whole(): { result: string; words: string[] } {
    return this.#until("", this.#settings.rawEscapes);
  }

  get #isAtEnd(): boolean {
    return this.#at >= this.#text.length;
  }

  #peek(): string {
    return this.#text[this.#at] ?? "";
  }

  #take(): string {
    const char = this.#peek();
    this.#at += 1;
    return char;
  }

  /** Up to a closing character (taken, not answered), or the end for "". `raw` keeps escapes, for patterns. */
  #until(stop: string, raw: boolean): { result: string; words: string[] } {
    const { escape, quotes, limit, splits } = this.#settings;
    const words = splits ? new Words() : null;
    let result = "";
    while (!this.#isAtEnd) {
      const char = this.#peek();
      if (stop !== "" && char === stop) {
        this.#at += 1;
        return { result, words: words?.all() ?? [] };
      }
      let piece = "";
      // What stands in quotes, or behind an escape, parts no words.
      let isWhole = true;
      if (char === "$") [piece, isWhole] = [this.#dollar(), false];
      else if (char === "<") piece = this.#opening();
      else if (quotes !== "ordinary" && char === "'") piece = this.#single();
      else if (quotes !== "ordinary" && char === '"') piece = this.#double(raw);
      else if (char === escape) piece = this.#escaped(raw);
      else [piece, isWhole] = [this.#plain(stop), false];
      if (isWhole) words?.addRaw(piece);
      else words?.add(piece);
      result += piece;
      if (result.length > limit) throw tooLarge(limit);
    }
    if (stop !== "")
      throw invalid(`unexpected end of statement while looking for matching ${stop}`);
    return { result, words: words?.all() ?? [] };
  }

  /** As many characters as mean nothing but themselves. */
  #plain(stop: string): string {
    ORDINARY.lastIndex = this.#at;
    const [run = this.#peek()] = ORDINARY.exec(this.#text) ?? [];
    const end = stop === "" ? -1 : run.indexOf(stop);
    const text = end > 0 ? run.slice(0, end) : run;
    this.#at += text.length;
    return text;
  }

  #escaped(raw: boolean): string {
    this.#at += 1;
    return (raw ? this.#settings.escape : "") + this.#take();
  }

  /** `<< EOF` is one word. */
  #opening(): string {
    const [text = "<"] = /^<(?:<[ \t\r]*)?/.exec(this.#text.slice(this.#at)) ?? [];
    this.#at += text.length;
    return text;
  }

  #quoted(text: string, quote: string): string {
    return this.#settings.quotes === "kept" ? quote + text + quote : text;
  }

  #single(): string {
    this.#at += 1;
    const end = this.#text.indexOf("'", this.#at);
    if (end < 0) {
      this.#at = this.#text.length;
      throw invalid("unexpected end of statement while looking for matching single-quote");
    }
    const text = this.#text.slice(this.#at, end);
    this.#at = end + 1;
    return this.#quoted(text, "'");
  }

  #double(raw: boolean): string {
    const { escape } = this.#settings;
    this.#at += 1;
    let result = "";
    while (!this.#isAtEnd) {
      const char = this.#peek();
      if (char === '"') {
        this.#at += 1;
        return this.#quoted(result, '"');
      }
      if (char === "$") {
        result += this.#dollar();
        if (result.length > this.#settings.limit) throw tooLarge(this.#settings.limit);
        continue;
      }
      this.#at += 1;
      const next = this.#peek();
      const isEscape = char === escape;
      if (isEscape && raw) result += char;
      // One at the very end is no character.
      if (isEscape && next === "") continue;
      if (isEscape && (next === '"' || next === "$" || next === escape)) result += this.#take();
      else result += char;
    }
    throw invalid("unexpected end of statement while looking for matching double-quote");
  }

  #dollar(): string {
    this.#at += 1;
    if (this.#peek() !== "{") {
      const name = this.#name();
      return name === "" ? "$" : this.#valueOf(name, `$${name}`);
    }
    this.#at += 1;
    this.#depth += 1;
    if (this.#depth > DEPTH_LIMIT) throw invalid("substitutions are nested too deeply");
    if (this.#isAtEnd) throw invalid("syntax error: missing '}'");
    if ("{}:".includes(this.#peek())) throw invalid("syntax error: bad substitution");
    const value = this.#braced(this.#name());
    this.#depth -= 1;
    return value;
  }

  #braced(name: string): string {
    const operator = this.#take();
    switch (operator) {
      case "}":
        return this.#valueOf(name, `\${${name}}`);
      case ":":
        return this.#default(name, `:${this.#take()}`);
      case "-":
      case "+":
      case "?":
        return this.#default(name, operator);
      case "#":
      case "%":
        return this.#trimmed(name, operator);
      case "/":
        return this.#replaced(name);
      case "":
        throw invalid("syntax error: missing '}'");
      default:
        throw invalid(`unsupported modifier (${operator}) in substitution`);
    }
  }

  /** A part of a form; one that the text ends in is said to be that of the whole form. */
  #part(stop: string, raw: boolean, missing: string): string {
    try {
      return this.#until(stop, raw).result;
    } catch (cause) {
      throw this.#isAtEnd ? invalid(`syntax error: missing '${missing}`) : cause;
    }
  }

  #default(name: string, operator: string): string {
    const kind = operator.at(-1) ?? "";
    if (operator === ":#" || operator === ":%") {
      throw invalid(`unsupported modifier (${operator}) in substitution`);
    }
    const word = this.#part("}", false, "}'");
    const value = this.#lookUp(name);
    if (value === undefined && this.#settings.keepUnset) return `\${${name}${operator}${word}}`;
    const has = value !== undefined && !(operator.length > 1 && value === "");
    switch (kind) {
      case "-":
        return has ? value : word;
      case "+":
        return has ? word : "";
      case "?": {
        if (has) return value;
        const why =
          value === undefined ? "is not allowed to be unset" : "is not allowed to be empty";
        throw invalid(`${name}: ${word === "" ? why : word}`);
      }
      default:
        throw invalid(`unsupported modifier (${operator}) in substitution`);
    }
  }

  #trimmed(name: string, operator: "#" | "%"): string {
    const word = this.#part("}", true, "}'");
    const value = this.#lookUp(name);
    if (value === undefined && this.#settings.keepUnset) return `\${${name}${operator}${word}}`;
    const greedy = word.startsWith(operator);
    const trim = operator === "#" ? trimPrefix : trimSuffix;
    return trim(value ?? "", greedy ? word.slice(1) : word, greedy);
  }

  #replaced(name: string): string {
    const all = this.#peek() === "/";
    if (all) this.#at += 1;
    const pattern = this.#part("/", true, "/' in ${}");
    const replacement = this.#part("}", true, "}'");
    const value = this.#lookUp(name);
    if (value === undefined && this.#settings.keepUnset) {
      return `\${${name}/${pattern}/${replacement}}`;
    }
    const { limit } = this.#settings;
    return replaceMatches(value ?? "", pattern, { replacement, all, limit });
  }

  /** A name, a number, or one special parameter; "" for none. */
  #name(): string {
    const rest = this.#text.slice(this.#at, this.#at + 4096);
    const [name = ""] = /^(?:\p{Nd}+|[@*#?!$-]|[\p{L}_][\p{L}\p{Nd}_]*)/u.exec(rest) ?? [];
    this.#at += name.length;
    return name;
  }

  #lookUp(name: string): string | undefined {
    const { environment } = this.#settings;
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
    (value === undefined ? this.missing : this.defined).add(name);
    return value;
  }

  #valueOf(name: string, written: string): string {
    return this.#lookUp(name) ?? (this.#settings.keepUnset ? written : "");
  }
}
