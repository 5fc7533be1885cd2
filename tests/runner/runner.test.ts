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
async function report(files: Record<string, string>) {
  const project = mkdtempSync(join(root, "project-"));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(project, path)), { recursive: true });
    writeFileSync(join(project, path), `import { test } from "bun:test";\n${text}\n`);
  }
  const child = Bun.spawn([process.execPath, RUNNER], {
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

test("three files may fail by chance, four are a regression and get no second run", async () => {
  const files = (count: number) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, index) => [`tests/e2e/chance${index}.test.ts`, ONCE]),
    );
  const three = await report(files(3));
  expect([three.code, three.last]).toEqual([0, "3 passed, 0 failed"]);
  const four = await report({ ...files(4), "tests/e2e/sure.test.ts": PASSES });
  expect([four.code, four.last]).toEqual([1, "1 passed, 4 failed"]);
  expect(four.text).not.toContain("once more");
  expect(four.closing).toBe("failed: tests/e2e/chance3.test.ts");
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
