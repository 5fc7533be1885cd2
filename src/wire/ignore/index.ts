/**
 * .dockerignore and the patterns of `--exclude`, after moby's rules: `#` in column 0, cleaned paths, `!` for
 * exceptions, the last match decides, `**` for any depth, and what is below a matching folder matches too.
 */
import { invalid } from "#base";

import { type Expression, expressionOf } from "./expression.ts";

/** Beyond it nobody wrote the file by hand. */
const PATTERN_LIMIT = 100_000;

/** The patterns of a file's text, cleaned. @throws EngineError "invalid" */
export function readIgnoreFile(text: string): string[] {
  const patterns: string[] = [];
  for (const line of text.replace(/^\uFEFF/, "").split(/\r?\n/)) {
    if (line.startsWith("#")) continue;
    let pattern = line.trim();
    if (pattern === "") continue;
    const negated = pattern.startsWith("!");
    if (negated) pattern = pattern.slice(1).trim();
    if (pattern !== "") pattern = cleanPath(pattern).replace(/^\/(?=.)/, "");
    patterns.push(negated ? `!${pattern}` : pattern);
    if (patterns.length > PATTERN_LIMIT) throw invalid(".dockerignore has too many patterns");
  }
  return patterns;
}

/** As Go's path.Clean. */
function cleanPath(path: string): string {
  const rooted = path.startsWith("/");
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else if (!rooted) parts.push("..");
  }
  const joined = parts.join("/");
  if (rooted) return `/${joined}`;
  return joined === "" ? "." : joined;
}

interface Pattern {
  readonly text: string;
  readonly negated: boolean;
  readonly expression: Expression;
  /** A literal path: compared without the expression. */
  readonly literal: string | null;
}

export class PatternMatcher {
  readonly #patterns: readonly Pattern[];

  /** @throws EngineError "invalid" for a pattern that is none */
  constructor(patterns: readonly string[]) {
    this.#patterns = patterns.map((text) => text.trim()).flatMap(compile);
  }

  get hasExceptions(): boolean {
    return this.#patterns.some(({ negated }) => negated);
  }

  /** Nothing at the top is left, unless an exception brings it back. */
  get leavesOutAll(): boolean {
    return this.#patterns.some(
      ({ negated, text }) => !negated && /^(?:\*|\*\*|\*\*\/\*)$/.test(text),
    );
  }

  get isEmpty(): boolean {
    return this.#patterns.length === 0;
  }

  /** Whether a path, relative and clean, is matched: itself, or by one of its folders. */
  matches(path: string): boolean {
    let matched = false;
    const folders = foldersOf(path);
    for (const pattern of this.#patterns) {
      // A pattern can only change what is true so far.
      if (pattern.negated !== matched) continue;
      if (one(pattern, path) || folders.some((folder) => one(pattern, folder))) {
        matched = !pattern.negated;
      }
    }
    return matched;
  }
}

const one = ({ literal, expression }: Pattern, path: string): boolean =>
  literal === null ? expression.test(path) : literal === path;

function foldersOf(path: string): string[] {
  const folders: string[] = [];
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
    folders.push(path.slice(0, at));
  }
  return folders;
}

function compile(text: string): Pattern[] {
  if (text === "") return [];
  const negated = text.startsWith("!");
  const bare = negated ? text.slice(1) : text;
  if (bare === "") throw invalid('illegal exclusion pattern: "!"');
  const path = cleanPath(bare);
  const literal = /[*?[\\]/.test(path) ? null : path;
  return [{ text: path, negated, literal, expression: expressionOf(path) }];
}

/** One name against one segment of a pattern, as Go's filepath.Match. @throws EngineError "invalid" */
export const segmentPattern = (segment: string): Expression =>
  expressionOf(segment.replaceAll(/\*{2,}/g, "*"));

/** Whether a text means more than itself. */
export const isPattern = (text: string): boolean => /[*?[\\]/.test(text);
