import { expect, test } from "bun:test";

import { array, assert, constantFrom, property, string, stringMatching } from "fast-check";

import { parseExpression } from "./expression.ts";

test("patterns find what Go's regexp finds", () => {
  const cases: [pattern: string, yes: string[], no: string[]][] = [
    ["^(os|customer)", ["os", "customers"], ["cos", ""]],
    ["a.c$", ["abc", "xxabc"], ["abcd", "a\nc"]],
    ["(?s)a.c", ["a\nc"], ["ac"]],
    ["(?i)ABC", ["xaBcx"], ["ab"]],
    ["(?:ab){2,3}$", ["abab", "ababab"], ["ab", "aba"]],
    ["^a{2}$", ["aa"], ["a", "aaa"]],
    ["^a{2,}$", ["aa", "aaaaa"], ["a"]],
    ["^a??b+?$", ["b", "abb"], ["aab"]],
    ["[^a-c_]", ["d"], ["abc_"]],
    ["^[]a-]+$", ["]-a"], ["b"]],
    ["^[[:upper:]\\d]+$", ["A1"], ["a"]],
    ["\\bfoo\\b", ["a foo b"], ["afoo", "foo_"]],
    ["\\x41\\x{42}\\.", ["AB."], ["ABx"]],
    ["", ["", "anything"], []],
    ["a|", ["", "b"], []],
    ["^é+$", ["éé"], ["e"]],
    ["(?P<name>x)y", ["xy"], ["x"]],
  ];
  for (const [pattern, yes, no] of cases) {
    const expression = parseExpression(pattern);
    for (const text of yes)
      expect([pattern, text, expression.test(text)]).toEqual([pattern, text, true]);
    for (const text of no)
      expect([pattern, text, expression.test(text)]).toEqual([pattern, text, false]);
  }
});

test("what Go does not know is refused in its words", () => {
  const cases: [string, string][] = [
    ["(a", "missing closing ): `(a`"],
    ["a)", "unexpected ): `a)`"],
    ["*a", "missing argument to repetition operator: `*`"],
    ["a**", "invalid nested repetition operator: `**`"],
    ["(a)\\1", "invalid escape sequence: `\\1`"],
    ["a(?=b)", "invalid or unsupported Perl syntax: `(?=`"],
    ["[a", "missing closing ]: `[a`"],
    ["[b-a]", "invalid character class range: `b-a`"],
    ["a{1001}", "invalid repeat count: `{1001}`"],
    ["a\\", "trailing backslash at end of expression"],
    ["((a{100}){100}){100}", "expression too large"],
    ["(".repeat(1000) + ")".repeat(1000), "nests too deeply"],
    ["a".repeat(5000), "expression too large"],
  ];
  for (const [pattern, why] of cases) expect(() => parseExpression(pattern)).toThrow(why);
});

test("patterns that keep other matchers busy for ever end at once", () => {
  const text = "a".repeat(2000);
  for (const pattern of ["(a+)+b", "(a|a)*b", "(a|aa)+$b", "(.*)*x", "a*a*a*a*a*a*b", "(a*)*b"]) {
    expect(parseExpression(pattern).test(text)).toBe(false);
  }
});

test("any text is a pattern or refused, and simple patterns agree with the runtime's", () => {
  assert(
    property(string(), string(), (pattern, text) => {
      try {
        parseExpression(pattern).test(text);
      } catch (cause) {
        expect(String(cause)).toContain("error parsing regexp");
      }
    }),
  );
  const piece = constantFrom("a", "b", ".", "[ab]", "(a|b)", "a*", "b+", "(ab)?", "[^a]", "a{1,2}");
  assert(
    property(array(piece, { maxLength: 5 }), stringMatching(/^[abc]{0,6}$/), (list, text) => {
      const source = `^${list.join("")}$`;
      expect(parseExpression(source).test(text)).toBe(new RegExp(source, "u").test(text));
    }),
  );
});
