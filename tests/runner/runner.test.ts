/** What tools/test.ts makes of tests that fail: always, once, too many, or by dying. */
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

const RUNNER = resolve("tools/test.ts");
const root = mkdtempSync("/tmp/naru-test-runner-");
afterAll(() => rmSync(root, { recursive: true, force: true }));

const PASSES = `test("passes", () => {});`;
const FAILS = `test("fails", () => { throw new Error("as it always does"); });`;
/** Fails the first time it is run in a folder. */
const ONCE = `test("fails once", () => {
  const seen = import.meta.path + ".seen";
  if (require("node:fs").existsSync(seen)) return;
  require("node:fs").writeFileSync(seen, "");
  throw new Error("by chance");
});`;

/** Runs the runner on a project of these files. */
async function report(files: Record<string, string>, ...words: string[]) {
  const project = mkdtempSync(join(root, "project-"));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(project, path)), { recursive: true });
    const head = path.endsWith(".ts") ? `import { test } from "bun:test";` : "#!/bin/sh";
    writeFileSync(join(project, path), `${head}\n${text}\n`, { mode: 0o755 });
  }
  const child = Bun.spawn([process.execPath, RUNNER, ...words], {
    cwd: project,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const [text, code] = await Promise.all([new Response(child.stdout).text(), child.exited]);
  const lines = text.trimEnd().split("\n");
  return { code, text, last: lines.at(-1), closing: lines.at(-2) };
}

test("tests that pass are added up over all suites", async () => {
  const { code, last } = await report({
    "src/a/b/one.test.ts": PASSES + PASSES.replace("passes", "too"),
    "src/a/b/two.test.ts": PASSES,
    "tests/e2e/three.test.ts": `${PASSES} test.skip("not here", () => {});`,
  });
  expect({ code, last }).toEqual({ code: 0, last: "4 passed, 0 failed" });
});

test("a file that fails only the first time is named, with its failure, and fails nothing", async () => {
  const { code, text, last, closing } = await report({
    "src/a/b/chance.test.ts": ONCE + PASSES,
    "src/a/b/sure.test.ts": PASSES,
    "tests/e2e/after.test.ts": PASSES,
  });
  expect({ code, last }).toEqual({ code: 0, last: "4 passed, 0 failed" });
  expect(closing).toStartWith("flaky: src/a/b/chance.test.ts (");
  const order = [
    "error: by chance",
    "once more, alone: src/a/b/chance.test.ts",
    "ok   src/a/b/chance.test.ts  2 passed",
    "flaky: src/a/b/chance.test.ts",
  ].map((line) => text.indexOf(line));
  expect(order).not.toContain(-1);
  expect(text.indexOf("ok   tests/e2e/after.test.ts")).toBeLessThan(order[1] ?? 0);
  expect(order).toEqual(order.toSorted((one, other) => one - other));
});

test("a file that fails both times fails the run, each of its tests counted once", async () => {
  const { code, last, closing } = await report({
    "src/a/b/broken.test.ts": FAILS + PASSES,
    "tests/e2e/sure.test.ts": PASSES,
  });
  expect({ code, last }).toEqual({ code: 1, last: "2 passed, 1 failed" });
  expect(closing).toBe("failed twice: src/a/b/broken.test.ts");
});

test("the output of a failure is kept whole", async () => {
  const { text } = await report({
    "tests/e2e/wordy.test.ts": `for (let i = 0; i < 2000; i++) console.log("line " + i + " of it");${ONCE}`,
  });
  expect(text).toContain("line 0 of it\n");
  expect(text).toContain("line 1999 of it\n");
});

test("four files may fail by chance, five are a regression and get no second run", async () => {
  const files = (count: number) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, index) => [`tests/e2e/chance${index}.test.ts`, ONCE]),
    );
  const few = await report(files(4));
  expect([few.code, few.last]).toEqual([0, "4 passed, 0 failed"]);
  const many = await report({ ...files(5), "tests/e2e/sure.test.ts": PASSES });
  expect([many.code, many.last]).toEqual([1, "1 passed, 5 failed"]);
  expect(many.text).not.toContain("once more");
  expect(many.closing).toMatch(/^failed: tests\/e2e\/chance\d\.test\.ts$/);
});

test("a suite whose process died is run again as a whole", async () => {
  const died = ONCE.replace(`throw new Error("by chance")`, "process.kill(process.pid, 9)");
  const once = await report({ "src/a/b/dies.test.ts": died, "src/a/b/sure.test.ts": PASSES });
  expect([once.code, once.last]).toEqual([0, "2 passed, 0 failed"]);
  expect(once.closing).toStartWith("flaky: src/a/b (");
  const always = await report({
    "src/a/b/dies.test.ts": `test("dies", () => process.kill(process.pid, 9));`,
    "src/a/b/sure.test.ts": PASSES,
  });
  expect([always.code, always.last]).toEqual([1, "0 passed, 1 failed"]);
});

test("a file that does not load is a failure even beside one that fails by chance", async () => {
  const { code, last, closing } = await report({
    "src/a/b/chance.test.ts": ONCE,
    "src/a/b/unreadable.test.ts": `${PASSES} throw new Error("at load");`,
  });
  expect({ code, last }).toEqual({ code: 1, last: "1 passed, 1 failed" });
  expect(closing).toBe("failed twice: src/a/b/unreadable.test.ts");
});

test("a run without a test is no success", async () => {
  const { code, last } = await report({});
  expect({ code, last }).toEqual({ code: 1, last: "0 passed, 1 failed" });
});

/** Fails when another test of this text runs meanwhile. */
const alone = (text: string): string => `test("${text}", async () => {
  const { mkdirSync, rmdirSync } = require("node:fs");
  mkdirSync("begun");
  await Bun.spawn([process.execPath, "--version"], { stdout: "ignore" }).exited;
  rmdirSync("begun");
});`;

test("files that name address ranges take turns, and so do those that change the host's accounts", async () => {
  for (const text of ["10.1.0.0/16", "fd00::/64", "/etc/subuid"]) {
    const numbers = ["one", "two", "three"];
    const files = numbers.map((name): [string, string] => [
      `tests/e2e/${name}.test.ts`,
      alone(text),
    ]);
    const { code, text: said } = await report(Object.fromEntries(files));
    expect({ code, said }).toMatchObject({ code: 0 });
    expect(said).not.toContain("flaky");
  }
});

/** Passes when the other file is being run meanwhile. */
const meets = (own: string, other: string): string => `test("meets ${other}", async () => {
  require("node:fs").writeFileSync("${own}", "");
  while (!require("node:fs").existsSync("${other}")) await Bun.sleep(5);
});`;

test("what shares nothing runs at the same time", async () => {
  const { last } = await report({
    "src/a/b/unit.test.ts": meets("unit", "whole"),
    "tests/e2e/one.test.ts": meets("whole", "other"),
    "tests/e2e/other.test.ts": meets("other", "unit"),
  });
  expect(last).toBe("3 passed, 0 failed");
});

test("what needs more than the others waits for it, and they do not", async () => {
  const { last } = await report(
    {
      fetch: "until [ -e early ]; do sleep 0.02; done; touch fetched",
      "tests/e2e/early.test.ts": `test("early", () => require("node:fs").writeFileSync("early", ""));`,
      "tests/e2e/late.test.ts": `test("of buildx", () => require("node:fs").readFileSync("fetched"));`,
    },
    "--fetch",
    "./fetch",
  );
  expect(last).toBe("2 passed, 0 failed");
});
