/**
 * What `build -o` writes: an image with 200 MB in it, built before, so that nothing but the way out is measured.
 * Docker's own builder here knows `tar` and `local`; an archive of the image comes of `docker save` after it.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { NARU } from "../tests/e2e/engine.ts";
import { PEER_CLI } from "./build.ts";
import { type Contender, inTurn, output, type Sample, timeCommand } from "./measure.ts";
import type { BenchEngine } from "./peer.ts";
import type { Bench, Scenario } from "./scenarios.ts";

type OutputType = "tar" | "local" | "docker" | "oci";

const TAG = "narubench-output";
const PROGRAM = "yes 'a line of some file' | head -c 200000000 > /big";

const at = (engine: BenchEngine): string[] => ["-H", `unix://${engine.socket}`];

/** Who can write it, each with the words of its command. */
function waysOf({ naru, peer }: Bench, type: OutputType, target: string, folder: string) {
  const flags = ["-q", "-o", `type=${type},dest=${target}`, folder];
  const buildkit = { DOCKER_BUILDKIT: "1" };
  const ways: [name: string, commands: string[][], env: Record<string, string>][] = [
    ["naru (naru CLI)", [[NARU, ...at(naru), "build", ...flags]], {}],
  ];
  if (!existsSync(PEER_CLI)) return ways;
  if (type === "tar" || type === "local") {
    for (const [name, engine] of [
      ["naru (BuildKit's client)", naru],
      ["docker BuildKit", peer],
    ] as const) {
      ways.push([name, [[PEER_CLI, ...at(engine), "build", ...flags]], buildkit]);
    }
  } else {
    for (const [name, engine] of [
      ["naru, then docker save", naru],
      ["docker BuildKit, then docker save", peer],
    ] as const) {
      const build = [PEER_CLI, ...at(engine), "build", "-q", "-t", TAG, folder];
      const save = ["docker", ...at(engine), "save", "-o", target, TAG];
      ways.push([name, [build, save], buildkit]);
    }
  }
  return ways;
}

async function written(bench: Bench, type: OutputType): Promise<Sample[]> {
  const folder = join(bench.scratch, "context");
  const target = join(bench.scratch, "built");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "Dockerfile"), `FROM busybox\nRUN ${PROGRAM}\n`);
  const contenders = waysOf(bench, type, target, folder).map(
    ([name, commands, env]): Contender => ({
      name,
      once: async () => {
        rmSync(target, { recursive: true, force: true });
        let tookMs = 0;
        for (const command of commands) tookMs += await timeCommand(command, env);
        if (!existsSync(target)) throw new Error(`${name} wrote nothing`);
        return tookMs;
      },
    }),
  );
  try {
    return await inTurn(contenders, { rounds: 5 });
  } finally {
    for (const engine of [bench.naru, bench.peer]) {
      await output(["docker", ...at(engine), "rmi", "-f", TAG]).catch(() => "");
      await output(["docker", ...at(engine), "builder", "prune", "-af"]);
    }
    for (const path of [folder, target]) rmSync(path, { recursive: true, force: true });
  }
}

export const buildOutputScenarios: readonly Scenario[] = (
  ["tar", "local", "docker", "oci"] as const
).map((type) => ({
  name: `build -o ${type}: 200 MB`,
  unit: "ms",
  budget: "half of BuildKit",
  run: (bench) => written(bench, type),
}));
