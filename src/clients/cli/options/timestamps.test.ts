import { expect, test } from "bun:test";

import { parseTimestamp } from "./timestamps.ts";

test("instants are durations before now, dates, or seconds", () => {
  const nowMs = Date.UTC(2025, 0, 1);
  expect(parseTimestamp("10s", nowMs)).toBe(`${nowMs / 1000 - 10}.000000000`);
  expect(parseTimestamp("2013-01-02T13:23:37.5Z", nowMs)).toBe("1357133017.500000000");
  expect(parseTimestamp("1136073600.000000001", nowMs)).toBe("1136073600.000000001");
  expect(() => parseTimestamp("foo", nowMs)).toThrow("failed to parse value as time or duration");
});
