import { expect, test } from "bun:test";

import { checkVolumeName } from "./names.ts";
import { checkDriverOptions, isMountVolume } from "./options.ts";

test.each(["ab", "a.b-c_d", "0x", "A".repeat(255)])("%s is a volume's name", (name) => {
  checkVolumeName(name);
});

test.each([
  "",
  "..",
  ".ab",
  "-ab",
  "a/b",
  "/abs",
  "a b",
  "a\0b",
  "a\n",
  "é".repeat(2),
  "A".repeat(256),
])("%j is no volume's name", (name) => {
  expect(() => checkVolumeName(name)).toThrow("includes invalid characters");
});

test("a name of one letter is too short", () => {
  expect(() => checkVolumeName("a")).toThrow("volume name is too short");
});

test("the driver's options come together, and none is unknown", () => {
  const check = (options: Record<string, string>) => () => checkDriverOptions(options);
  check({})();
  check({ type: "tmpfs", device: "tmpfs", o: "size=1m,uid=1000" })();
  check({ type: "none", device: "/srv", o: "bind,ro" })();
  expect(check({ typo: "x" })).toThrow('invalid option: "typo"');
  expect(check({ device: "/srv" })).toThrow('missing required option: "type"');
  expect(check({ type: "tmpfs" })).toThrow('missing required option: "device"');
  expect(check({ o: "ro" })).toThrow('missing required option: "device"');
  expect(check({ type: "", device: "x" })).toThrow('missing required option: "type"');
  expect(check({ size: "1g" })).toThrow("quota size requested but no quota support");
  expect(check({ type: "tmpfs", device: "tmpfs", o: "x".repeat(4001) })).toThrow("too long");
  expect(check({ type: "none", device: "/a\0b" })).toThrow("NUL");
});

test("only a volume with a device is a mount of its own", () => {
  expect(isMountVolume({})).toBe(false);
  expect(isMountVolume({ type: "tmpfs", device: "tmpfs" })).toBe(true);
});
