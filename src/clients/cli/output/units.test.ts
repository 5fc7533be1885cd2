import { describe, expect, test } from "bun:test";

import { binarySize, humanDuration } from "./units.ts";

const S = 1000;
const M = 60 * S;
const H = 60 * M;
const D = 24 * H;

describe("durations are told as docker/go-units tells them", () => {
  test.each([
    [0, "Less than a second"],
    [S, "1 second"],
    [45 * S, "45 seconds"],
    [60 * S, "About a minute"],
    [100 * S, "About a minute"],
    [3 * M, "3 minutes"],
    [60 * M, "About an hour"],
    [1.4 * H, "About an hour"],
    [3 * H, "3 hours"],
    [24 * H, "24 hours"],
    [48 * H, "2 days"],
    [7 * D, "7 days"],
    [13 * D, "13 days"],
    [14 * D, "2 weeks"],
    [35 * D, "5 weeks"],
    [60 * D, "2 months"],
    [700 * D, "23 months"],
    [730 * D, "2 years"],
  ])("%d ms", (durationMs, text) => expect(humanDuration(durationMs)).toBe(text));
});

test("memory has binary units and four digits", () => {
  expect(binarySize(8_216_281_088)).toBe("7.652GiB");
  expect(binarySize(512)).toBe("512B");
});
