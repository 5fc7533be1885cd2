import { expect, test } from "bun:test";

import { expandHeredoc, expandWord, expandWords } from "./expand.ts";

const ENVIRONMENT = { PWD: "/home", SHELL: "bash", KOREAN: "한국어", NULL: "" };

/** null: an error. What BuildKit's own lexer answers to the same words. */
const WORDS: readonly (readonly [string, string | null])[] = [
  ["he'll'o", "hello"],
  ["he'llo", null],
  ["he\\'llo", "he'llo"],
  ["he\\\\'llo", null],
  ["abc\\tdef", "abctdef"],
  ['"abc\\tdef"', "abc\\tdef"],
  ['"abc\\\\tdef"', "abc\\tdef"],
  ["'abc\\tdef'", "abc\\tdef"],
  ["hello\\", "hello"],
  ["hello\\\\", "hello\\"],
  ['"hello\\"', null],
  ["'hello\\'", "hello\\"],
  ["\"''\"", "''"],
  ["$.", "$."],
  ["he$1x", "hex"],
  ["he$pwd.", "he."],
  ["he\\$PWD", "he$PWD"],
  ['"he\\\\$PWD"', "he\\/home"],
  ["\\${}aaa", "${}aaa"],
  ["he${}xx", null],
  ["he${.}", null],
  ["he${NONE:-$PWD}xx", "he/homexx"],
  ["he${NONE:-${YYY:-yyy}}xx", "heyyyxx"],
  ["he${NONE:YYY}", null],
  ["he${NULL?}", "he"],
  ["he${NULL:?}", null],
  ["he${PWD:+${SHELL}}xx", "hebashxx"],
  ["he${PWD:=000}xx", null],
  ["he${PWD:+${PWD}:}xx", "he/home:xx"],
  ["he${NONE:-\\$PWD:}xx", "he$PWD:xx"],
  ["he${NONE:-\\${PWD}z}xx", "he${PWDz}xx"],
  ["안녕$KOREAN", "안녕한국어"],
  ["${{aaa}", null],
  ["${aaa}}", "}"],
  ["${aaa:-bbb}}", "bbb}"],
  ["${aaa:-bbb ${foo}", null],
  ["${:}", null],
  ["${:-bbb}", null],
  ["$999aaa", "aaa"],
  ["${001:-bbb}aaa", "bbbaaa"],
  ["$@@@", "@@"],
  ["${@:-bbb}aaa", "bbbaaa"],
  ["${-:-bbb}", "bbb"],
  ["$$", ""],
  ["$!", ""],
];

test.each(WORDS)("%s becomes %p, as in BuildKit", (word, expected) => {
  if (expected === null) expect(() => expandWord(word, ENVIRONMENT)).toThrow("failed to process");
  else expect(expandWord(word, ENVIRONMENT).text).toBe(expected);
});

const SPACES = { hi: "hi", space: "abc  def", leading: "  ab c", trailing: "ab c   " };

test.each([
  ["hello${hi}bye", ["hellohibye"]],
  ["hello${space}bye", ["helloabc", "defbye"]],
  ['hello"${space}"bye', ["helloabc  defbye"]],
  ['hello "${space}"bye', ["hello", "abc  defbye"]],
  ["hello${leading}def", ["hello", "ab", "cdef"]],
  ['hello"${leading}" def', ["hello  ab c", "def"]],
  ["hello${trailing}d", ["helloab", "c", "d"]],
  ['hello" there  "', ["hello there  "]],
  ["hello\\ there", ["hello there"]],
  ['hello\\" there', ['hello"', "there"]],
])("%s is the words %p", (text, words) => {
  expect(expandWords(text, SPACES)).toEqual(words);
});

const PATTERNS = { x: "a.b.c", path: "/a/b/a", stars: "a*b?c", rocket: "🚀x🚀" };

test.each([
  ["${x#*.}|${x##*.}|${x%.*}|${x%%.*}", "b.c|c|a.b|a"],
  ["${x/./-}|${x//./-}|${x/b/}", "a-b.c|a-b-c|a..c"],
  ["${x/*/Z}|${x//*/Z}|${x//?/q}", "Z|Z|qqqqq"],
  ["${path//\\//_}|${path#/}", "_a_b_a|a/b/a"],
  ["${stars#a\\*}|${stars/\\?/!}", "b?c|a*b!c"],
  ["${stars/*b/-}", "-?c"],
  ["${rocket#?}|${rocket%?}", "x🚀|🚀x"],
  ["${x#}|${x//}", "a.b.c|a.b.c"],
])("%s cuts to %s", (text, expected) => {
  if (text.includes("${x//}")) expect(() => expandWord(text, PATTERNS)).toThrow("missing '/'");
  else expect(expandWord(text, PATTERNS).text).toBe(expected);
});

test("no pattern takes long, however many stars it has", () => {
  const value = "a".repeat(3000);
  const pattern = "*a".repeat(60);
  const started = performance.now();
  expect(expandWord(`\${v#${pattern}b}`, { v: value }).text).toBe(value);
  expect(() => expandWord(`\${v//${pattern}b/x}`, { v: value })).toThrow("too expensive");
  expect(performance.now() - started).toBeLessThan(30_000);
});

test("in a heredoc quotes are text, and an escape is taken off", () => {
  const text = "a \"q\" 'r' $PWD \\$PWD \\\\ \\n\n";
  expect(expandHeredoc(text, ENVIRONMENT).text).toBe("a \"q\" 'r' /home $PWD \\ n\n");
});

test("a word that grows by itself is refused before it is anybody's memory", () => {
  const environment = { big: "x".repeat(1024 * 1024) };
  const sentence = "more than 1048576 characters come of it";
  for (const text of ["$big$big", '"$big$big"', "${none:-$big$big}", "${big//x/$big}"]) {
    expect(() => expandWord(text, environment)).toThrow(sentence);
  }
  expect(expandWord("$big", environment).text).toHaveLength(1024 * 1024);
  expect(expandHeredoc("$big$big", environment).text).toHaveLength(2 * 1024 * 1024);
});
