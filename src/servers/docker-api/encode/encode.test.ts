import { expect, test } from "bun:test";

import type { ContainerState } from "#engine/container";

import { parseInstant, parseMoment } from "../instants.ts";
import { humanDuration } from "./duration.ts";
import { encodeEvent, passes } from "./event.ts";
import { encodeState, statusText } from "./state.ts";

const SECOND = 1000;
const HOUR = 3_600_000;

test("spans of time are Docker's words", () => {
  const said: [number, string][] = [
    [-5, "Less than a second"],
    [0.9 * SECOND, "Less than a second"],
    [1 * SECOND, "1 second"],
    [59 * SECOND, "59 seconds"],
    [61 * SECOND, "About a minute"],
    [59 * 60 * SECOND, "59 minutes"],
    [1.4 * HOUR, "About an hour"],
    [1.6 * HOUR, "2 hours"],
    [47 * HOUR, "47 hours"],
    [48 * HOUR, "2 days"],
    [14 * 24 * HOUR, "2 weeks"],
    [60 * 24 * HOUR, "2 months"],
    [2 * 365 * 24 * HOUR, "2 years"],
  ];
  for (const [span, words] of said) expect([span, humanDuration(span)]).toEqual([span, words]);
});

test("each state is one set of Docker's flags and one sentence", () => {
  const startedAt = "2026-01-01T00:00:00.123456789Z";
  const finishedAt = "2026-01-01T00:00:10Z";
  const now = Date.parse("2026-01-01T00:00:13Z");
  const ended = { exitCode: 7, oomKilled: true, startedAt, finishedAt, error: "" };
  const told = (state: ContainerState) => {
    const { Status, Running, Paused, Restarting, ExitCode } = encodeState(state);
    return [Status, Running, Paused, Restarting, ExitCode, statusText(state, now)];
  };
  expect(told({ status: "created" })).toEqual(["created", false, false, false, 0, "Created"]);
  expect(told({ status: "created", exitCode: 127, error: "no" })[4]).toBe(127);
  expect(told({ status: "running", pid: 1, startedAt })).toEqual([
    "running",
    true,
    false,
    false,
    0,
    "Up 12 seconds",
  ]);
  expect(told({ status: "paused", pid: 1, startedAt })).toEqual([
    "paused",
    true,
    true,
    false,
    0,
    "Up 12 seconds (Paused)",
  ]);
  expect(told({ status: "exited", ...ended })).toEqual([
    "exited",
    false,
    false,
    false,
    7,
    "Exited (7) 3 seconds ago",
  ]);
  expect(told({ status: "restarting", ...ended })).toEqual([
    "restarting",
    true,
    false,
    true,
    7,
    "Restarting (7) 3 seconds ago",
  ]);
  expect(told({ status: "removing" })[5]).toBe("Removal In Progress");
  expect(encodeState({ status: "exited", ...ended })).toMatchObject({
    OOMKilled: true,
    StartedAt: startedAt,
  });
});

test("an event keeps every digit of its nanoseconds", () => {
  const line = encodeEvent({
    type: "image",
    action: "pull",
    actorId: "busybox:latest",
    attributes: { name: "busybox" },
    timeNano: 1_700_000_000_123_456_789n,
  });
  expect(line).toBe(
    '{"status":"pull","id":"busybox:latest","Type":"image","Action":"pull","Actor":{"ID":"busybox:latest","Attributes":{"name":"busybox"}},"scope":"local","time":1700000000,"timeNano":1700000000123456789}\n',
  );
});

test("events pass filters as in Docker: any value of one filter, every filter, every label", () => {
  const event = {
    type: "container",
    action: "exec_create: sh -c x",
    actorId: "abcdef",
    attributes: { name: "web", image: "localhost:5000/busybox:1", tier: "front", zone: "a" },
    timeNano: 1n,
  } as const;
  expect(passes(event, { event: ["start", "exec_create"], type: ["container"] })).toBe(true);
  expect(passes(event, { container: ["abc"], label: ["tier=front", "zone"] })).toBe(true);
  expect(passes(event, { image: ["localhost:5000/busybox"] })).toBe(true);
  expect(passes(event, { label: ["tier=front", "zone=b"] })).toBe(false);
  expect(passes(event, { container: ["other"] })).toBe(false);
  expect(passes(event, { network: ["web"] })).toBe(false);
});

test("instants are seconds with nine digits, or RFC 3339; moments are also spans and days", () => {
  expect(parseInstant("1700000000.000000001", "since")).toBe(1_700_000_000_000_000_001n);
  expect(parseInstant("1700000000.5", "since")).toBe(1_700_000_000_500_000_000n);
  expect(parseInstant("2023-11-14T22:13:20.25Z", "since")).toBe(1_700_000_000_250_000_000n);
  expect([parseInstant("", "since"), parseInstant("0", "since")]).toEqual([null, null]);
  expect(() => parseInstant("yesterday", "since")).toThrow('invalid value for "since"');
  const now = new Date("2026-01-02T00:00:00Z");
  expect(parseMoment("1h30m", now).toISOString()).toBe("2026-01-01T22:30:00.000Z");
  expect(parseMoment("2025-12-31", now).toISOString()).toBe("2025-12-31T00:00:00.000Z");
  expect(parseMoment("1700000000", now).getTime()).toBe(1_700_000_000_000);
  expect(() => parseMoment("soon", now)).toThrow();
});
