import { expect, test } from "bun:test";

import dockerIgnore from "@balena/dockerignore";
import * as fc from "fast-check";

import { PatternMatcher, readIgnoreFile } from "./index.ts";

const matches = (patterns: string, path: string) =>
  new PatternMatcher(readIgnoreFile(patterns)).matches(path);

test.each([
  ["a", "a", true],
  ["a", "b", false],
  ["a", "a/b/c", true],
  ["/a", "a", true],
  ["a/", "a/x", true],
  ["./a/../b", "b", true],
  ["*.md", "x.md", true],
  ["*.md", "d/x.md", false],
  ["*/*.md", "d/x.md", true],
  ["**/*.md", "x.md", true],
  ["**/*.md", "a/b/x.md", true],
  ["**", "a/b", true],
  ["a/**", "a/b/c", true],
  ["a/**/z", "a/z", true],
  ["a/**/z", "a/b/c/z", true],
  ["a?c", "abc", true],
  ["a?c", "a/c", false],
  ["[a-c]x", "bx", true],
  ["[^a-c]x", "bx", false],
  ["*\n!a", "a", false],
  ["*\n!a", "b", true],
  ["*\n!d/keep", "d/keep", false],
  ["*\n!d/keep", "d/other", true],
  ["!a\n*", "a", true],
  ["# a\n #b\nc", "#b", true],
  ["# a", "a", false],
  ["\uFEFFa", "a", true],
  ["  a  ", "a", true],
  ["! a\na", "a", true],
  [".", "a", false],
  ["node_modules\n!node_modules/x", "node_modules/x/y", false],
])("%p and %p: %p", (patterns, path, expected) => {
  expect(matches(patterns, path)).toBe(expected);
});

test("a bad pattern is an error", () => {
  expect(() => matches("[a", "a")).toThrow("syntax error in pattern");
  expect(() => matches("!", "a")).toThrow('illegal exclusion pattern: "!"');
  expect(() => matches("[b-a]", "a")).toThrow("syntax error in pattern");
});

test("a pattern of many stars takes no longer than a path is long, and means what it says", () => {
  const name = "a".repeat(250);
  const deep = Array.from({ length: 60 }, () => "a").join("/");
  expect(matches(`${"*a".repeat(40)}b`, name)).toBe(false);
  expect(matches("*a".repeat(40), name)).toBe(true);
  expect(matches(`${"**/a/".repeat(20)}b`, deep)).toBe(false);
  expect(matches(`${"**/".repeat(200)}a`, deep)).toBe(true);
  expect(matches("**/*b*/**/c*", "x/abc/d/e/cd")).toBe(true);
  expect(matches("**/*b*/**/c*", "x/a/d/e/cd")).toBe(false);
  expect(matches("*[x-z]*\\**/**", "ay*b/c/d")).toBe(true);
});

test("it agrees with another implementation of moby's rules", () => {
  const name = fc.constantFrom("a", "b", "ab", "c.md");
  const piece = fc.constantFrom("a", "b", "ab", "*", "*.md", "?", "a*", "c.md", "*b*", "*?*");
  const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
  const pattern = fc
    .tuple(
      fc.constantFrom("", "!"),
      fc.constantFrom("", "**/"),
      fc.array(piece, { minLength: 1, maxLength: 3 }),
    )
    .map(([negated, deep, parts]) => negated + deep + parts.join("/"));
  fc.assert(
    fc.property(fc.array(pattern, { maxLength: 5 }), path, (patterns, tested) => {
      const theirs = dockerIgnore().add(patterns).ignores(tested);
      expect({ patterns, tested, ignored: matches(patterns.join("\n"), tested) }).toEqual({
        patterns,
        tested,
        ignored: theirs,
      });
    }),
    { numRuns: 2000, seed: 7 },
  );
});
