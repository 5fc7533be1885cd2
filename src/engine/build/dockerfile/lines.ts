/**
 * A Dockerfile's text as logical lines: directives read, comments dropped, continuation lines joined, heredocs taken
 * out. Source: the Dockerfile reference, "Format", "Parser directives" and "Here-documents".
 */
import { invalid, sentenceOf } from "#base";

import { FaultyLine } from "./faulty-line.ts";
import type { CheckDirective, Heredoc, Location } from "./instruction.ts";
import { splitQuoted } from "./words.ts";

/** More than any Dockerfile that a person wrote. */
const LINE_LIMIT = 200_000;

export interface LogicalLine {
  readonly keyword: string;
  /** Leading `--name[=value]` words. */
  readonly flags: readonly string[];
  readonly rest: string;
  readonly original: string;
  readonly location: Location;
  readonly comments: readonly string[];
  readonly heredocs: readonly Heredoc[];
}

export interface Lines {
  readonly escape: "\\" | "`";
  readonly syntax: string | null;
  readonly check: CheckDirective;
  readonly logical: readonly LogicalLine[];
  readonly emptyContinuations: readonly Location[];
  readonly physical: readonly string[];
}

/** An error that points at its lines. */
export const errorAt = (location: Location, why: string): FaultyLine =>
  new FaultyLine(location, `dockerfile parse error on line ${location.startLine}: ${why}`);
const errorOnLine = (line: number, why: string): FaultyLine =>
  errorAt({ startLine: line, endLine: line }, why);

const DIRECTIVE = /^#[ \t]*([a-zA-Z][a-zA-Z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*$/;
const COMMENT = /^[ \t\v\f\r]*#/;

interface Directives {
  escape: "\\" | "`";
  syntax: string | null;
  check: CheckDirective;
}

/** @throws EngineError "invalid" with the line */
export function readLines(text: string): Lines {
  const physical = text
    .replace(/^\uFEFF/, "")
    .split("\n")
    .map((line) => line.replace(/\r$/, ""));
  if (physical.length > LINE_LIMIT) throw invalid(`dockerfile has more than ${LINE_LIMIT} lines`);
  const directives = readDirectives(physical);
  return { ...directives, ...new LineReader(physical, directives.escape).read(), physical };
}

function readDirectives(physical: readonly string[]): Directives {
  const found: Directives = {
    escape: "\\",
    syntax: null,
    check: readCheck(""),
  };
  const seen = new Set<string>();
  for (const [index, text] of physical.entries()) {
    if (index === 0 && text.startsWith("#!")) continue;
    const slashes = /^\/\/[ \t]*(syntax)[ \t]*=[ \t]*(.+?)[ \t]*$/.exec(text);
    const [, given = "", value = ""] = DIRECTIVE.exec(text) ?? slashes ?? [];
    const name = given.toLowerCase();
    if (name !== "escape" && name !== "syntax" && name !== "check") break;
    if (seen.has(name)) {
      throw errorOnLine(index + 1, `only one ${name} parser directive can be used`);
    }
    seen.add(name);
    if (name === "syntax") found.syntax = value;
    else if (name === "check") found.check = checkOn(index + 1, value);
    else if (value === "\\" || value === "`") found.escape = value;
    else {
      throw errorOnLine(index + 1, `invalid escape token '${value}' does not match \` or \\`);
    }
  }
  return found;
}

function checkOn(line: number, text: string): CheckDirective {
  try {
    return readCheck(text);
  } catch (cause) {
    throw errorOnLine(line, `failed to parse check options: ${sentenceOf(cause)}`);
  }
}

/** @throws EngineError "invalid" */
export function readCheck(text: string): CheckDirective {
  let skip: string[] = [];
  let experimental: string[] = [];
  let error = false;
  for (const part of text.split(";").filter((option) => option.trim() !== "")) {
    const at = part.indexOf("=");
    const name = part.slice(0, Math.max(at, 0)).trim();
    const value = part.slice(at + 1).trim();
    const rules = value.split(",").map((rule) => rule.trim());
    if (name === "skip") skip = rules;
    else if (name === "experimental") experimental = rules;
    else if (name === "error" && /^(?:1|t|true|0|f|false)$/i.test(value)) {
      error = /^[1t]/i.test(value);
    } else throw invalid(`invalid check option ${JSON.stringify(part.trim())}`);
  }
  return { skip, skipAll: skip.includes("all"), experimental, error };
}

class LineReader {
  readonly #physical: readonly string[];
  readonly #continued: RegExp;
  readonly #escape: string;
  #next = 0;

  constructor(physical: readonly string[], escape: string) {
    this.#physical = physical;
    this.#escape = escape;
    const token = escape === "`" ? "`" : "\\\\";
    this.#continued = new RegExp(`(?<!${token})${token}[ \\t]*$`);
  }

  read(): Pick<Lines, "logical" | "emptyContinuations"> {
    const logical: LogicalLine[] = [];
    const emptyContinuations: Location[] = [];
    let comments: string[] = [];
    for (;;) {
      const text = this.#physical[this.#next];
      if (text === undefined) break;
      this.#next += 1;
      if (COMMENT.test(text) || this.#isDirectiveSlash(text)) {
        const comment = text.replace(/^[\s#]*/, "").trim();
        comments = comment === "" ? [] : [...comments, comment];
        continue;
      }
      if (text.trim() === "") {
        comments = [];
        continue;
      }
      const startLine = this.#next;
      const { line, emptyInside } = this.#join(text.trimStart());
      if (line.trim() === "") continue;
      const read = this.#instruction(line, startLine, comments);
      if (emptyInside) emptyContinuations.push(read.location);
      logical.push(read);
      comments = [];
    }
    return { logical, emptyContinuations };
  }

  /** `// syntax=` is a directive only at the top, where no instruction has been. */
  #isDirectiveSlash(text: string): boolean {
    return this.#next <= 3 && /^\/\/[ \t]*syntax[ \t]*=/.test(text);
  }

  #join(first: string): { line: string; emptyInside: boolean } {
    let line = first;
    let emptyInside = false;
    while (this.#continued.test(line)) {
      line = line.replace(this.#continued, "");
      let following: string | null = null;
      for (;;) {
        const text = this.#physical[this.#next];
        if (text === undefined) break;
        this.#next += 1;
        if (COMMENT.test(text)) continue;
        if (text.trim() === "") {
          // The text's last newline makes one more, which nobody wrote.
          emptyInside ||= this.#next < this.#physical.length;
          continue;
        }
        following = text;
        break;
      }
      if (following === null) break;
      const goesOn = this.#continued.test(following);
      line += following;
      if (!goesOn) break;
    }
    return { line, emptyInside };
  }

  #instruction(line: string, startLine: number, comments: readonly string[]): LogicalLine {
    const text = line.trim();
    const [, keyword = "", tail = ""] = /^(\S+)\s*([^]*)$/.exec(text) ?? [];
    const { flags, rest } = this.#flags(tail);
    const heredocs = this.#heredocs(keyword, rest, startLine);
    const location = { startLine, endLine: this.#next };
    return { keyword, flags, rest, original: text, location, comments, heredocs };
  }

  #flags(tail: string): { flags: string[]; rest: string } {
    const flags: string[] = [];
    let rest = tail;
    while (rest.startsWith("--")) {
      const { word, end } = this.#flagWord(rest);
      rest = rest.slice(end).trimStart();
      if (word === "--") break;
      flags.push(word);
    }
    return { flags, rest };
  }

  /** One word with its quotes and escapes taken off. */
  #flagWord(text: string): { word: string; end: number } {
    let word = "";
    let quote = "";
    let at = 0;
    for (; at < text.length; at += 1) {
      const char = text[at] ?? "";
      if (char === this.#escape && quote !== "'" && at + 1 < text.length) {
        at += 1;
        word += text[at] ?? "";
      } else if (quote !== "") {
        if (char === quote) quote = "";
        else word += char;
      } else if (char === '"' || char === "'") quote = char;
      else if (/\s/.test(char)) break;
      else word += char;
    }
    return { word, end: at };
  }

  /** Which heredocs a line opens, with what the following lines put into them. */
  #heredocs(keyword: string, rest: string, startLine: number): Heredoc[] {
    const instruction = keyword.toUpperCase();
    const inner = instruction === "ONBUILD" ? (rest.split(/\s/, 1)[0] ?? "").toUpperCase() : "";
    const holder = instruction === "ONBUILD" ? inner : instruction;
    if (!["RUN", "COPY", "ADD"].includes(holder) || !rest.includes("<<")) return [];
    if (rest.trimStart().startsWith("[") && isJsonList(rest)) return [];
    return heredocsOpened(rest, this.#escape).map((opened) => {
      const content = this.#heredocContent(opened);
      if (content === null) throw errorOnLine(startLine, "unterminated heredoc");
      return { ...opened, content };
    });
  }

  #heredocContent({ name, chomp }: Omit<Heredoc, "content">): string | null {
    let content = "";
    for (;;) {
      const text = this.#physical[this.#next];
      if (text === undefined) return null;
      this.#next += 1;
      if ((chomp ? text.replace(/^\t+/, "") : text) === name) return content;
      content += `${text}\n`;
    }
  }
}

function isJsonList(text: string): boolean {
  try {
    return Array.isArray(JSON.parse(text));
  } catch {
    return false;
  }
}

/** The heredocs that the words of a line open, in order. */
function heredocsOpened(rest: string, escape: string): Omit<Heredoc, "content">[] {
  const words = splitQuoted(rest, escape) ?? [];
  const opened: Omit<Heredoc, "content">[] = [];
  for (let index = 0; index < words.length; index += 1) {
    let word = words[index] ?? "";
    // `<< EOF` is one opening in two words.
    if (/^\d*<<-?$/.test(word)) {
      index += 1;
      word += words[index] ?? "";
    }
    const heredoc = openedBy(word);
    if (heredoc !== null) opened.push(heredoc);
  }
  return opened;
}

/** `<<EOF`, `3<<-"EOF"`; null for any other word. */
export function openedBy(word: string): Omit<Heredoc, "content"> | null {
  const match = /^(\d*)<<(-?)([^<]+)$/.exec(word);
  if (match === null) return null;
  const [, descriptor = "", dash = "", quoted = ""] = match;
  const name = quoted.replaceAll(/["']|\\(?=.)/g, "");
  if (name === "") return null;
  return {
    name,
    chomp: dash === "-",
    expand: name === quoted,
    descriptor: descriptor === "" ? 0 : Number(descriptor),
  };
}
