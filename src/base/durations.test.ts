import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";

import { durationText, parseDuration } from "./durations.ts";

describe("durations are Go's", () => {
  test.each([
    ["1h30m", 5400e9],
    ["1.5s", 1.5e9],
    ["-2ms", -2e6],
    ["0", 0],
    [".5s", 0.5e9],
    ["3us", 3000],
  ])("%s", (text, nanoseconds) => expect(parseDuration(text)).toBe(nanoseconds));

  test.each([
    ["5", 'time: missing unit in duration "5"'],
    ["5x", 'time: unknown unit "x" in duration "5x"'],
    ["", 'time: invalid duration ""'],
    ["abc", 'time: invalid duration "abc"'],
  ])("%p is refused", (text, message) => expect(() => parseDuration(text)).toThrow(message));

  test.each([
    [0, "0s"],
    [1e6, "1ms"],
    [1.5e6, "1.5ms"],
    [1.5e9, "1.5s"],
    [90e9, "1m30s"],
    [3600e9, "1h0m0s"],
  ])("%p ns reads %s", (nanoseconds, text) => expect(durationText(nanoseconds)).toBe(text));

  test("what is printed is read back as the same", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10_000_000 }), (milliseconds) => {
        const nanoseconds = milliseconds * 1e6;
        expect(parseDuration(durationText(nanoseconds))).toBe(nanoseconds);
      }),
    );
  });
});
