import { expect, test } from "bun:test";

import { storageLimit } from "./storage.ts";

test("a size is a number of bytes, and nothing else is an option", () => {
  expect(storageLimit(undefined)).toBeNull();
  expect(storageLimit({})).toBeNull();
  expect(storageLimit({ size: "10G" })).toBe(10 * 1024 ** 3);
  expect(storageLimit({ SIZE: "1.5m" })).toBe(1.5 * 1024 ** 2);
  expect(() => storageLimit({ size: "much" })).toThrow("invalid size: 'much'");
  expect(() => storageLimit({ colour: "red" })).toThrow("Unknown option colour");
});
