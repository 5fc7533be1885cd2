import { expect, test } from "bun:test";

import { barOf } from "./progress.ts";

test("progress has a bar only where there is room", () => {
  const message = { progressDetail: { current: 1_200_000, total: 2_400_000 } };
  expect(barOf(message, 200)).toBe(`[${"=".repeat(25)}>${" ".repeat(25)}]    1.2MB/2.4MB`);
  expect(barOf(message, 80)).toBe("   1.2MB/2.4MB");
  expect(barOf({}, 80)).toBe("");
});
