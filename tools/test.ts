/**
 * Runs every test file and adds up: unit suites first, then end to end, each suite in a process of its own so
 * that a crash fails its suite and nothing else. Prints `N passed, N failed` last and exits accordingly.
 */
import { readFileSync, rmSync } from "node:fs";

interface Suite {
  readonly name: string;
  readonly files: readonly string[];
  readonly timeoutMs: number;
}

interface Outcome {
  readonly passed: number;
  readonly failed: number;
}

const SUITE_LIMIT_MS = 12 * 60_000;

function suites(patterns: readonly string[]): Suite[] {
  const wanted = (file: string) =>
    patterns.length === 0 || patterns.some((pattern) => file.includes(pattern));
  const files = (glob: string) => [...new Bun.Glob(glob).scanSync(".")].filter(wanted).toSorted();
  const rooms = new Map<string, string[]>();
  for (const file of files("src/**/*.test.ts")) {
    const area = file.split("/").slice(0, 3).join("/");
    rooms.set(area, [...(rooms.get(area) ?? []), file]);
  }
  const units = [...rooms].map(([name, found]) => ({ name, files: found, timeoutMs: 30_000 }));
  const whole = files("tests/**/*.test.ts").map((file) => ({
    name: file,
    files: [file],
    timeoutMs: 120_000,
  }));
  return [...units, ...whole].filter((suite) => suite.files.length > 0);
}

/** Reads the counts of a JUnit report; a missing report is one failure: the process died. */
function readOutcome(report: string): Outcome | null {
  try {
    const head = /<testsuites [^>]*>/.exec(readFileSync(report, "utf8"))?.[0] ?? "";
    const number = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
    const failed = number("failures") + number("errors");
    return { passed: number("tests") - failed - number("skipped"), failed };
  } catch {
    return null;
  }
}

async function runSuite(suite: Suite): Promise<Outcome> {
  const report = `/tmp/naru-test-report-${process.pid}.xml`;
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
    { stdin: "ignore", stdout: "pipe", stderr: "pipe", env: { ...process.env, BUN_OPTIONS: "" } },
  );
  const timer = setTimeout(() => child.kill("SIGKILL"), SUITE_LIMIT_MS);
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  clearTimeout(timer);
  const read = readOutcome(report);
  rmSync(report, { force: true });
  const crashed = read === null || (code !== 0 && read.failed === 0);
  const outcome = { passed: read?.passed ?? 0, failed: (read?.failed ?? 0) + (crashed ? 1 : 0) };
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `${outcome.failed === 0 ? "ok  " : "FAIL"} ${suite.name}  ${outcome.passed} passed, ${seconds} s`,
  );
  if (outcome.failed > 0) console.log(`${stdout}\n${stderr}`.slice(-20_000));
  return outcome;
}

let passed = 0;
let failed = 0;
for (const suite of suites(process.argv.slice(2))) {
  const outcome = await runSuite(suite);
  passed += outcome.passed;
  failed += outcome.failed;
}
if (passed + failed === 0) failed = 1; // a run without a test is no success
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
