/**
 * Patterns of `${x#…}`, `${x%…}` and `${x/…}`: `*` and `?`, which match anything but a line's end; `[` is itself.
 * Positions are walked side by side: no pattern takes longer than its length times the text's.
 */
import { invalid } from "#base";

type Token = { readonly kind: "star" | "any" } | { readonly kind: "char"; readonly char: string };

/** What `?` is one of: code points, as in Go. */
const charactersOf = (text: string): string[] => Array.from(text);

/** @throws EngineError "invalid" for an escape that means nothing */
function tokensOf(pattern: string): Token[] {
  const chars = charactersOf(pattern);
  const tokens: Token[] = [];
  for (let at = 0; at < chars.length; at += 1) {
    const char = chars[at] ?? "";
    const next = chars[at + 1] ?? "";
    if (char === "*" || char === "?") tokens.push({ kind: char === "*" ? "star" : "any" });
    else if (char !== "\\") tokens.push({ kind: "char", char });
    else if ("}/*?\\".includes(next) && next !== "") {
      tokens.push({ kind: "char", char: next });
      at += 1;
    } else
      throw invalid(`invalid pattern (${pattern}) in substitution: invalid escape '\\${next}'`);
  }
  return tokens;
}

/** Where a match that begins at `start` can end: the nearest and the farthest place, or null. */
function endsOf(
  tokens: readonly Token[],
  chars: readonly string[],
  start: number,
): { near: number; far: number } | null {
  let states = withStars(tokens, new Set([0]));
  let near: number | null = null;
  let far = 0;
  for (let at = start; ; at += 1) {
    if (states.has(tokens.length)) [near, far] = [near ?? at, at];
    const char = chars[at];
    if (char === undefined || states.size === 0) break;
    const next = new Set<number>();
    for (const state of states) {
      const token = tokens[state];
      if (token === undefined) continue;
      if (token.kind === "char" ? token.char !== char : char === "\n") continue;
      next.add(token.kind === "star" ? state : state + 1);
    }
    states = withStars(tokens, next);
  }
  return near === null ? null : { near, far };
}

/** A star may also match nothing. */
function withStars(tokens: readonly Token[], states: Set<number>): Set<number> {
  for (const state of states) if (tokens[state]?.kind === "star") states.add(state + 1);
  return states;
}

/** `${x#pattern}`, or `${x##pattern}` where it is greedy. */
export function trimPrefix(value: string, pattern: string, greedy: boolean): string {
  return trimmed(charactersOf(value), tokensOf(pattern), greedy).join("");
}

/** `${x%pattern}`, or `${x%%pattern}` where it is greedy. */
export function trimSuffix(value: string, pattern: string, greedy: boolean): string {
  const rest = trimmed(charactersOf(value).toReversed(), tokensOf(pattern).toReversed(), greedy);
  return rest.toReversed().join("");
}

function trimmed(chars: readonly string[], tokens: readonly Token[], greedy: boolean): string[] {
  const ends = endsOf(tokens, chars, 0);
  return chars.slice(ends === null ? 0 : greedy ? ends.far : ends.near);
}

/** A line of matches that find nothing is walked again from each of its places: this is the most of it. */
const WORK_LIMIT = 50_000_000;

/** `${x/pattern/replacement}`, or every match of it. A match of nothing right behind another one does not count. */
export function replaceMatches(
  value: string,
  pattern: string,
  {
    replacement,
    all,
    limit = Infinity,
  }: { readonly replacement: string; readonly all: boolean; readonly limit?: number },
): string {
  const chars = charactersOf(value);
  const tokens = tokensOf(pattern);
  const hasStar = tokens.some(({ kind }) => kind === "star");
  if (hasStar && chars.length ** 2 * tokens.length > WORK_LIMIT) {
    throw invalid(
      `pattern (${pattern}) is too expensive for a value of ${chars.length} characters`,
    );
  }
  let result = "";
  let done = -1;
  for (let at = 0; at <= chars.length;) {
    const ends = endsOf(tokens, chars, at);
    const isMatch = ends !== null && !(ends.far === at && at === done);
    if (isMatch) {
      result += replacement;
      if (result.length > limit) throw invalid(`more than ${limit} characters come of it`);
      if (!all) return result + chars.slice(ends.far).join("");
      done = ends.far;
    }
    if (isMatch && ends.far > at) at = ends.far;
    else {
      result += chars[at] ?? "";
      at += 1;
    }
  }
  return result;
}
