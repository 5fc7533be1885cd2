/** `script/bench`: every scenario, Naru and the peer in turn; a table for people, JSON for the record. */
import { mkdirSync, writeFileSync } from "node:fs";

import { median, type Sample } from "./measure.ts";
import { dnsScenarios } from "./dns.ts";
import { logScenarios } from "./logs.ts";
import { openBench, type Scenario, scenarios as engineScenarios } from "./scenarios.ts";

const scenarios = [...engineScenarios, ...logScenarios, ...dnsScenarios, ...throughputScenarios];
import { throughputScenarios } from "./throughput.ts";

interface Row {
  readonly scenario: string;
  readonly unit: string;
  readonly budget: string;
  readonly medians: Record<string, number>;
  readonly values: Record<string, number[]>;
  /** Naru divided by the contender it is measured against; lower is better. */
  readonly ratios: Record<string, number>;
}

const round = (value: number): number => Number(value.toPrecision(4));

function rowOf(scenario: Scenario, samples: readonly Sample[]): Row {
  const medians = Object.fromEntries(
    samples.map(({ contender, values }) => [contender, round(median(values))]),
  );
  const naru = samples.filter(({ contender }) => contender.startsWith("naru"));
  const others = samples.filter(({ contender }) => !contender.startsWith("naru"));
  const ratios: Record<string, number> = {};
  for (const mine of naru) {
    for (const other of others) {
      ratios[`${mine.contender} / ${other.contender}`] = round(
        median(mine.values) / median(other.values),
      );
    }
  }
  return {
    scenario: scenario.name,
    unit: scenario.unit,
    budget: scenario.budget,
    medians,
    values: Object.fromEntries(
      samples.map(({ contender, values }) => [contender, values.map(round)]),
    ),
    ratios,
  };
}

function print(row: Row): void {
  const medians = Object.entries(row.medians)
    .map(([name, value]) => `${name} ${value} ${row.unit}`)
    .join("   ");
  const ratios = Object.entries(row.ratios)
    .map(([name, value]) => `${name} = ${value}`)
    .join("   ");
  console.log(`${row.scenario}  (${row.budget})\n    ${medians}\n    ${ratios}`);
}

const wanted = process.argv.slice(2);
if (wanted.includes("--list")) {
  console.log(scenarios.map(({ name }) => name).join("\n"));
  process.exit(0);
}
const chosen = scenarios.filter(
  ({ name }) => wanted.length === 0 || wanted.some((word) => name.includes(word)),
);
const rows: Row[] = [];
{
  await using bench = await openBench();
  console.log(`naru ${bench.naru.version}, docker ${bench.peer.version}, ${bench.machine}\n`);
  for (const scenario of chosen) {
    try {
      const row = rowOf(scenario, await scenario.run(bench));
      rows.push(row);
      print(row);
    } catch (thrown) {
      console.log(
        `${scenario.name}: failed: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
      );
      process.exitCode = 1;
    }
  }
  mkdirSync("bench/results", { recursive: true });
  const result = {
    date: new Date().toISOString(),
    machine: bench.machine,
    naru: bench.naru.version,
    docker: bench.peer.version,
    rows,
  };
  const file = wanted.length === 0 ? "bench/results/latest.json" : "bench/results/partial.json";
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`\nwritten to ${file}`);
}
process.exit();
