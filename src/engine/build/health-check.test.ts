import { expect, test } from "bun:test";

import { healthText } from "./health-check.ts";

const check = {
  test: ["CMD-SHELL", 'curl -f "x" || exit 1'],
  intervalNanoseconds: 300e9,
  timeoutNanoseconds: 3e9,
  startPeriodNanoseconds: 0,
  startIntervalNanoseconds: 0,
  retries: 3,
};

test("the history tells a health check as Docker's does", () => {
  expect(healthText(check)).toBe(
    String.raw`HEALTHCHECK &{["CMD-SHELL" "curl -f \"x\" || exit 1"] "5m0s" "3s" "0s" "0s" '\x03'}`,
  );
  expect(healthText({ ...check, test: ["NONE"], retries: 10 })).toEndWith(String.raw`'\n'}`);
  expect(healthText({ ...check, retries: 65 })).toEndWith("'A'}");
});
