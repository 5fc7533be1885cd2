/** The words of a template: text, and what stands inside `{{` and `}}`. */

interface Plain {
  readonly text: string;
  readonly at: number;
}

export type Token =
  | (Plain & {
      readonly kind:
        | "text"
        | "open"
        | "close"
        | "dot"
        | "variable"
        | "word"
        | "left"
        | "right"
        | "pipe"
        | "comma"
        | "declare"
        | "assign"
        | "eof";
    })
  /** `joined`: no space before it, so it belongs to the term on its left. */
  | (Plain & { readonly kind: "field"; readonly joined: boolean })
  | (Plain & { readonly kind: "literal"; readonly value: string | number | boolean | null });

type Fail = (at: number, message: string) => Error;

/** Splits a template. @throws what `fail` makes */
export function tokens(source: string, fail: Fail): Token[] {
  const found: Token[] = [];
  let at = 0;
  let trimNext = false;
  while (at < source.length) {
    const open = source.indexOf("{{", at);
    let text = open < 0 ? source.slice(at) : source.slice(at, open);
    if (trimNext) text = text.trimStart();
    trimNext = false;
    if (open < 0) {
      if (text !== "") found.push({ kind: "text", text, at });
      break;
    }
    const trimBefore = /^\{\{-\s/.test(source.slice(open, open + 4));
    if (trimBefore) text = text.trimEnd();
    if (text !== "") found.push({ kind: "text", text, at });
    const inside = open + (trimBefore ? 3 : 2);
    const comment = /^\s*\/\*/.exec(source.slice(inside));
    const end = comment === null ? undefined : endOfComment(source, inside, fail);
    if (end !== undefined) {
      ({ at, trimNext } = end);
      continue;
    }
    found.push({ kind: "open", text: "{{", at: open });
    ({ at, trimNext } = action(source, inside, found, fail));
  }
  return found;
}

interface Resume {
  readonly at: number;
  readonly trimNext: boolean;
}

function endOfComment(source: string, from: number, fail: Fail): Resume {
  const end = source.indexOf("*/", from);
  if (end < 0) throw fail(from, "unclosed comment");
  const close = /^(\s+-)?\}\}/.exec(source.slice(end + 2));
  if (close === null) throw fail(end, "comment ends before closing delimiter");
  return { at: end + 2 + close[0].length, trimNext: close[1] !== undefined };
}

const SYMBOLS = [
  [":=", "declare"],
  ["=", "assign"],
  ["|", "pipe"],
  [",", "comma"],
  ["(", "left"],
  [")", "right"],
] as const;

const NUMBER =
  /^[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[\d_]*\.?[\d_]+(?:[eE][+-]?\d+)?)/;

function action(source: string, from: number, found: Token[], fail: Fail): Resume {
  let at = from;
  let joined = false;
  let depth = 0;
  for (;;) {
    const rest = source.slice(at);
    const trim = /^\s+-\}\}/.exec(rest);
    if (trim !== null || rest.startsWith("}}")) {
      if (depth > 0) throw fail(at, "unclosed left paren");
      found.push({ kind: "close", text: "}}", at });
      return { at: at + (trim?.[0].length ?? 2), trimNext: trim !== null };
    }
    if (rest === "") throw fail(from, "unclosed action");
    const space = /^\s+/.exec(rest);
    if (space !== null) {
      at += space[0].length;
      joined = false;
      continue;
    }
    const symbol = SYMBOLS.find(([text]) => rest.startsWith(text));
    const token: Token =
      symbol === undefined
        ? word(rest, at, joined, fail)
        : { kind: symbol[1], text: symbol[0], at };
    if (token.kind === "left") depth += 1;
    if (token.kind === "right" && --depth < 0) throw fail(at, "unexpected right paren");
    found.push(token);
    at += lengthOf(token, rest);
    joined = token.kind !== "pipe" && token.kind !== "left" && token.kind !== "comma";
  }
}

function lengthOf(token: Token, rest: string): number {
  if (token.kind === "field") return token.text.length + 1;
  if (token.kind === "literal") return literalLength(rest);
  return token.text.length;
}

const literalLength = (rest: string): number =>
  (quoted(rest) ?? NUMBER.exec(rest) ?? /^\w+/.exec(rest))?.[0].length ?? 1;

const quoted = (rest: string): RegExpExecArray | null =>
  /^"(?:[^"\\\n]|\\.)*"|^`[^`]*`|^'(?:[^'\\\n]|\\.)+'/.exec(rest);

function word(rest: string, at: number, joined: boolean, fail: Fail): Token {
  const field = /^\.([\p{L}_][\p{L}\p{Nd}_]*)/u.exec(rest);
  if (field !== null) return { kind: "field", text: field[1] ?? "", at, joined };
  const variable = /^\$[\p{L}\p{Nd}_]*/u.exec(rest);
  if (variable !== null) return { kind: "variable", text: variable[0], at };
  const text = quoted(rest)?.[0];
  if (text !== undefined) return { kind: "literal", text, at, value: unquote(text, at, fail) };
  const number = NUMBER.exec(rest)?.[0];
  if (number !== undefined) {
    const value = Number(number.replaceAll("_", ""));
    if (Number.isNaN(value)) throw fail(at, `bad number syntax: ${JSON.stringify(number)}`);
    return { kind: "literal", text: number, at, value };
  }
  if (rest.startsWith(".")) return { kind: "dot", text: ".", at };
  const name = /^[\p{L}_][\p{L}\p{Nd}_]*/u.exec(rest)?.[0];
  if (name === "true" || name === "false") {
    return { kind: "literal", text: name, at, value: name === "true" };
  }
  if (name === "nil") return { kind: "literal", text: name, at, value: null };
  if (name !== undefined) return { kind: "word", text: name, at };
  if (rest.startsWith('"')) throw fail(at, "unterminated quoted string");
  if (rest.startsWith("`")) throw fail(at, "unterminated raw quoted string");
  if (rest.startsWith("'")) throw fail(at, "unterminated character constant");
  const [character = ""] = rest;
  const code = character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0");
  throw fail(at, `unexpected bad character U+${code} '${character}' in command`);
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: "\u0007",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  '"': '"',
  "'": "'",
};

function unquote(text: string, at: number, fail: Fail): string | number {
  if (text.startsWith("`")) return text.slice(1, -1);
  const content = text
    .slice(1, -1)
    .replaceAll(
      /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))/g,
      (whole, hex?: string, four?: string, eight?: string, octal?: string, letter?: string) => {
        const digits = hex ?? four ?? eight;
        if (digits !== undefined) return String.fromCodePoint(Number.parseInt(digits, 16));
        if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
        const escaped = ESCAPES[letter ?? ""];
        if (escaped === undefined) throw fail(at, `invalid syntax: ${whole}`);
        return escaped;
      },
    );
  return text.startsWith("'") ? (content.codePointAt(0) ?? 0) : content;
}
