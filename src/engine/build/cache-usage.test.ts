import { expect, test } from "bun:test";

import { bytesToKeep } from "./cache-usage.ts";

const none = { reservedBytes: 0, maxUsedBytes: 0, minFreeBytes: 0 };
const now = { usedBytes: 100, freeBytes: 30 };

test.each([
  ["nothing without a limit", none, 0],
  ["what is reserved", { ...none, reservedBytes: 40 }, 40],
  ["what may be used", { ...none, maxUsedBytes: 60 }, 60],
  ["what leaves the disk its space", { ...none, minFreeBytes: 50 }, 80],
  ["all, where enough is free", { ...none, minFreeBytes: 20 }, 100],
  ["the smaller of two", { ...none, maxUsedBytes: 60, minFreeBytes: 80 }, 50],
  ["what is reserved before all", { reservedBytes: 70, maxUsedBytes: 60, minFreeBytes: 80 }, 70],
])("prune keeps %s", (_name, limits, expected) => {
  expect(bytesToKeep(limits, now)).toBe(expected);
});
