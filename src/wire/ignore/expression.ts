/**
 * A pattern as something that tells whether a path matches. Patterns come with contexts, which are anybody's: one with
 * many stars would keep a regular expression of the runtime's busy for longer than anybody lives, since that tries
 * every way to part a path. So only what has few of them becomes one; else places in the pattern are walked side by
 * side, in no more steps than path times pattern.
 */
import { invalid } from "#base";

export interface Expression {
  test(path: string): boolean;
}

type Token =
  | { readonly kind: "char"; readonly char: string }
  | { readonly kind: "set"; readonly set: string; readonly expression: RegExp }
  /** `?`, `*`; `**` at the end; folders, none or any number. */
  | { readonly kind: "any" | "star" | "deep" | "folders" };

/** So many stars are as fast in a regular expression, whatever the path. */
const FEW = 2;

/** @throws EngineError "invalid": `syntax error in pattern` */
export function expressionOf(pattern: string): Expression {
  const tokens = tokensOf(pattern);
  const stars = tokens.filter(({ kind }) => ["star", "deep", "folders"].includes(kind)).length;
  if (stars > FEW) return { test: (path) => isMatch(tokens, path) };
  return new RegExp(`^${tokens.map(sourceOf).join("")}$`, "s");
}

function tokensOf(pattern: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < pattern.length; at += 1) {
    const char = pattern[at] ?? "";
    if (char === "*" && pattern[at + 1] === "*") {
      at += 1;
      // `**/` is no folder, or any number of them.
      if (pattern[at + 1] === "/") at += 1;
      const kind = at + 1 >= pattern.length ? "deep" : "folders";
      // Any number of them twice is any number of them.
      if (tokens.at(-1)?.kind !== kind) tokens.push({ kind });
    } else if (char === "*") tokens.push({ kind: "star" });
    else if (char === "?") tokens.push({ kind: "any" });
    else if (char === "[") {
      const { set, end } = setOf(pattern, at);
      tokens.push({ kind: "set", set, expression: new RegExp(set, "s") });
      at = end;
    } else {
      const literal = char === "\\" ? (pattern[(at += 1)] ?? "") : char;
      if (literal === "") throw invalid("syntax error in pattern");
      tokens.push({ kind: "char", char: literal });
    }
  }
  return tokens;
}

function sourceOf(token: Token): string {
  switch (token.kind) {
    case "char":
      return token.char.replace(/[\\^$.*+?()[\]{}|/-]/, "\\$&");
    case "set":
      return token.set;
    case "any":
      return "[^/]";
    case "star":
      return "[^/]*";
    case "deep":
      return ".*";
    case "folders":
      return "(?:.*/)?";
  }
}

/** Places are twice a token's, and one more inside of folders, where only a slash leads out. */
function isMatch(tokens: readonly Token[], path: string): boolean {
  let places = withEmpty(tokens, new Set([0]));
  for (let at = 0; at < path.length && places.size > 0; at += 1) {
    const char = path[at] ?? "";
    const next = new Set<number>();
    for (const place of places) {
      const token = tokens[place >> 1];
      if (token === undefined) continue;
      if (token.kind === "folders") {
        next.add(place | 1);
        if (char === "/") next.add((place | 1) + 1);
      } else if (takes(token, char)) next.add(isLong(token) ? place : place + 2);
    }
    places = withEmpty(tokens, next);
  }
  return places.has(tokens.length * 2);
}

const isLong = ({ kind }: Token): boolean => kind === "star" || kind === "deep";

function takes(token: Token, char: string): boolean {
  switch (token.kind) {
    case "char":
      return token.char === char;
    case "set":
      return token.expression.test(char);
    case "any":
    case "star":
      return char !== "/";
    case "deep":
    case "folders":
      return true;
  }
}

/** What may be nothing is passed by as well; folders only where they begin. */
function withEmpty(tokens: readonly Token[], places: Set<number>): Set<number> {
  for (const place of places) {
    const token = tokens[place >> 1];
    if (token === undefined || place % 2 === 1) continue;
    if (isLong(token) || token.kind === "folders") places.add(place + 2);
  }
  return places;
}

function setOf(pattern: string, start: number): { set: string; end: number } {
  let at = start + 1;
  let inside = "";
  const negated = pattern[at] === "^";
  if (negated) at += 1;
  for (; at < pattern.length && (pattern[at] !== "]" || inside === ""); at += 1) {
    let char = pattern[at] ?? "";
    if (char === "\\") {
      at += 1;
      char = pattern[at] ?? "";
      inside += `\\${char}`;
    } else inside += char === "-" ? "-" : char.replace(/[\\^[\]]/, "\\$&");
  }
  if (pattern[at] !== "]") throw invalid("syntax error in pattern");
  const set = `[${negated ? "^/" : ""}${inside}]`;
  try {
    void new RegExp(set);
  } catch (cause) {
    throw invalid("syntax error in pattern", { cause });
  }
  return { set, end: at };
}
