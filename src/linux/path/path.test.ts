import { afterAll, beforeAll, expect, test } from "bun:test";
import { lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";

import { SyscallError } from "#linux/ffi";

import {
  closeFd,
  FileDescriptor,
  isType,
  makeDirectoriesInRoot,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  openBeneath,
  openInRoot,
  openPath,
  readDirectory,
  readFileInRoot,
  readLinkAt,
  S_IFDIR,
  statFd,
  statPath,
} from "./index.ts";

let top: string;
let root: string;
let rootFd: number;

beforeAll(() => {
  top = mkdtempSync("/tmp/naru-test-path-");
  root = `${top}/root`;
  mkdirSync(`${root}/etc`, { recursive: true });
  writeFileSync(`${top}/secret`, "outside");
  writeFileSync(`${root}/etc/passwd`, "inside");
  writeFileSync(`${root}/secret`, "trapped");
  symlinkSync("../../../../secret", `${root}/etc/out`);
  symlinkSync("/etc/passwd", `${root}/absolute`);
  symlinkSync("/made/by/link", `${root}/dangling`);
  symlinkSync("loop2", `${root}/loop1`);
  symlinkSync("loop1", `${root}/loop2`);
  spawnSync("mkfifo", [`${root}/fifo`]);
  rootFd = openPath(root, O_PATH | O_DIRECTORY);
});
afterAll(() => {
  closeFd(rootFd);
  rmSync(top, { recursive: true, force: true });
});

const text = (path: string) =>
  new TextDecoder().decode(readFileInRoot({ rootFd, path, limitBytes: 100 }));

test("links are resolved below the root, however many `..` they hold", () => {
  expect(text("/absolute")).toBe("inside");
  expect(text("/etc/out")).toBe("trapped");
  expect(text("../../etc/passwd")).toBe("inside");
});

test("a path that would leave is refused beneath", () => {
  expect(() => openBeneath({ rootFd, path: "etc/out", flags: O_RDONLY })).toThrow(
    "invalid cross-device link",
  );
});

test("reading is bounded, refuses what is no file and never waits for a FIFO", () => {
  expect(() => readFileInRoot({ rootFd, path: "/etc/passwd", limitBytes: 5 })).toThrow("larger");
  expect(() => text("/fifo")).toThrow("not a regular file");
  expect(() => text("/etc")).toThrow("not a regular file");
  expect(() => text("/missing")).toThrow("no such file or directory");
});

test("directories are made inside the root, through dangling links too, with the exact mode", () => {
  using fd = new FileDescriptor(
    makeDirectoriesInRoot({ rootFd, path: "/dangling/deep", mode: 0o777, uid: 7, gid: 8 }),
  );
  const stat = statFd(fd.fd);
  expect([stat.mode & 0o7777, stat.uid, stat.gid]).toEqual([0o777, 7, 8]);
  expect(lstatSync(`${root}/made/by/link/deep`).isDirectory()).toBe(true);
  using again = new FileDescriptor(makeDirectoriesInRoot({ rootFd, path: "dangling/deep" }));
  expect(statFd(again.fd).ino).toBe(stat.ino);
});

test("a loop of links and a file in the way are errors, not directories elsewhere", () => {
  expect(() => makeDirectoriesInRoot({ rootFd, path: "/loop1/x" })).toThrow(SyscallError);
  expect(() => makeDirectoriesInRoot({ rootFd, path: "/etc/passwd/x" })).toThrow("not a directory");
});

test("a directory lists names as bytes with their types", () => {
  using fd = new FileDescriptor(openInRoot({ rootFd, path: "/etc", flags: O_RDONLY }));
  const names = readDirectory(fd.fd).map(({ name, type }) => [
    new TextDecoder().decode(name),
    type,
  ]);
  expect(names.sort((a, b) => String(a).localeCompare(String(b)))).toEqual([
    ["out", 10],
    ["passwd", 8],
  ]);
});

test("stat sees links themselves, answers null for nothing, and reads targets", () => {
  expect(statPath(`${root}/missing`)).toBeNull();
  expect(isType(statPath(`${root}/etc`)?.mode ?? 0, S_IFDIR)).toBe(true);
  expect(new TextDecoder().decode(readLinkAt(rootFd, "absolute"))).toBe("/etc/passwd");
});
