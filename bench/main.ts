/**
 * `script/bench`: every scenario, Naru and the peer in turn; a table for people, JSON for the record.
 *
 * A scenario that fails, or takes longer than any should, says so; the others go on, with engines that it has not
 * touched. Whatever ends the run, what it made is taken away.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";

import { buildOutputScenarios } from "./build-outputs.ts";
import { disposeHeld } from "./held.ts";
import { dnsScenarios } from "./dns.ts";
import { logScenarios } from "./logs.ts";
import { manyScenarios } from "./many.ts";
import { LATEST, PARTIAL, type Results, resultsText, type Row, rowOf } from "./results.ts";
import { type Bench, openBench, type Scenario, scenarios as engineScenarios } from "./scenarios.ts";
import { throughputScenarios } from "./throughput.ts";

const scenarios: readonly Scenario[] = [
  ...engineScenarios,
  ...manyScenarios,
  ...logScenarios,
  ...buildOutputScenarios,
  ...dnsScenarios,
  ...throughputScenarios,
];
/** None should take more than four minutes; on a busy machine it may. */
const SCENARIO_LIMIT_MS = 900_000;
const DISPOSE_LIMIT_MS = 120_000;

function print(row: Row, tookMs: number): void {
  const medians = Object.entries(row.medians)
    .map(([name, value]) => `${name} ${value} ${row.unit}`)
    .join("   ");
  const ratios = Object.entries(row.ratios)
    .map(([name, value]) => `${name} = ${value}`)
    .join("   ");
  const seconds = Math.round(tookMs / 1000);
  console.log(`${row.scenario}  (${row.budget}; in ${seconds} s)\n    ${medians}\n    ${ratios}`);
}

/** @throws Error when it takes longer than it may */
async function within<T>(work: Promise<T>, limitMs: number): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const late = new Error(`not done after ${Math.round(limitMs / 1000)} s`);
  const timer = setTimeout(() => reject(late), limitMs);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

const giveBack = (): Promise<void> =>
  within(disposeHeld(), DISPOSE_LIMIT_MS).catch((error: unknown) =>
    console.error(`not everything could be removed: ${String(error)}`),
  );

async function runAll(
  chosen: readonly Scenario[],
  note: (results: Results) => void,
): Promise<Results> {
  let bench: Bench | null = null;
  let results: Results | null = null;
  const rows: Row[] = [];
  const failed: { scenario: string; reason: string }[] = [];
  for (const scenario of chosen) {
    const started = performance.now();
    try {
      bench ??= await openBench();
      results ??= {
        date: new Date().toISOString(),
        machine: bench.machine,
        naru: bench.naru.version,
        docker: bench.peer.version,
        rows,
      };
      const row = rowOf(scenario, await within(scenario.run(bench), SCENARIO_LIMIT_MS));
      rows.push(row);
      print(row, performance.now() - started);
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      console.log(`${scenario.name}: failed: ${reason}`);
      failed.push({ scenario: scenario.name, reason: reason.slice(0, 500) });
      // What it left half done is nobody else's: the next one gets engines of its own.
      bench = null;
      await giveBack();
    }
    if (results !== null) note({ ...results, ...(failed.length > 0 && { failed }) });
  }
  if (results === null) throw new Error("no scenario could be run");
  return { ...results, ...(failed.length > 0 && { failed }) };
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void giveBack().finally(() => process.exit(130)));
}
const wanted = process.argv.slice(2);
if (wanted.includes("--list")) {
  console.log(scenarios.map(({ name }) => name).join("\n"));
  process.exit(0);
}
const chosen = scenarios.filter(
  ({ name }) => wanted.length === 0 || wanted.some((word) => name.includes(word)),
);
if (chosen.length === 0) {
  console.error(`no scenario's name has ${wanted.join(" or ")} in it: script/bench --list`);
  process.exit(1);
}
mkdirSync("bench/results", { recursive: true });
try {
  const results = await runAll(chosen, (sofar) => writeFileSync(PARTIAL, resultsText(sofar)));
  const file = wanted.length === 0 || !existsSync(LATEST) ? LATEST : PARTIAL;
  writeFileSync(file, resultsText(results));
  console.log(`\nwritten to ${file}; into the READMEs: tools/bench-table.ts`);
  for (const { scenario } of results.failed ?? []) console.log(`failed: ${scenario}`);
  process.exitCode = results.failed === undefined ? 0 : 1;
} finally {
  await giveBack();
}
process.exit();
