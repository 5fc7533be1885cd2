/**
 * A Dockerfile's text as logical lines: directives read, comments dropped, continuation lines joined, heredocs taken
 * out. Source: the Dockerfile reference, "Format", "Parser directives" and "Here-documents".
 */
import { invalid, sentenceOf } from "#base";

import { FaultyLine } from "./faulty-line.ts";
import type { CheckDirective, Heredoc, Location } from "./instruction.ts";
import { wordsOfLine, wordsOfName } from "./expand.ts";
import { jsonWords } from "./words.ts";

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

const errorOnLine = (line: number, why: string): FaultyLine =>
  new FaultyLine({ startLine: line, endLine: line }, why);

const DIRECTIVE = /^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$/;
const COMMENT = /^[ \t\v\f\r]*#/;

interface Directives {
  escape: "\\" | "`";
  syntax: string | null;
  check: CheckDirective;
}

/** Directives come before everything else, and each only once. */
const DIRECTIVE_LINES = 8;

/** Which frontend a text names, before anything else of it is looked at. @throws EngineError "invalid" with the line */
export const syntaxOf = (text: string): string | null =>
  readDirectives(physicalLines(text.replace(/^\uFEFF/, "").split("\n", DIRECTIVE_LINES))).syntax;

const physicalLines = (raw: readonly string[]): string[] =>
  raw.map((line) => line.replace(/\r+$/, ""));

/** @throws EngineError "invalid" with the line */
export function readLines(text: string): Lines {
  const raw = text.replace(/^\uFEFF/, "").split("\n");
  if (raw.length > LINE_LIMIT) throw invalid(`dockerfile has more than ${LINE_LIMIT} lines`);
  const physical = physicalLines(raw);
  const { count, ...directives } = readDirectives(physical);
  const reader = new LineReader({ physical, raw, directives: count }, directives.escape);
  return { ...directives, ...reader.read(), physical };
}

function readDirectives(physical: readonly string[]): Directives & { readonly count: number } {
  const found = { escape: "\\" as Directives["escape"], syntax: null as string | null };
  let check = readCheck("");
  let count = 0;
  const seen = new Set<string>();
  for (const [index, text] of physical.entries()) {
    if (index === 0 && text.startsWith("#!")) continue;
    count = index;
    const slashes = /^\/\/[ \t]*(syntax)[ \t]*=[ \t]*(.+?)[ \t]*$/.exec(text);
    const [, given = "", value = ""] = DIRECTIVE.exec(text) ?? slashes ?? [];
    const name = given.toLowerCase();
    if (name !== "escape" && name !== "syntax" && name !== "check") break;
    if (seen.has(name)) {
      throw errorOnLine(index + 1, `only one ${name} parser directive can be used`);
    }
    seen.add(name);
    if (name === "syntax") found.syntax = value;
    else if (name === "check") check = checkOn(index + 1, value);
    else if (value === "\\" || value === "`") found.escape = value;
    else {
      throw errorOnLine(index + 1, `invalid escape token '${value}' does not match \` or \\`);
    }
  }
  return { ...found, check, count };
}

function checkOn(line: number, text: string): CheckDirective {
  try {
    return readCheck(text);
  } catch (cause) {
    throw errorOnLine(line, `failed to parse check options: ${sentenceOf(cause)}`);
  }
}

/** The rules that a comment right above an instruction skips for it alone; null: it says nothing of rules. */
export function readCheckComment(comment: string): CheckDirective | null {
  const [, name = "", value = ""] = DIRECTIVE.exec(`#${comment}`) ?? [];
  if (name.toLowerCase() !== "check") return null;
  try {
    return readCheck(value.split(" ", 1)[0] ?? "");
  } catch {
    // Somebody's words, and no directive.
    return null;
  }
}

const NO_CHECK: CheckDirective = { skip: [], skipAll: false, experimental: [], error: false };

/** @throws EngineError "invalid" */
export function readCheck(text: string): CheckDirective {
  let check = NO_CHECK;
  if (text.trim() === "") return check;
  const parts = text.trim().split(";");
  for (const part of [
    ...parts.slice(0, 2),
    ...(parts.length > 2 ? [parts.slice(2).join(";")] : []),
  ]) {
    const at = part.indexOf("=");
    if (at < 0) throw invalid(`invalid check option ${JSON.stringify(part)}`);
    const name = part.slice(0, at).trim();
    const value = part.slice(at + 1).trim();
    const rules = value.split(",").map((rule) => rule.trim());
    if (name === "skip" && value === "all") check = { ...check, skipAll: true };
    else if (name === "skip") check = { ...check, skip: rules };
    else if (name === "experimental") check = { ...check, experimental: rules };
    else if (name === "error") check = { ...check, error: isError(part, value) };
    else throw invalid(`invalid check option ${JSON.stringify(name)}`);
  }
  return check;
}

function isError(part: string, value: string): boolean {
  if (/^(?:1|t|true|T|TRUE|True|0|f|false|F|FALSE|False)$/.test(value)) return /^[1tT]/.test(value);
  throw invalid(
    `failed to parse check option ${JSON.stringify(part)}: strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`,
  );
}

class LineReader {
  readonly #physical: readonly string[];
  /** With what ends a line in them, as a heredoc keeps it. */
  readonly #raw: readonly string[];
  /** So many lines at the top are directives, and no comments. */
  readonly #directives: number;
  readonly #continued: RegExp;
  readonly #escape: string;
  #next = 0;

  constructor(
    text: { physical: readonly string[]; raw: readonly string[]; directives: number },
    escape: string,
  ) {
    this.#physical = text.physical;
    this.#raw = text.raw;
    this.#directives = text.directives;
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
        const comment = text.slice(1).trim();
        const isDirective = this.#next <= this.#directives;
        if (!isDirective) comments = comment === "" ? [] : [...comments, comment];
        continue;
      }
      if (text.trim() === "") continue;
      const startLine = this.#next;
      const { line, emptyInside } = this.#join(text.trimStart());
      if (line.trim() === "") continue;
      // BuildKit says it of the instruction's last line.
      if (emptyInside) emptyContinuations.push({ startLine: this.#next, endLine: this.#next });
      const read = this.#instruction(line, startLine, comments);
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
    const heredocs = this.#heredocs(keyword, rest, { text, startLine });
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
      if (char === this.#escape) {
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
  #heredocs(
    keyword: string,
    rest: string,
    { text, startLine }: { text: string; startLine: number },
  ): Heredoc[] {
    const instruction = keyword.toUpperCase();
    const inner = instruction === "ONBUILD" ? (rest.split(/\s/, 1)[0] ?? "").toUpperCase() : "";
    const holder = instruction === "ONBUILD" ? inner : instruction;
    if (!["RUN", "COPY", "ADD"].includes(holder) || !text.includes("<<")) return [];
    if (jsonWords(rest).kind !== "notJson") return [];
    const location = { startLine, endLine: this.#next };
    return wordsOfLine(text).flatMap((word) => {
      const opened = openedOn(location, word);
      if (opened === null) return [];
      const content = this.#heredocContent(opened);
      if (content !== null) return [{ ...opened, content }];
      throw new FaultyLine({ startLine, endLine: this.#physical.length }, "unterminated heredoc");
    });
  }

  #heredocContent({ name, chomp }: Omit<Heredoc, "content">): string | null {
    let content = "";
    for (;;) {
      const text = this.#physical[this.#next];
      if (text === undefined) return null;
      const raw = this.#raw[this.#next] ?? "";
      this.#next += 1;
      if ((chomp ? text.replace(/^\t+/, "") : text) === name) return content;
      content += `${raw}\n`;
    }
  }
}

function openedOn(location: Location, word: string): Omit<Heredoc, "content"> | null {
  try {
    return openedBy(word);
  } catch (cause) {
    throw new FaultyLine(location, sentenceOf(cause));
  }
}

/** `<<EOF`, `3<<-"EOF"`, `<< EOF`; null for any other word. @throws EngineError "invalid" for an open quote */
export function openedBy(word: string): Omit<Heredoc, "content"> | null {
  const [, descriptor = "", dash = "", written = ""] = /^(\d*)<<(-?)\s*([^<]*)$/.exec(word) ?? [];
  if (written === "") return null;
  const [name, ...others] = wordsOfName(written, "taken");
  if (name === undefined || others.length > 0) return null;
  const quotes = (text = ""): number => text.replaceAll(/[^'"]/g, "").length;
  const [raw] = wordsOfName(written, "kept");
  const expand = quotes(name) === quotes(raw);
  return { name, chomp: dash === "-", expand, descriptor: Number(descriptor || "0") };
}
