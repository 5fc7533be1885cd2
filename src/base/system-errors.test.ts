import { expect, test } from "bun:test";
import { linkSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { open, readFile } from "node:fs/promises";

import { internal, sentenceOf } from "./errors.ts";

const said = async (fail: () => unknown): Promise<string> => {
  try {
    await fail();
  } catch (thrown) {
    return sentenceOf(thrown);
  }
  return "nothing failed";
};

test.each<[string, () => unknown, string]>([
  ["a full disk", () => writeFileSync("/dev/full", "x"), "write: no space left on device"],
  [
    "the same by name",
    () => Bun.write("/dev/full", "x"),
    "write /dev/full: no space left on device",
  ],
  [
    "a full disk, later",
    async () => {
      await using file = await open("/dev/full", "w");
      await file.write("x");
    },
    "write: no space left on device",
  ],
  ["a missing file", () => readFile("/nosuch/x"), "open /nosuch/x: no such file or directory"],
  [
    "one that Bun misses",
    () => Bun.file("/nosuch/x").text(),
    "open /nosuch/x: no such file or directory",
  ],
  ["a missing folder", () => readdirSync("/nosuch"), "open /nosuch: no such file or directory"],
  ["a folder for a file", () => writeFileSync("/etc", "x"), "open /etc: is a directory"],
  ["a file for a folder", () => mkdirSync("/etc/passwd/x"), "mkdir /etc/passwd/x: not a directory"],
  [
    "two names",
    () => linkSync("/etc/passwd", "/etc/group"),
    "link /etc/passwd /etc/group: file exists",
  ],
  ["a program", () => Bun.spawn(["/nosuch"]), "fork/exec /nosuch: no such file or directory"],
])("%s is told in Go's words", async (_what, fail, sentence) => {
  expect(await said(fail)).toBe(sentence);
});

test("what is a sentence already stays one, whatever it carries", () => {
  expect(
    sentenceOf(Object.assign(internal("as it is"), { code: "ENOSPC", syscall: "write" })),
  ).toBe("as it is");
  expect(
    sentenceOf(Object.assign(new Error("EODD: odd, write"), { code: "EODD", syscall: "write" })),
  ).toBe("EODD: odd, write");
  expect(sentenceOf("a text")).toBe("a text");
});
