import { expect, test } from "bun:test";

import { parseInstant, parseMoment } from "./instants.ts";

test("instants are seconds with nine digits, or RFC 3339; moments are also spans and days", () => {
  expect(parseInstant("1700000000.000000001", "since")).toBe(1_700_000_000_000_000_001n);
  expect(parseInstant("1700000000.5", "since")).toBe(1_700_000_000_500_000_000n);
  expect(parseInstant("2023-11-14T22:13:20.25Z", "since")).toBe(1_700_000_000_250_000_000n);
  expect([parseInstant("", "since"), parseInstant("0", "since")]).toEqual([null, 0n]);
  expect(() => parseInstant("yesterday", "since")).toThrow('invalid value for "since"');
  const now = new Date("2026-01-02T00:00:00Z");
  expect(parseMoment("1h30m", now).toISOString()).toBe("2026-01-01T22:30:00.000Z");
  expect(parseMoment("2025-12-31", now).toISOString()).toBe("2025-12-31T00:00:00.000Z");
  expect(parseMoment("1700000000", now).getTime()).toBe(1_700_000_000_000);
  expect(() => parseMoment("soon", now)).toThrow();
});
