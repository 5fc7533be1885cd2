/**
 * The patterns of `labels-regex` and `env-regex`: Go's syntax, matched as Go does it, by all ways through the
 * pattern at once. The runtime's own expressions try one way after the other, and a pattern like `(a|a)*b` would
 * keep the daemon busy for ever.
 * Source: RE2's syntax page, without Unicode classes.
 */
import { invalid } from "#base";

const SOURCE_LIMIT = 4096;
/** RE2's own bound of one count, and what all counts together may make of a pattern. */
const COUNT_LIMIT = 1000;
const STEPS_LIMIT = 2000;
/** A name that is longer is matched by no pattern. */
const TEXT_LIMIT = 4096;
const DEPTH_LIMIT = 200;

type Place = "start" | "end" | "word" | "inside";
type Test = (code: number) => boolean;

type Node =
  | { readonly kind: "one"; readonly test: Test }
  | { readonly kind: "at"; readonly place: Place }
  | { readonly kind: "all"; readonly nodes: readonly Node[] }
  | { readonly kind: "either"; readonly nodes: readonly Node[] }
  | {
      readonly kind: "repeat";
      readonly node: Node;
      readonly least: number;
      readonly most: number;
    };

type Step =
  | { readonly kind: "one"; readonly test: Test }
  | { readonly kind: "at"; readonly place: Place }
  /** Goes on at each of these. */
  | { readonly kind: "fork"; to: number[] }
  | { readonly kind: "found" };

/** A pattern that is found in a text in time proportional to both. */
export interface Expression {
  /** True when some part of the text matches. */
  test(text: string): boolean;
}

/** @throws EngineError "invalid" in the words of Go's regexp */
export function parseExpression(source: string): Expression {
  if (source.length > SOURCE_LIMIT) throw wrong("expression too large", source.slice(0, 20));
  const steps: Step[] = [];
  emit(new Parser(source).whole(), steps);
  add(steps, { kind: "found" });
  return { test: (text) => text.length <= TEXT_LIMIT && search(steps, text) };
}

const wrong = (why: string, what: string) => invalid(`error parsing regexp: ${why}: \`${what}\``);

const within =
  (...ranges: readonly (readonly [number, number])[]): Test =>
  (code) =>
    ranges.some(([from, to]) => code >= from && code <= to);
const not =
  (test: Test): Test =>
  (code) =>
    !test(code);

const range = (from: string, to: string) => [from.charCodeAt(0), to.charCodeAt(0)] as const;
const isDigit = within(range("0", "9"));
const isWord = within(range("0", "9"), range("A", "Z"), range("a", "z"), range("_", "_"));
const isSpace = within(range("\t", "\n"), range("\f", "\r"), range(" ", " "));
const CLASSES: Readonly<Record<string, Test>> = {
  d: isDigit,
  D: not(isDigit),
  w: isWord,
  W: not(isWord),
  s: isSpace,
  S: not(isSpace),
};
const NAMED: Readonly<Record<string, Test>> = {
  alnum: within(range("0", "9"), range("A", "Z"), range("a", "z")),
  alpha: within(range("A", "Z"), range("a", "z")),
  digit: isDigit,
  lower: within(range("a", "z")),
  punct: within(range("!", "/"), range(":", "@"), range("[", "`"), range("{", "~")),
  space: within(range("\t", "\r"), range(" ", " ")),
  upper: within(range("A", "Z")),
  word: isWord,
  xdigit: within(range("0", "9"), range("A", "F"), range("a", "f")),
};
const CONTROLS: Readonly<Record<string, string>> = {
  a: "\x07",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};
const PLACES: Readonly<Record<string, Place>> = { A: "start", z: "end", b: "word", B: "inside" };
const NEWLINE = 10;

class Parser {
  readonly #source: string;
  #at = 0;
  #depth = 0;
  /** `(?i)` and `(?s)`, to the end of their group. */
  #flags = { anyCase: false, dotAll: false };

  constructor(source: string) {
    this.#source = source;
  }

  whole(): Node {
    const node = this.#either();
    if (this.#at < this.#source.length) throw wrong("unexpected )", this.#source);
    return node;
  }

  #peek(): string {
    const code = this.#source.codePointAt(this.#at);
    return code === undefined ? "" : String.fromCodePoint(code);
  }

  #next(): string {
    const character = this.#peek();
    this.#at += character.length;
    return character;
  }

  #take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source);
    if (found !== null) this.#at += found[0].length;
    return found;
  }

  #either(): Node {
    this.#depth += 1;
    if (this.#depth > DEPTH_LIMIT) throw wrong("expression nests too deeply", this.#source);
    const nodes = [this.#sequence()];
    while (this.#peek() === "|") {
      this.#next();
      nodes.push(this.#sequence());
    }
    this.#depth -= 1;
    return { kind: "either", nodes };
  }

  #sequence(): Node {
    const nodes: Node[] = [];
    while (!["", "|", ")"].includes(this.#peek())) {
      const node = this.#atom();
      if (node !== null) nodes.push(this.#repeated(node));
    }
    return { kind: "all", nodes };
  }

  #repeated(node: Node): Node {
    const found = this.#take(/(?:[*+?]|\{(\d{1,9})(?:(,)(\d{0,9}))?\})\??/y);
    if (found === null) return node;
    const [text, low, comma, high] = found;
    const again = /(?:[*+?]|\{\d+(?:,\d*)?\})/y;
    again.lastIndex = this.#at;
    if (again.test(this.#source)) {
      throw wrong("invalid nested repetition operator", text + this.#peek());
    }
    const least = low === undefined ? (text.startsWith("+") ? 1 : 0) : Number(low);
    const endless = low === undefined ? !text.startsWith("?") : comma !== undefined && !high;
    const most = endless ? Infinity : low === undefined ? 1 : Number(high || low);
    const isTooMuch = least > COUNT_LIMIT || (most !== Infinity && most > COUNT_LIMIT);
    if (isTooMuch || most < least) throw wrong("invalid repeat count", text);
    return { kind: "repeat", node, least, most };
  }

  /** null: flags, which match nothing. */
  #atom(): Node | null {
    const character = this.#next();
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return { kind: "one", test: this.#cased(this.#set()) };
      case ".":
        return { kind: "one", test: this.#flags.dotAll ? () => true : (code) => code !== NEWLINE };
      case "^":
        return { kind: "at", place: "start" };
      case "$":
        return { kind: "at", place: "end" };
      case "\\":
        return this.#escape();
      case "*":
      case "+":
      case "?":
        throw wrong("missing argument to repetition operator", character);
      default:
        return this.#literal(character);
    }
  }

  #literal(character: string): Node {
    const code = character.codePointAt(0) ?? 0;
    return { kind: "one", test: this.#cased(within([code, code])) };
  }

  /** As written, or in either case. */
  #cased(test: Test): Test {
    if (!this.#flags.anyCase) return test;
    return (code) => {
      const text = String.fromCodePoint(code);
      return [text, text.toLowerCase(), text.toUpperCase()].some((one) =>
        test(one.codePointAt(0) ?? 0),
      );
    };
  }

  #group(): Node | null {
    const before = { ...this.#flags };
    if (this.#peek() === "?") {
      const found = this.#take(/\?(?:P?<\w+>|([ims]*)(?:-([ims]+))?([:)]))/y);
      if (found === null) {
        const shown = this.#source.slice(this.#at - 1, this.#at + 2);
        throw wrong("invalid or unsupported Perl syntax", shown);
      }
      const [, on = "", off = "", end] = found;
      if (on.includes("m")) throw wrong("invalid or unsupported Perl syntax", "(?m");
      this.#flags = {
        anyCase: (before.anyCase || on.includes("i")) && !off.includes("i"),
        dotAll: (before.dotAll || on.includes("s")) && !off.includes("s"),
      };
      if (end === ")") return null;
    }
    const node = this.#either();
    if (this.#next() !== ")") throw wrong("missing closing )", this.#source);
    this.#flags = before;
    return node;
  }

  #escape(): Node {
    const character = this.#peek();
    const place = PLACES[character];
    const test = CLASSES[character];
    if (place !== undefined || test !== undefined) this.#next();
    if (place !== undefined) return { kind: "at", place };
    return test === undefined ? this.#literal(this.#escaped()) : { kind: "one", test };
  }

  /** What stands behind a backslash, as the character that is meant. */
  #escaped(): string {
    const hex = this.#take(/x(?:([0-9a-fA-F]{2})|\{([0-9a-fA-F]{1,6})\})/y);
    if (hex !== null) {
      const code = Number.parseInt(hex[1] ?? hex[2] ?? "", 16);
      if (code > 0x10ffff) throw wrong("invalid escape sequence", `\\${hex[0]}`);
      return String.fromCodePoint(code);
    }
    const character = this.#next();
    if (character === "") throw wrong("trailing backslash at end of expression", "");
    const control = CONTROLS[character];
    if (control !== undefined) return control;
    if (/[\w\u{80}-\u{10ffff}]/u.test(character)) {
      throw wrong("invalid escape sequence", `\\${character}`);
    }
    return character;
  }

  #set(): Test {
    const from = this.#at - 1;
    const isNegated = this.#peek() === "^";
    if (isNegated) this.#next();
    const tests: Test[] = [];
    // The first bracket is a character, not the end.
    while (this.#peek() !== "]" || tests.length === 0) {
      if (this.#peek() === "") throw wrong("missing closing ]", this.#source.slice(from));
      tests.push(this.#setItem());
    }
    this.#next();
    const any: Test = (code) => tests.some((test) => test(code));
    return isNegated ? not(any) : any;
  }

  #setItem(): Test {
    const named = this.#take(/\[:(\^?)(\w+):\]/y);
    if (named !== null) {
      const test = NAMED[named[2] ?? ""];
      if (test === undefined) throw wrong("invalid character class range", named[0]);
      return named[1] === "^" ? not(test) : test;
    }
    const known = this.#take(/\\([dDwWsS])/y);
    if (known !== null) return CLASSES[known[1] ?? ""] ?? isWord;
    const start = this.#at;
    const first = this.#setCharacter();
    if (!/^-[^\]]/.test(this.#source.slice(this.#at, this.#at + 2))) return within([first, first]);
    this.#next();
    const last = this.#setCharacter();
    if (last < first) {
      throw wrong("invalid character class range", this.#source.slice(start, this.#at));
    }
    return within([first, last]);
  }

  #setCharacter(): number {
    const character = this.#next();
    return (character === "\\" ? this.#escaped() : character).codePointAt(0) ?? 0;
  }
}

function add(steps: Step[], step: Step): number {
  if (steps.length >= STEPS_LIMIT) throw invalid("error parsing regexp: expression too large");
  return steps.push(step) - 1;
}

function emit(node: Node, steps: Step[]): void {
  switch (node.kind) {
    case "one":
    case "at":
      add(steps, node);
      return;
    case "all":
      for (const one of node.nodes) emit(one, steps);
      return;
    case "either": {
      const fork: { kind: "fork"; to: number[] } = { kind: "fork", to: [] };
      add(steps, fork);
      const ends = node.nodes.map((one) => {
        fork.to.push(steps.length);
        emit(one, steps);
        const end: { kind: "fork"; to: number[] } = { kind: "fork", to: [] };
        add(steps, end);
        return end;
      });
      for (const end of ends) end.to.push(steps.length);
      return;
    }
    case "repeat":
      emitRepeat(node, steps);
  }
}

function emitRepeat({ node, least, most }: Extract<Node, { kind: "repeat" }>, steps: Step[]): void {
  for (let count = 0; count < least; count += 1) emit(node, steps);
  if (most === Infinity) {
    const fork: { kind: "fork"; to: number[] } = { kind: "fork", to: [] };
    const at = add(steps, fork);
    emit(node, steps);
    add(steps, { kind: "fork", to: [at] });
    fork.to.push(at + 1, steps.length);
    return;
  }
  const skips: number[][] = [];
  for (let count = least; count < most; count += 1) {
    const to = [steps.length + 1];
    add(steps, { kind: "fork", to });
    skips.push(to);
    emit(node, steps);
  }
  for (const to of skips) to.push(steps.length);
}

/** All ways at once: how far each has come is a set of steps, so no way is gone twice. */
function search(steps: readonly Step[], text: string): boolean {
  const codes = Array.from(text, (character) => character.codePointAt(0) ?? 0);
  let current = new Set<number>();
  for (let at = 0; at <= codes.length; at += 1) {
    current.add(0);
    const reached = follow(steps, current, codes, at);
    if (reached === null) return true;
    const code = codes[at];
    if (code === undefined) return false;
    current = new Set();
    for (const index of reached) {
      const step = steps[index];
      if (step?.kind === "one" && step.test(code)) current.add(index + 1);
    }
  }
  return false;
}

/** Where one gets without taking a character; null: to the end of the pattern. */
function follow(
  steps: readonly Step[],
  from: ReadonlySet<number>,
  codes: readonly number[],
  at: number,
): Set<number> | null {
  const reached = new Set<number>();
  const waiting = [...from];
  for (let index = waiting.pop(); index !== undefined; index = waiting.pop()) {
    if (reached.has(index)) continue;
    reached.add(index);
    const step = steps[index];
    if (step === undefined || step.kind === "found") return null;
    if (step.kind === "fork") waiting.push(...step.to);
    if (step.kind === "at" && isAt(step.place, codes, at)) waiting.push(index + 1);
  }
  return reached;
}

function isAt(place: Place, codes: readonly number[], at: number): boolean {
  const wordAt = (index: number) => isWord(codes[index] ?? -1);
  switch (place) {
    case "start":
      return at === 0;
    case "end":
      return at === codes.length;
    case "word":
      return wordAt(at - 1) !== wordAt(at);
    case "inside":
      return wordAt(at - 1) === wordAt(at);
  }
}
