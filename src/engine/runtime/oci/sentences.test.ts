import { expect, test } from "bun:test";

import { createError, errorOf } from "./sentences.ts";

const log = (...messages: string[]) =>
  messages.map((msg) => JSON.stringify({ level: "error", msg })).join("\n");

test("the last error of the log counts; without one, what was printed", () => {
  expect(errorOf(`not json\n${log("first", "second")}\n{"level":"info","msg":"x"}`, "")).toBe(
    "second",
  );
  expect(errorOf("", " printed\n")).toBe("printed");
  expect(errorOf("", "")).toContain("without saying why");
});

test("crun's sentences become the ones that clients know", () => {
  expect(
    errorOf(log("executable file `x` not found in $PATH: No such file or directory"), ""),
  ).toBe('exec: "x": executable file not found in $PATH');
  expect(errorOf(log("open executable: Permission denied"), "")).toBe(
    "open executable: permission denied",
  );
});

test("what could not be executed is told apart", () => {
  const kind = (message: string) => createError(message).failure;
  expect(kind('exec: "x": executable file not found in $PATH')).toBe("notFound");
  expect(kind("open executable: permission denied")).toBe("notExecutable");
  expect(kind("something else")).toBe("failed");
});
