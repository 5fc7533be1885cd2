/**
 * Runs every test file and adds up: a few suites at a time (test-lanes.ts), each in a process of its own so that a
 * crash fails its suite and nothing else. Prints `N passed, N failed` last and exits accordingly.
 *
 *   tools/test.ts [--fetch COMMAND] [patterns…]     COMMAND fetches, beside the others, what some suites need
 *
 * A file that failed is run once more, alone, after all the others, and only its second result counts: one test
 * that fails by chance must not refuse a day's work. It is not forgiven in silence: the closing lines name it
 * as `flaky: FILE`, below the whole output of its failure, and a flaky file is a bug to be fixed. More files than
 * a chance explains (SECOND_CHANCES) are a regression: none of them is run again.
 */
import { readFileSync, rmSync } from "node:fs";

import { runInLanes, type Suite, suitesOf } from "./test-lanes.ts";

/** What can fail and be run again by itself: a file, or a whole suite of which nobody knows which file it was. */
interface Part extends Suite {
  readonly passed: number;
  readonly failed: number;
}

/** Of a whole suite: one that hangs is named, and the others still run. */
const SUITE_LIMIT_MS = 15 * 60_000;
/** Files of one run that may fail once. */
const SECOND_CHANCES = 4;

/** The files of a JUnit report with their counts; null without a report: the process died. */
function readReport(path: string): Map<string, { passed: number; failed: number }> | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return null;
  }
  const files = new Map<string, { passed: number; failed: number }>();
  // Files stand directly below the root; describes, which are elements of the same name, deeper.
  for (const [line, file = ""] of text.matchAll(/^ {2}<testsuite name="([^"]*)"[^>]*>/gm)) {
    const count = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(line)?.[1] ?? 0);
    const failed = count("failures") + count("errors");
    files.set(file, { passed: count("tests") - failed - count("skipped"), failed });
  }
  return files;
}

/** What a suite's process left behind, as parts. A failing exit is always somebody's failure. */
function readParts(suite: Suite, report: string, code: number): Part[] {
  const read = readReport(report);
  if (read === null) return [{ ...suite, passed: 0, failed: 1 }];
  const parts = suite.files.flatMap((file): Part[] => {
    // A file that failed to load is not in the report, and neither is one without tests.
    const counts = read.get(file) ?? (code === 0 ? null : { passed: 0, failed: 1 });
    return counts === null ? [] : [{ ...suite, name: file, files: [file], ...counts }];
  });
  if (code === 0 || parts.some(({ failed }) => failed > 0)) return parts;
  return [{ ...suite, passed: sum(parts, "passed"), failed: 1 }];
}

const sum = (parts: readonly Part[], key: "passed" | "failed") =>
  parts.reduce((total, part) => total + part[key], 0);

async function runSuite(suite: Suite, lane = 0): Promise<Part[]> {
  const report = `/tmp/naru-test-report-${process.pid}-${suite.name.replaceAll("/", "_")}.xml`;
  rmSync(report, { force: true });
  const started = performance.now();
  const child = Bun.spawn(
    [
      process.execPath,
      "test",
      ...suite.files.map((file) => `./${file}`),
      `--timeout=${suite.timeoutMs}`,
      "--only-failures",
      "--reporter=junit",
      `--reporter-outfile=${report}`,
    ],
    {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: { ...process.env, BUN_OPTIONS: "", NARU_TEST_LANE: String(lane) },
    },
  );
  const timer = setTimeout(() => child.kill("SIGKILL"), SUITE_LIMIT_MS);
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  clearTimeout(timer);
  const parts = readParts(suite, report, code);
  rmSync(report, { force: true });
  const failed = sum(parts, "failed");
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  // Of all that it started and saw the end of: what a slower machine needs that many times more of.
  const computed = (Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6).toFixed(1);
  console.log(
    `${failed === 0 ? "ok  " : "FAIL"} ${suite.name}  ${sum(parts, "passed")} passed, ${seconds} s, ${computed} s of CPU`,
  );
  if (failed > 0) console.log(`${stdout}\n${stderr}`);
  return parts;
}

/** What late suites need; they tell themselves what is wrong where it did not come. */
async function fetchWith(command: string | null): Promise<void> {
  if (command === null) return;
  const child = Bun.spawn([command], { stdin: "ignore", stdout: "ignore", stderr: "inherit" });
  await child.exited;
}

async function runAll(patterns: readonly string[], command: string | null): Promise<void> {
  let parts = (await runInLanes(suitesOf(patterns), runSuite, fetchWith(command))).flat();

  const closing: string[] = [];
  const broken = parts.filter(({ failed }) => failed > 0);
  const again = broken.length <= SECOND_CHANCES ? broken : [];
  for (const part of again) {
    console.log(`once more, alone: ${part.name}`);
    const second = await runSuite(part);
    parts = [...parts.filter((other) => other !== part), ...second];
    const flaky = sum(second, "failed") === 0;
    closing.push(
      flaky
        ? `flaky: ${part.name} (failed, then passed alone: its failure stands above, a bug to be fixed)`
        : `failed twice: ${part.name}`,
    );
  }
  if (again.length < broken.length) closing.push(...broken.map(({ name }) => `failed: ${name}`));

  const passed = sum(parts, "passed");
  const failed = sum(parts, "failed");
  const success = failed === 0 && passed > 0; // a run without a test is no success
  for (const line of closing) console.log(line);
  console.log(`${passed} passed, ${success ? 0 : Math.max(failed, 1)} failed`);
  process.exitCode = success ? 0 : 1;
}

const words = process.argv.slice(2);
const command = words[0] === "--fetch" ? (words[1] ?? null) : null;
await runAll(command === null ? words : words.slice(2), command);
