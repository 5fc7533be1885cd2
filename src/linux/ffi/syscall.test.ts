import { expect, test } from "bun:test";

import { allocate, attempt, checked, cstring, SyscallError } from "./index.ts";

test("a system call answers what the kernel answers", () => {
  expect(checked("getpid", "self")).toBe(process.pid);
});

test("a failed call names itself, its subject and the reason", () => {
  const open = () => checked("openat", "/nowhere/naru", -100, cstring("/nowhere/naru"), 0, 0);
  expect(open).toThrow(SyscallError);
  expect(open).toThrow("openat /nowhere/naru: no such file or directory");
});

test("an attempt answers the negative error number and throws nothing", () => {
  expect(attempt("close", 987_654)).toBe(-9);
});

test("the kernel writes into allocated memory, also after its buffer was viewed", () => {
  const pair = allocate(8);
  const view = new DataView(pair.buffer);
  checked("pipe2", "pipe", pair, 0o2000000);
  const [reader, writer] = [view.getInt32(0, true), view.getInt32(4, true)];
  checked("write", "pipe", writer, cstring("ferry"), 5);
  const out = allocate(16);
  expect(checked("read", "pipe", reader, out, 16)).toBe(5);
  expect(new TextDecoder().decode(out.subarray(0, 5))).toBe("ferry");
  checked("close", "pipe", reader);
  checked("close", "pipe", writer);
});

test("a text with a NUL is never cut short silently", () => {
  expect(() => cstring("a\0b")).toThrow(TypeError);
});
