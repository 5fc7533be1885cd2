import { expect, test } from "bun:test";

import { JSON_DEPTH_LIMIT } from "#base";

import { parseJson } from "./index.ts";

test("JSON that is not JSON is refused in one sentence", () => {
  for (const text of ["{", "nope", '{"a":}', "[1,]", '"\u0001', ""]) {
    expect(() => parseJson(text)).toThrow(/^invalid JSON: /);
  }
});

test("a second value behind the first is refused in Docker's words", () => {
  for (const text of ["{} {}", '{"a":"}"}x', "[1] nope"]) {
    expect(() => parseJson(text)).toThrow(/^unexpected content after JSON$/);
  }
  expect(() => parseJson('{"a":} {}')).toThrow(/^invalid JSON: /);
  expect(parseJson(' {"a":[]} \n')).toEqual({ a: [] });
});

test("nesting is refused before the parser recurses, brackets inside strings do not count", () => {
  const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
  expect(parseJson(nested(JSON_DEPTH_LIMIT))).toBeArray();
  expect(() => parseJson(nested(JSON_DEPTH_LIMIT + 1))).toThrow("nested deeper than 64 levels");
  expect(() => parseJson("[".repeat(3_000_000))).toThrow("nested deeper");
  const text = `"${'[{\\"\\\\'.repeat(500)}"`;
  expect(parseJson(`{"a":${text}}`)).toEqual({ a: JSON.parse(text) });
});
