/**
 * Builds: against the classic builder of the peer, and against the BuildKit inside of it, which the docker CLI of its
 * own age can still drive without buildx.
 */
import {
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

import { NARU } from "../tests/e2e/engine.ts";
import { type Contender, inTurn, output, type Sample, timeCommand } from "./measure.ts";
import type { BenchEngine } from "./peer.ts";
import type { Bench, Scenario } from "./scenarios.ts";

const TAG = "narubench-build";
/** The client of the peer, which drives its BuildKit without buildx. */
export const PEER_CLI = join(process.env["NARU_PEER_BIN"] ?? "/", "usr/bin/docker");

const docker = (engine: BenchEngine, ...args: string[]): string[] => [
  "docker",
  "-H",
  `unix://${engine.socket}`,
  ...args,
];

const CLASSIC = "docker classic";

interface Way {
  readonly name: string;
  readonly engine: BenchEngine;
  readonly words: readonly string[];
  readonly env: Record<string, string>;
}

function waysOf({ naru, peer }: Bench): Way[] {
  const at = (engine: BenchEngine) => ["-H", `unix://${engine.socket}`, "build", "-q", "-t", TAG];
  const classic = { DOCKER_BUILDKIT: "0" };
  const ways: Way[] = [
    { name: "naru (docker CLI)", engine: naru, words: ["docker", ...at(naru)], env: classic },
    { name: CLASSIC, engine: peer, words: ["docker", ...at(peer)], env: classic },
    { name: "naru (naru CLI)", engine: naru, words: [NARU, ...at(naru)], env: {} },
  ];
  if (existsSync(PEER_CLI)) {
    const env = { DOCKER_BUILDKIT: "1" };
    // The same client on both: its own part of the time is the same.
    for (const [name, engine] of [
      ["docker BuildKit", peer],
      ["naru (BuildKit's client)", naru],
    ] as const) {
      ways.push({ name, engine, words: [PEER_CLI, ...at(engine)], env });
    }
  }
  return ways;
}

interface Job {
  /** In the bench's scratch. */
  readonly folder: string;
  readonly flags?: readonly string[];
  readonly rounds: number;
  /** Of the classic builder, where it is so slow that the scenario would take more than four minutes. */
  readonly classicRounds?: number;
  /** Before every build, not measured. */
  readonly prepare?: () => void;
  /** Throw the cache away after every build, for what is large. */
  readonly prune?: boolean;
}

async function measure(bench: Bench, job: Job): Promise<Sample[]> {
  const { folder, flags = [], rounds, classicRounds = rounds, prepare, prune = false } = job;
  // A build that finds nothing warms nothing up: not worth a minute.
  const warmUps = flags.includes("--no-cache") || prune ? 0 : 1;
  const contenders = waysOf(bench).map(({ name, engine, words, env }): Contender => ({
    name,
    ...(name === CLASSIC ? { rounds: classicRounds, warmUps } : {}),
    once: async () => {
      prepare?.();
      const tookMs = await timeCommand([...words, ...flags, folder], env);
      if (prune) {
        await output(docker(engine, "rmi", "-f", TAG));
        await output(docker(engine, "builder", "prune", "-af"));
      }
      return tookMs;
    },
  }));
  try {
    return await inTurn(contenders, { rounds });
  } finally {
    for (const engine of [bench.naru, bench.peer]) {
      await output(docker(engine, "rmi", "-f", TAG)).catch(() => "");
      await output(docker(engine, "builder", "prune", "-af"));
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

function folderOf({ scratch }: Bench, dockerfile: readonly string[]): string {
  const folder = join(scratch, "context");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "Dockerfile"), dockerfile.join("\n"));
  return folder;
}

const tenSteps = (bench: Bench): string => {
  const folder = folderOf(bench, [
    "FROM busybox",
    "WORKDIR /app",
    "COPY package.txt .",
    "RUN mkdir deps && cp package.txt deps/",
    "RUN echo compiled > compiled",
    "COPY src src",
    "RUN cat src/* > bundle",
    "ENV MODE=release",
    "RUN wc -c bundle > size",
    'CMD ["cat", "size"]',
  ]);
  writeFileSync(join(folder, "package.txt"), "left 1.0\n");
  mkdirSync(join(folder, "src"));
  for (let file = 0; file < 10; file += 1) {
    writeFileSync(join(folder, `src/${file}.txt`), `source ${file}\n`);
  }
  return folder;
};

const FILES = 20_000;

function manyFiles(bench: Bench): string {
  const folder = folderOf(bench, ["FROM busybox", "COPY . /all", "RUN ls /all | wc -l > /count"]);
  for (let file = 0; file < FILES; file += 1) {
    const directory = join(folder, `d${file % 100}`);
    if (file < 100) mkdirSync(directory);
    writeFileSync(join(directory, `${file}.txt`), `file ${file}\n`.repeat(100));
  }
  return folder;
}

async function oneChanged(bench: Bench): Promise<Sample[]> {
  const folder = manyFiles(bench);
  let count = 0;
  const prepare = () => writeFileSync(join(folder, "d7/7.txt"), `changed ${(count += 1)}\n`);
  return await measure(bench, { folder, rounds: 5, classicRounds: 1, prepare });
}

const STAGES = 8;

function eightStages(bench: Bench): string {
  const numbers = Array.from({ length: STAGES }, (_, index) => index);
  return folderOf(bench, [
    ...numbers.flatMap((n) => [`FROM busybox AS s${n}`, `RUN sleep 0.5; echo ${n} > /n`]),
    "FROM busybox",
    ...numbers.map((n) => `COPY --from=s${n} /n /n${n}`),
  ]);
}

const GIGABYTE = 1024 * 1024 * 1024;

async function copyGigabyte(bench: Bench): Promise<Sample[]> {
  const folder = folderOf(bench, ["FROM busybox", "COPY big /big"]);
  const path = join(folder, "big");
  const piece = new Uint8Array(16 * 1024 * 1024);
  for (let at = 0; at < piece.length; at += 65_536) {
    crypto.getRandomValues(piece.subarray(at, at + 65_536));
  }
  const fd = openSync(path, "w");
  for (let size = 0; size < GIGABYTE; size += piece.length) writeSync(fd, piece);
  closeSync(fd);
  return await measure(bench, { folder, rounds: 3, classicRounds: 1, prune: true });
}

const scenario = (
  name: string,
  budget: string,
  run: (bench: Bench) => Promise<Sample[]>,
): Scenario => ({ name, unit: "ms", budget, run });

export const buildScenarios: readonly Scenario[] = [
  scenario("build of 10 steps, cold", "half of BuildKit", (bench) =>
    measure(bench, { folder: tenSteps(bench), rounds: 7, classicRounds: 2, flags: ["--no-cache"] }),
  ),
  scenario("build of 10 steps, warm", "half of BuildKit", (bench) =>
    measure(bench, { folder: tenSteps(bench), rounds: 11, classicRounds: 3 }),
  ),
  scenario("build, 20,000 files unchanged", "half of BuildKit", (bench) =>
    measure(bench, { folder: manyFiles(bench), rounds: 5, classicRounds: 1 }),
  ),
  scenario("build, 20,000 files, one changed", "half of BuildKit", oneChanged),
  scenario("build of 8 stages at once", "half of BuildKit", (bench) =>
    measure(bench, {
      folder: eightStages(bench),
      rounds: 5,
      classicRounds: 1,
      flags: ["--no-cache"],
    }),
  ),
  scenario("build, 200 MB written to an image", "half of BuildKit", (bench) => {
    // A program that writes as fast as it can: what is measured is the engine's part.
    const program = "yes 'a line of some file' | head -c 200000000 > /big";
    const folder = folderOf(bench, ["FROM busybox", `RUN ${program}`]);
    return measure(bench, {
      folder,
      rounds: 5,
      classicRounds: 1,
      flags: ["--no-cache"],
      prune: true,
    });
  }),
  scenario("build, COPY of 1 GB", "half of BuildKit", copyGigabyte),
];
