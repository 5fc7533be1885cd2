import { expect, test } from "bun:test";

import type { BuildCacheItem } from "./build-service.ts";
import { parseCacheFilter } from "./cache-filter.ts";

const item: BuildCacheItem = {
  id: "abc123",
  parent: "first",
  kind: "regular",
  description: "mount / from exec",
  isInUse: false,
  isShared: false,
  sizeBytes: 1,
  createdAt: new Date(0),
  lastUsedAt: new Date(0),
  uses: 1,
};

const matches = (...texts: string[]): boolean => parseCacheFilter(texts)?.(item) ?? true;

test.each([
  ["type==regular", true],
  ["type!=regular", false],
  ["type==source.local", false],
  ["id~=c1", true],
  ["id~=^c1", false],
  ["id~=/^abc[0-9]+$/", true],
  ["id~=(", false],
  ['description=="mount / from exec"', true],
  ['description=="mount \\x2f from exec"', true],
  ["parent==first", true],
  ["parents==second", false],
  ["private", true],
  ["shared", false],
  ["inuse", false],
  ["immutable", true],
  // What only is or is not has no value.
  ["private==true", false],
  ['private==""', true],
  ["nosuch", false],
  ["nosuch!=x", true],
  ["type==regular,shared", false],
  ["type==regular, private", true],
])("%s", (text, expected) => {
  expect(matches(text)).toBe(expected);
});

test("several texts are either; none, or an empty one, is everything", () => {
  expect(matches("shared", "private")).toBe(true);
  expect(matches("shared", "inuse")).toBe(false);
  expect(parseCacheFilter([])).toBeNull();
  expect(parseCacheFilter(["shared", ""])).toBeNull();
});

test.each([
  ["inuse==", "[inuse==]: expected value or quoted"],
  ["description==mount / x", "[description==mount >| |< / x]: unexpected input:  "],
  ["type=regular", '[type >|=|< regular]: unsupported operator "="'],
  ["type==/x/", "[type== >|/|< x/]: invalid quote encountered"],
  ['id=="x', '[id== >|"|< x]: quoted literal not terminated'],
  ["type == regular , private", "[type == regular >| |< , private]: unexpected input:  "],
  ["?", "[ >|?|< ]: expected field or quoted"],
])("%s is refused with its place", (text, why) => {
  expect(() => matches(text)).toThrow(
    `failed to parse prune filters [${text}]: filters: parse error: ${why}: invalid argument`,
  );
});
