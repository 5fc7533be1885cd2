/**
 * Variables in a Dockerfile's words: quotes taken off, escapes resolved, `$x` and `${x…}` replaced.
 * Source: the Dockerfile reference, "Environment replacement"; POSIX shell, 2.6.2 for the forms it borrows.
 */
import { invalid } from "#base";

export type Environment = Readonly<Record<string, string>>;

export interface Expansion {
  readonly text: string;
  /** Variables that were asked for and have no value. */
  readonly undefined: readonly string[];
}

/** A form nested deeper is nobody's. */
const DEPTH_LIMIT = 32;

/** One word. @throws EngineError "invalid" */
export function expandWord(text: string, environment: Environment, escape = "\\"): Expansion {
  const expander = new Expander(text, { environment, escape, quotes: true });
  return { text: expander.whole(), undefined: expander.missing };
}

/** What is in a heredoc: quotes mean nothing there. @throws EngineError "invalid" */
export function expandHeredoc(text: string, environment: Environment): Expansion {
  const expander = new Expander(text, { environment, escape: "\\", quotes: false });
  return { text: expander.whole(), undefined: expander.missing };
}

/** A word that may become several: what a variable holds is split at its spaces. @throws EngineError "invalid" */
export function expandWords(text: string, environment: Environment, escape = "\\"): string[] {
  return expandWord(text, environment, escape)
    .text.split(/\s+/)
    .filter((word) => word !== "");
}

interface Settings {
  readonly environment: Environment;
  readonly escape: string;
  readonly quotes: boolean;
}

class Expander {
  readonly missing: string[] = [];
  readonly #text: string;
  readonly #settings: Settings;
  #at = 0;
  #depth = 0;

  constructor(text: string, settings: Settings) {
    this.#text = text;
    this.#settings = settings;
  }

  whole(): string {
    return this.#until("");
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
  #until(stop: string, raw = false): string {
    const { escape, quotes } = this.#settings;
    let result = "";
    while (this.#at < this.#text.length) {
      const char = this.#peek();
      if (stop !== "" && char === stop) {
        this.#at += 1;
        return result;
      }
      if (quotes && char === "'") result += this.#single();
      else if (quotes && char === '"') result += this.#double();
      else if (char === "$") result += this.#dollar();
      else if (char === escape) result += this.#escaped(raw);
      else result += this.#take();
    }
    if (stop !== "")
      throw invalid(`unexpected end of statement while looking for matching ${stop}`);
    return result;
  }

  #escaped(raw: boolean): string {
    const { escape, quotes } = this.#settings;
    this.#at += 1;
    if (this.#at >= this.#text.length) return quotes ? "" : escape;
    const char = this.#take();
    if (raw) return escape + char;
    // In a heredoc only what would mean something else needs escaping.
    if (!quotes && char !== "$" && char !== escape) return escape + char;
    return char;
  }

  #single(): string {
    this.#at += 1;
    const end = this.#text.indexOf("'", this.#at);
    if (end < 0) {
      throw invalid("unexpected end of statement while looking for matching single-quote");
    }
    const text = this.#text.slice(this.#at, end);
    this.#at = end + 1;
    return text;
  }

  #double(): string {
    const { escape } = this.#settings;
    this.#at += 1;
    let result = "";
    while (this.#at < this.#text.length) {
      const char = this.#peek();
      if (char === '"') {
        this.#at += 1;
        return result;
      }
      if (char === "$") {
        result += this.#dollar();
        continue;
      }
      this.#at += 1;
      const next = this.#peek();
      if (char === escape && (next === '"' || next === "$" || next === escape)) {
        result += this.#take();
      } else result += char;
    }
    throw invalid("unexpected end of statement while looking for matching double-quote");
  }

  #dollar(): string {
    this.#at += 1;
    if (this.#peek() !== "{") {
      const name = this.#name();
      return name === "" ? "$" : this.#valueOf(name);
    }
    this.#at += 1;
    this.#depth += 1;
    if (this.#depth > DEPTH_LIMIT) throw invalid("substitutions are nested too deeply");
    const name = this.#name();
    if (name === "") throw invalid("syntax error: bad substitution");
    const value = this.#braced(name);
    this.#depth -= 1;
    return value;
  }

  #braced(name: string): string {
    const operator = this.#take();
    switch (operator) {
      case "}":
        return this.#valueOf(name);
      case ":":
        return this.#default(name, this.#take(), true);
      case "-":
      case "+":
      case "?":
        return this.#default(name, operator, false);
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

  #default(name: string, operator: string, emptyCounts: boolean): string {
    const value = this.#lookUp(name);
    const has = value !== undefined && !(emptyCounts && value === "");
    const before = this.missing.length;
    const word = this.#until("}");
    // What is not used is not missed.
    if (operator === "-" ? has : !has) this.missing.length = before;
    switch (operator) {
      case "-":
        return has ? (value ?? "") : word;
      case "+":
        return has ? word : "";
      case "?": {
        if (has) return value ?? "";
        const why =
          value === undefined ? "is not allowed to be unset" : "is not allowed to be empty";
        throw invalid(`${name}: ${word === "" ? why : word}`);
      }
      default:
        throw invalid(`unsupported modifier (:${operator}) in substitution`);
    }
  }

  #trimmed(name: string, operator: "#" | "%"): string {
    const greedy = this.#peek() === operator;
    if (greedy) this.#at += 1;
    const pattern = this.#until("}", true);
    const value = this.#valueOf(name);
    const matches = globPattern(pattern, this.#settings.escape);
    // Each possible cut is tried: an expression with a lazy star would not try them from the end.
    const cuts = Array.from({ length: value.length + 1 }, (_, index) => index);
    const shortestFirst = operator === "#" ? cuts : cuts.toReversed();
    for (const cut of greedy ? shortestFirst.toReversed() : shortestFirst) {
      const piece = operator === "#" ? value.slice(0, cut) : value.slice(cut);
      if (!matches.test(piece)) continue;
      return operator === "#" ? value.slice(cut) : value.slice(0, cut);
    }
    return value;
  }

  #replaced(name: string): string {
    const all = this.#peek() === "/";
    if (all) this.#at += 1;
    const pattern = this.#until("/", true);
    const replacement = this.#until("}");
    const value = this.#valueOf(name);
    if (pattern === "") return value;
    const source = globSource(pattern, this.#settings.escape);
    return value.replace(new RegExp(source, all ? "gs" : "s"), () => replacement);
  }

  /** A name, or one digit or special parameter; "" for none. */
  #name(): string {
    const rest = this.#text.slice(this.#at, this.#at + 4096);
    const [name = ""] = /^(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?!$-](?=\}))/.exec(rest) ?? [];
    this.#at += name.length;
    return name;
  }

  #lookUp(name: string): string | undefined {
    const { environment } = this.#settings;
    return Object.hasOwn(environment, name) ? environment[name] : undefined;
  }

  #valueOf(name: string): string {
    const value = this.#lookUp(name);
    if (value === undefined) this.missing.push(name);
    return value ?? "";
  }
}

/** `*` and `?` of a shell pattern as an expression's source; both match anything, `/` too. */
function globSource(pattern: string, escape: string): string {
  let source = "";
  for (let at = 0; at < pattern.length; at += 1) {
    let char = pattern[at] ?? "";
    if (char === "*") source += source.endsWith(".*") ? "" : ".*";
    else if (char === "?") source += ".";
    else {
      if (char === escape) {
        at += 1;
        char = pattern[at] ?? escape;
      }
      source += char.replace(/[\\^$.*+?()[\]{}|/]/, "\\$&");
    }
  }
  return source;
}

const globPattern = (pattern: string, escape: string): RegExp =>
  new RegExp(`^(?:${globSource(pattern, escape)})$`, "s");
