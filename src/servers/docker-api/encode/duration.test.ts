import { expect, test } from "bun:test";

import { humanDuration } from "./duration.ts";

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
