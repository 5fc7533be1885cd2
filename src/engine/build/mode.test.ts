import { expect, test } from "bun:test";

import { parseMode } from "./mode.ts";

test.each([
  ["755", 0o644, 0o755],
  ["04755", 0o600, 0o4755],
  ["u+x", 0o644, 0o744],
  ["go-rwx", 0o777, 0o700],
  ["a=r", 0o755, 0o444],
  ["u=rw,go=r", 0o777, 0o644],
  ["+X", 0o644, 0o644],
  ["+X", 0o744, 0o755],
  ["g=u", 0o740, 0o770],
  ["u+s,+t", 0o755, 0o5755],
])("%s makes of %o %o", (text, before, after) => {
  expect(parseMode(text)?.of(before, false)).toBe(after);
});

test("X is for folders always, and nonsense is refused", () => {
  expect(parseMode("a+X")?.of(0o600, true)).toBe(0o711);
  expect(parseMode("")).toBeNull();
  for (const bad of ["8", "77777", "u+q", "rwx", "u+x;"]) {
    expect(() => parseMode(bad)).toThrow(`invalid chmod parameter: '${bad}'`);
  }
});
