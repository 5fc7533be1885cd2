import { expect, test } from "bun:test";

import { parseTimestamp } from "./timestamps.ts";

test("instants are durations before now, dates, or seconds", () => {
  const nowMs = Date.UTC(2025, 0, 1);
  expect(parseTimestamp("10s", nowMs + 999)).toBe(`${nowMs / 1000 - 10}`);
  expect(parseTimestamp("2013-01-02T13:23:37.1234567891Z", nowMs)).toBe("1357133017.123456789");
  expect(parseTimestamp("2013-01-02T13:23:37.5Z", nowMs)).toBe("1357133017.500000000");
  expect(parseTimestamp("1136073600.000000001", nowMs)).toBe("1136073600.000000001");
  expect(() => parseTimestamp("foo", nowMs)).toThrow("failed to parse value as time or duration");
});

test("a date without a zone has today's offset, as in docker, whatever the season", () => {
  const before = process.env["TZ"];
  try {
    process.env["TZ"] = "America/New_York";
    const nowMs = Date.UTC(2025, 0, 1);
    const july = Date.UTC(2025, 6, 1, 17) / 1000;
    expect(parseTimestamp("2025-07-01T12:00:00", nowMs)).toBe(`${july}.000000000`);
    expect(parseTimestamp("2025-07-01T12:00:00Z", nowMs)).toBe(`${july - 5 * 3600}.000000000`);
    expect(parseTimestamp("2025-07-01", nowMs)).toBe(`${july - 12 * 3600}.000000000`);
  } finally {
    if (before === undefined) delete process.env["TZ"];
    else process.env["TZ"] = before;
  }
});
