import { expect, test } from "bun:test";

import { truncate } from "./text.ts";

test("a text is cut to columns, wide characters counted as two", () => {
  expect(truncate("0123456789", 5)).toBe("0123…");
  expect(truncate("나루나루", 5)).toBe("나루…");
  expect(truncate("short", 5)).toBe("short");
});
