/** What is measured, each with DESIGN.md's budget. */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { arch, cpus, release } from "node:os";
import { join } from "node:path";

import { NARU, startEngine } from "../tests/e2e/engine.ts";
import { startRegistry } from "../tests/e2e/registry.ts";
import {
  type Contender,
  cpuOfCommand,
  inTurn,
  output,
  type Sample,
  timeCommand,
} from "./measure.ts";
import { buildScenarios } from "./build.ts";
import { fileScenarios } from "./files.ts";
import { hold } from "./held.ts";
import { networkScenarios } from "./network.ts";
import { type BenchEngine, pidsWith, startPeer, untilServed } from "./peer.ts";

export interface Bench extends AsyncDisposable {
  readonly naru: BenchEngine;
  readonly peer: BenchEngine;
  readonly machine: string;
  readonly scratch: string;
}

export interface Scenario {
  readonly name: string;
  readonly unit: string;
  readonly budget: string;
  readonly run: (bench: Bench) => Promise<Sample[]>;
}

const docker = (engine: BenchEngine, ...args: string[]): string[] => [
  "docker",
  "-H",
  `unix://${engine.socket}`,
  ...args,
];
const naru = (engine: BenchEngine, ...args: string[]): string[] => [
  NARU,
  "-H",
  `unix://${engine.socket}`,
  ...args,
];

/** Both engines, held, with the busybox and Debian images on them. */
export async function openBench(): Promise<Bench> {
  const engine = hold(await startEngine({ images: ["busybox", "debian"] }));
  const peer = hold(await startPeer(process.env["NARU_PEER_BIN"] ?? "/"));
  const cache = `${process.env["XDG_CACHE_HOME"] ?? `${process.env["HOME"]}/.cache`}/naru/base-images`;
  for (const image of ["busybox", "debian"]) {
    await output(docker(peer, "import", join(cache, `${image}.tar`), `${image}:latest`));
  }
  const scratch = join(engine.root, "bench");
  mkdirSync(scratch);
  return {
    naru: {
      name: "naru",
      socket: engine.daemonSocket,
      version: await output([NARU, "version", "--format", "{{.Client.Version}}"]).catch(
        () => "dev",
      ),
      enginePids: () => pidsWith(`naru-test-${engine.tag}`).filter((pid) => pid !== process.pid),
      async restart() {
        await engine.killDaemon();
        const started = performance.now();
        await engine.startDaemon();
        await untilServed(engine.daemonSocket);
        return performance.now() - started;
      },
      async [Symbol.asyncDispose]() {
        await engine[Symbol.asyncDispose]();
      },
    },
    peer,
    machine: `${cpus().length} cores, ${arch()}, Linux ${release()}`,
    scratch,
    async [Symbol.asyncDispose]() {
      await peer[Symbol.asyncDispose]();
      await engine[Symbol.asyncDispose]();
    },
  };
}

/**
 * Starts before the first that counts, of everybody's: Naru's hot paths are compiled while they run, and Docker's
 * are when it is built. The budget is for an engine at work; a scenario of its own tells of one that has just begun.
 */
const RUNS_BEFORE = 20;

interface RunScenario {
  readonly name: string;
  readonly budget: string;
  readonly flags?: readonly string[];
  readonly warmUps?: number;
}

const runScenario = ({ name, budget, flags = [], warmUps }: RunScenario): Scenario => ({
  name,
  unit: "ms",
  budget,
  run: ({ naru: engine, peer }) =>
    inTurn(
      [
        {
          name: "naru (docker CLI)",
          once: () => timeCommand(docker(engine, "run", "--rm", ...flags, "busybox", "true")),
        },
        {
          name: "docker",
          once: () => timeCommand(docker(peer, "run", "--rm", ...flags, "busybox", "true")),
        },
        {
          name: "naru (naru CLI)",
          once: () => timeCommand(naru(engine, "run", "--rm", ...flags, "busybox", "true")),
        },
      ],
      { rounds: 21, warmUps: warmUps ?? RUNS_BEFORE },
    ),
});

/** Bare runtimes on one bundle. crun 1.8 refuses hybrid cgroups while the v2 tree has a controller: it runs where that is unmounted. */
async function bareRuntimes(bench: Bench): Promise<Contender[]> {
  const bundle = join(bench.scratch, "bundle");
  rmSync(bundle, { recursive: true, force: true });
  mkdirSync(join(bundle, "rootfs"), { recursive: true });
  const cache = `${process.env["XDG_CACHE_HOME"] ?? `${process.env["HOME"]}/.cache`}/naru/base-images`;
  await output(["tar", "-C", join(bundle, "rootfs"), "-xf", join(cache, "busybox.tar")]);
  await output(["sh", "-c", `cd ${bundle} && runc spec`]);
  const file = join(bundle, "config.json");
  const spec = JSON.parse(readFileSync(file, "utf8"));
  spec.process.args = ["true"];
  spec.process.terminal = false;
  spec.process.rlimits = [];
  await Bun.write(file, JSON.stringify(spec));
  let count = 0;
  return [
    {
      name: "crun run",
      once: () =>
        timeCommand([
          "unshare",
          "-m",
          "sh",
          "-c",
          `umount /sys/fs/cgroup/unified 2>/dev/null; exec crun run -b ${bundle} narubench${(count += 1)}`,
        ]),
    },
    {
      name: "runc run",
      once: () => timeCommand(["runc", "run", "-b", bundle, `narubench${(count += 1)}`]),
    },
  ];
}

const idleMemory = (pids: readonly number[]): { residentMb: number; privateMb: number } => {
  let resident = 0;
  let own = 0;
  for (const pid of pids) {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      const field = (name: string) =>
        Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);
      // Pages that daemon and supervisor share (the binary) count once.
      resident += field("Pss");
      own += field("Private_Dirty");
    } catch {
      // it ended meanwhile
    }
  }
  return { residentMb: resident / 1024, privateMb: own / 1024 };
};

/** One container's life by the API alone: what remains of a `docker run` is the client. */
async function partsOfRun({ naru: engine }: Bench): Promise<Sample[]> {
  const parts = {
    create: [] as number[],
    start: [] as number[],
    "end and removal": [] as number[],
  };
  const post = (path: string, body?: object) =>
    fetch(`http://engine/v1.51/containers/${path}`, {
      unix: engine.socket,
      method: "POST",
      headers: { "content-type": "application/json" },
      ...(body && { body: JSON.stringify(body) }),
    });
  for (let round = 0; round < 22; round += 1) {
    await Bun.sleep(100);
    const began = performance.now();
    const asked = { Image: "busybox", Cmd: ["true"], HostConfig: { AutoRemove: true } };
    const { Id } = (await (await post("create", asked)).json()) as { Id: string };
    const created = performance.now();
    const removed = post(`${Id}/wait?condition=removed`).then((answer) => answer.text());
    await (await post(`${Id}/start`)).text();
    const started = performance.now();
    await removed;
    if (round === 0) continue;
    parts.create.push(created - began);
    parts.start.push(started - created);
    parts["end and removal"].push(performance.now() - started);
  }
  return Object.entries(parts).map(([part, values]) => ({ contender: `naru ${part}`, values }));
}

let fresh: Promise<Sample & { memory: ReturnType<typeof idleMemory> }>[] | null = null;

/** Both daemons started again and left alone: what an engine costs that does nothing. */
async function freshMemory(bench: Bench, key: "residentMb" | "privateMb"): Promise<Sample[]> {
  fresh ??= [bench.naru, bench.peer].map(async (engine) => {
    await engine.restart();
    await Bun.sleep(15_000);
    return { contender: engine.name, values: [], memory: idleMemory(engine.enginePids()) };
  });
  return (await Promise.all(fresh)).map(({ contender, memory }) => ({
    contender,
    values: [memory[key]],
  }));
}

async function pullContenders(bench: Bench, host: string): Promise<Contender[]> {
  return [bench.naru, bench.peer].map((engine) => ({
    name: engine.name,
    once: async () => {
      await output(docker(engine, "rmi", "-f", `${host}/debian`)).catch(() => "");
      return timeCommand(docker(engine, "pull", "-q", `${host}/debian`));
    },
  }));
}

/** Removes the Debian image's every name, so that its layer goes, and puts it back after. */
async function withoutDebian<T>(bench: Bench, archive: string, work: () => Promise<T>): Promise<T> {
  for (const engine of [bench.naru, bench.peer])
    await output(docker(engine, "rmi", "-f", "debian")).catch(() => "");
  try {
    return await work();
  } finally {
    for (const engine of [bench.naru, bench.peer])
      await output(docker(engine, "load", "-q", "-i", archive));
  }
}

async function savedDebian(bench: Bench): Promise<string> {
  const archive = join(bench.scratch, "debian.tar");
  if (!(await Bun.file(archive).exists()))
    await output(docker(bench.peer, "save", "-o", archive, "debian"));
  return archive;
}

export const manyIdle = async (engine: BenchEngine, count: number): Promise<void> => {
  const start = async (): Promise<void> => {
    await output(docker(engine, "run", "-d", "--network", "none", "busybox", "sleep", "100000"));
  };
  for (let done = 0; done < count; done += 4)
    await Promise.all([start(), start(), start(), start()]);
};

export const removeAll = async (engine: BenchEngine): Promise<void> => {
  const ids = (await output(docker(engine, "ps", "-aq"))).split("\n").filter((id) => id !== "");
  if (ids.length > 0) await output(docker(engine, "rm", "-f", ...ids));
};

/** 200 idle containers on one engine: memory each, `ps`, restart. */
async function idleNumbers(
  engine: BenchEngine,
): Promise<{ eachMb: number; psMs: number; restartMs: number }> {
  const count = 200;
  const before = idleMemory(engine.enginePids()).privateMb;
  await manyIdle(engine, count);
  await Bun.sleep(2000);
  const eachMb = (idleMemory(engine.enginePids()).privateMb - before) / count;
  const ps: number[] = [];
  for (let round = 0; round < 9; round += 1) {
    const started = performance.now();
    await (
      await fetch("http://engine/v1.41/containers/json", { unix: engine.socket })
    ).arrayBuffer();
    ps.push(performance.now() - started);
  }
  const restartMs = await engine.restart();
  await removeAll(engine);
  return { eachMb, psMs: ps.toSorted((a, b) => a - b)[4] ?? Number.NaN, restartMs };
}

let idle: Promise<Record<string, Awaited<ReturnType<typeof idleNumbers>>>> | null = null;
const idleOf = (bench: Bench) =>
  (idle ??= (async () => ({
    naru: await idleNumbers(bench.naru),
    docker: await idleNumbers(bench.peer),
  }))());
const idleSample = async (bench: Bench, key: "eachMb" | "psMs" | "restartMs"): Promise<Sample[]> =>
  Object.entries(await idleOf(bench)).map(([contender, numbers]) => ({
    contender,
    values: [numbers[key]],
  }));

export const scenarios: readonly Scenario[] = [
  {
    name: "idle memory, resident",
    unit: "MB",
    budget: "naru <= 90 MB, shared pages once",
    run: (bench) => freshMemory(bench, "residentMb"),
  },
  {
    name: "idle memory, private",
    unit: "MB",
    budget: "naru <= 20 MB",
    run: (bench) => freshMemory(bench, "privateMb"),
  },
  runScenario({
    name: "run --rm, bridge, engine just started",
    budget: "the first 40 starts of an engine's life",
    warmUps: 1,
  }),
  runScenario({ name: "run --rm, bridge", budget: "<= 0.1 of Debian's docker" }),
  runScenario({
    name: "run --rm, no network",
    budget: "<= 0.1 of Debian's docker",
    flags: ["--network", "none"],
  }),
  {
    name: "bare runtimes",
    unit: "ms",
    budget: "naru run < crun run + docker version",
    run: async (bench) =>
      inTurn(
        [
          {
            name: "naru (naru CLI)",
            once: () => timeCommand(naru(bench.naru, "run", "--rm", "busybox", "true")),
          },
          ...(await bareRuntimes(bench)),
          { name: "docker version", once: () => timeCommand(docker(bench.naru, "version")) },
        ],
        { rounds: 21 },
      ),
  },
  {
    name: "birth alone",
    unit: "ms",
    budget: "<= 5 ms, <= 0.5 of crun run",
    run: async (bench) => {
      const file = join(import.meta.dir, "birth.ts");
      const births: unknown = JSON.parse(await output([process.execPath, file, "21"]));
      const { ready, alone } = births as Record<"ready" | "alone", number[]>;
      const bare = await inTurn(await bareRuntimes(bench), { rounds: 11 });
      const mine = [
        { contender: "naru", values: ready },
        { contender: "naru, cgroup and network namespace made meanwhile", values: alone },
      ];
      return [...mine, ...bare];
    },
  },
  {
    name: "where one run --rm on the bridge goes",
    unit: "ms",
    budget: "parts of naru's run, by the API",
    run: (bench) => partsOfRun(bench),
  },
  {
    name: "exec true",
    unit: "ms",
    budget: "<= 0.25 of docker",
    run: async ({ naru: engine, peer }) => {
      for (const one of [engine, peer])
        await output(docker(one, "run", "-d", "--name", "narubench", "busybox", "sleep", "10000"));
      const samples = await inTurn(
        [
          ...[engine, peer].map((one) => ({
            name: one === engine ? "naru (docker CLI)" : one.name,
            once: () => timeCommand(docker(one, "exec", "narubench", "true")),
          })),
          {
            name: "naru (naru CLI)",
            once: () => timeCommand(naru(engine, "exec", "narubench", "true")),
          },
        ],
        { rounds: 21 },
      );
      for (const one of [engine, peer]) await output(docker(one, "rm", "-f", "narubench"));
      return samples;
    },
  },
  {
    name: "CLI start-up: version (CPU)",
    unit: "ms",
    budget: "<= docker version",
    run: ({ naru: engine }) =>
      inTurn(
        [
          { name: "naru", once: () => cpuOfCommand(naru(engine, "version")) },
          { name: "docker", once: () => cpuOfCommand(docker(engine, "version")) },
        ],
        { rounds: 31, pauseMs: 10 },
      ),
  },
  {
    name: "load of the Debian image",
    unit: "ms",
    budget: "<= 0.1 of docker",
    run: async (bench) => {
      const archive = await savedDebian(bench);
      return withoutDebian(bench, archive, () =>
        inTurn(
          [bench.naru, bench.peer].map((engine) => ({
            name: engine.name,
            once: async () => {
              await output(docker(engine, "rmi", "-f", "debian")).catch(() => "");
              return timeCommand(docker(engine, "load", "-q", "-i", archive));
            },
          })),
          { rounds: 5, warmUps: 1 },
        ),
      );
    },
  },
  {
    name: "pull of the Debian image",
    unit: "ms",
    budget: "<= 0.1 of docker",
    run: async (bench) => {
      await using registry = await startRegistry(bench.scratch);
      await output(docker(bench.peer, "tag", "debian", `${registry.host}/debian`));
      await output(docker(bench.peer, "push", "-q", `${registry.host}/debian`));
      const samples = await withoutDebian(bench, await savedDebian(bench), async () =>
        inTurn(await pullContenders(bench, registry.host), { rounds: 5, warmUps: 1 }),
      );
      for (const engine of [bench.naru, bench.peer])
        await output(docker(engine, "rmi", "-f", `${registry.host}/debian`)).catch(() => "");
      return samples;
    },
  },
  {
    name: "rmi of the Debian image",
    unit: "ms",
    budget: "<= 20 ms",
    run: async (bench) => {
      const archive = await savedDebian(bench);
      return inTurn(
        [bench.naru, bench.peer].map((engine) => ({
          name: engine.name,
          once: async () => {
            await output(docker(engine, "load", "-q", "-i", archive));
            const started = performance.now();
            await (
              await fetch("http://engine/v1.41/images/debian?force=1", {
                unix: engine.socket,
                method: "DELETE",
              })
            ).text();
            const tookMs = performance.now() - started;
            await output(docker(engine, "load", "-q", "-i", archive));
            return tookMs;
          },
        })),
        { rounds: 5, warmUps: 0 },
      );
    },
  },
  {
    name: "30 runs at once",
    unit: "ms",
    budget: "no budget",
    run: ({ naru: engine, peer }) =>
      inTurn(
        [engine, peer].map((one) => ({
          name: one.name,
          once: async () => {
            const started = performance.now();
            await Promise.all(
              Array.from({ length: 30 }, () =>
                timeCommand(docker(one, "run", "--rm", "busybox", "true")),
              ),
            );
            return performance.now() - started;
          },
        })),
        { rounds: 3, warmUps: 1 },
      ),
  },
  {
    name: "logs: 400,000 lines, 24 MB",
    unit: "ms",
    budget: "no budget",
    run: ({ naru: engine, peer }) =>
      inTurn(
        [engine, peer].map((one) => ({
          name: one.name,
          once: async () => {
            const took = await timeCommand(
              docker(
                one,
                "run",
                "--name",
                "narulog",
                "--network",
                "none",
                "busybox",
                "sh",
                "-c",
                "yes 'a line of sixty characters, as programs like to print them.' | head -n 400000",
              ),
            );
            await output(docker(one, "rm", "narulog"));
            return took;
          },
        })),
        { rounds: 3, warmUps: 1 },
      ),
  },
  {
    name: "200 idle: memory each",
    unit: "MB",
    budget: "naru <= 0.3 MB",
    run: (bench) => idleSample(bench, "eachMb"),
  },
  {
    name: "200 idle: ps",
    unit: "ms",
    budget: "<= 30 ms",
    run: (bench) => idleSample(bench, "psMs"),
  },
  {
    name: "200 idle: daemon restart",
    unit: "ms",
    budget: "<= 1000 ms",
    run: (bench) => idleSample(bench, "restartMs"),
  },
  ...fileScenarios,
  ...networkScenarios,
  ...buildScenarios,
];
