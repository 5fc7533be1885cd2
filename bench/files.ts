/** Copying files in and out, and committing: 1 GB in one file, and 20,000 small ones. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Contender, inTurn, output, type Sample, timeCommand } from "./measure.ts";
import type { BenchEngine } from "./peer.ts";
import type { Bench, Scenario } from "./scenarios.ts";

const GIGABYTE = 1024 * 1024 * 1024;
const FILES = 20_000;
const FILES_IN_DIRECTORY = 100;
const SMALL_BYTES = 1000;

const docker = (engine: BenchEngine, ...args: string[]): string[] => [
  "docker",
  "-H",
  `unix://${engine.socket}`,
  ...args,
];

/** What is copied, made once: `large` and `small/`. */
async function material({ scratch }: Bench): Promise<string> {
  const folder = join(scratch, "files");
  if (existsSync(folder)) return folder;
  mkdirSync(join(folder, "small"), { recursive: true });
  const block = crypto.getRandomValues(new Uint8Array(65536));
  const sink = Bun.file(join(folder, "large")).writer({ highWaterMark: 1 << 20 });
  for (let written = 0; written < GIGABYTE; written += block.length) {
    await sink.write(block);
    await sink.flush();
  }
  await sink.end();
  for (let index = 0; index < FILES; index += 1) {
    const directory = join(folder, "small", String(Math.floor(index / FILES_IN_DIRECTORY)));
    if (index % FILES_IN_DIRECTORY === 0) mkdirSync(directory);
    writeFileSync(join(directory, String(index)), block.subarray(0, SMALL_BYTES));
  }
  return folder;
}

/** Both engines, each with a container of its own. */
async function compared(
  bench: Bench,
  rounds: number,
  once: (engine: BenchEngine, container: string) => Promise<number>,
): Promise<Sample[]> {
  const containers: { engine: BenchEngine; id: string }[] = [];
  const contenders: Contender[] = [];
  for (const [name, engine] of [
    ["naru", bench.naru],
    ["docker", bench.peer],
  ] as const) {
    const id = await output(docker(engine, "run", "-d", "busybox", "sleep", "100000"));
    containers.push({ engine, id });
    contenders.push({ name, once: () => once(engine, id) });
  }
  try {
    return await inTurn(contenders, { rounds, warmUps: 1 });
  } finally {
    for (const { engine, id } of containers) await output(docker(engine, "rm", "-f", id));
  }
}

const copyIn = (name: "large" | "small"): Scenario["run"] => {
  return async (bench) => {
    const folder = await material(bench);
    return await compared(bench, 5, async (engine, id) => {
      await output(docker(engine, "exec", id, "rm", "-rf", "/target"));
      return await timeCommand(docker(engine, "cp", join(folder, name), `${id}:/target`));
    });
  };
};

const copyOut = (name: "large" | "small"): Scenario["run"] => {
  return async (bench) => {
    const folder = await material(bench);
    const target = join(bench.scratch, "out");
    return await compared(bench, 5, async (engine, id) => {
      await output(docker(engine, "cp", join(folder, name), `${id}:/source`));
      rmSync(target, { recursive: true, force: true });
      const took = await timeCommand(docker(engine, "cp", `${id}:/source`, target));
      await output(docker(engine, "exec", id, "rm", "-rf", "/source"));
      return took;
    });
  };
};

const commit: Scenario["run"] = async (bench) => {
  const folder = await material(bench);
  return await compared(bench, 5, async (engine, id) => {
    await output(docker(engine, "cp", join(folder, "small"), `${id}:/source`));
    const took = await timeCommand(docker(engine, "commit", id, "committed"));
    await output(docker(engine, "rmi", "committed"));
    return took;
  });
};

const scenario = (name: string, budget: string, run: Scenario["run"]): Scenario => ({
  name,
  unit: "ms",
  budget,
  run,
});

export const fileScenarios: readonly Scenario[] = [
  scenario("cp in: 1 GB", "<= docker", copyIn("large")),
  scenario("cp out: 1 GB", "<= docker", copyOut("large")),
  scenario("cp in: 20,000 files", "<= docker", copyIn("small")),
  scenario("cp out: 20,000 files", "<= docker", copyOut("small")),
  scenario("commit: 20,000 files", "<= 1/2 of docker", commit),
];
