import { expect, test } from "bun:test";

import { OffsetDigests } from "./digests.ts";

const digestOf = (text: string) => new Bun.CryptoHasher("sha256").update(text).digest("hex");

test.each(["in order", "in any order"])("digests are found by their offsets, told %s", (how) => {
  const digests = new OffsetDigests();
  const offsets = Array.from({ length: 1000 }, (_, index) => index * 7 + 2 ** 33);
  const told = how === "in order" ? offsets : offsets.toReversed();
  for (const offset of told) digests.set(offset, digestOf(String(offset)));
  for (const offset of offsets) expect(digests.get(offset)).toBe(digestOf(String(offset)));
  for (const offset of [-1, 0, 2 ** 33 + 1, 2 ** 40]) expect(digests.get(offset)).toBeUndefined();
});

test("of two digests for one offset the later counts", () => {
  const digests = new OffsetDigests();
  expect(digests.get(0)).toBeUndefined();
  for (const [offset, text] of [
    [5, "a"],
    [9, "b"],
    [5, "c"],
  ] as const)
    digests.set(offset, digestOf(text));
  expect(digests.get(5)).toBe(digestOf("c"));
  expect(digests.get(9)).toBe(digestOf("b"));
});
