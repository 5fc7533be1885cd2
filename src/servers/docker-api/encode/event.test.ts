import { expect, test } from "bun:test";

import { encodeEvent, passes } from "./event.ts";

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
