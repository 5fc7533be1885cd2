/**
 * Copying files in and out, exporting and committing: 1 GB in one file, and 20,000 small ones.
 *
 * The small ones are made on a disk of their own, ext4 with a journal in memory. Without a journal (some virtual
 * machines) ext4 looks at every inode that was deleted in the last minute before it hands one out: 0.3 to 0.7 ms a file
 * where 0.02 are usual, for every engine and for clients that write files too, and nothing else would be measured.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { baseImage, NARU, startEngine, VOLATILE } from "../tests/e2e/engine.ts";
import { type Contender, inTurn, output, type Sample, timeCommand } from "./measure.ts";
import { hold } from "./held.ts";
import { startNullEngine } from "./null-engine.ts";
import { type BenchEngine, startPeer } from "./peer.ts";
import type { Bench, Scenario } from "./scenarios.ts";

const GIGABYTE = 1024 * 1024 * 1024;
const FILES = 20_000;
const FILES_IN_DIRECTORY = 100;
const SMALL_BYTES = 1000;

const docker = (engine: { readonly socket: string }, ...args: string[]): string[] => [
  "docker",
  "-H",
  `unix://${engine.socket}`,
  ...args,
];

/** The large file, made once. */
async function largeFile({ scratch }: Bench): Promise<string> {
  const path = join(scratch, "large");
  if (existsSync(path)) return path;
  const block = crypto.getRandomValues(new Uint8Array(65536));
  const sink = Bun.file(path).writer({ highWaterMark: 1 << 20 });
  for (let written = 0; written < GIGABYTE; written += block.length) {
    await sink.write(block);
    await sink.flush();
  }
  await sink.end();
  return path;
}

function makeSmallFiles(folder: string): void {
  const block = crypto.getRandomValues(new Uint8Array(SMALL_BYTES));
  for (let index = 0; index < FILES; index += 1) {
    const directory = join(folder, String(Math.floor(index / FILES_IN_DIRECTORY)));
    if (index % FILES_IN_DIRECTORY === 0) mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, String(index)), block);
  }
}

/** One engine with a container that sleeps. */
interface Host {
  readonly name: string;
  readonly engine: BenchEngine | { readonly socket: string };
  readonly id: string;
}

async function hosts(engines: readonly (readonly [string, Host["engine"]])[]): Promise<Host[]> {
  const started: Host[] = [];
  for (const [name, engine] of engines) {
    const id = await output(docker(engine, "run", "-d", "busybox", "sleep", "100000"));
    started.push({ name, engine, id });
  }
  return started;
}

const large = (once: (host: Host, path: string, bench: Bench) => Promise<number>) => {
  return async (bench: Bench): Promise<Sample[]> => {
    const path = await largeFile(bench);
    const both = await hosts([
      ["naru", bench.naru],
      ["docker", bench.peer],
    ]);
    const contenders = both.map((host) => ({
      name: host.name,
      once: () => once(host, path, bench),
    }));
    try {
      return await inTurn(contenders, { rounds: 5, warmUps: 1 });
    } finally {
      for (const { engine, id } of both) await output(docker(engine, "rm", "-f", id));
    }
  };
};

const largeIn = large(async ({ engine, id }, path) => {
  await output(docker(engine, "exec", id, "rm", "-rf", "/target"));
  return await timeCommand(docker(engine, "cp", path, `${id}:/target`));
});

const largeOut = large(async ({ engine, id }, path, { scratch }) => {
  const target = join(scratch, "out");
  await output(docker(engine, "cp", path, `${id}:/source`));
  rmSync(target, { recursive: true, force: true });
  const took = await timeCommand(docker(engine, "cp", `${id}:/source`, target));
  await output(docker(engine, "exec", id, "rm", "-rf", "/source"));
  return took;
});

/** Two engines and 20,000 files on a disk that a measurement can trust; each container holds the files as `/source`. */
interface Ground extends AsyncDisposable {
  readonly folder: string;
  readonly small: string;
  readonly naru: Host;
  readonly docker: Host;
}

async function openGround({ scratch }: Bench): Promise<Ground> {
  await using undo = new AsyncDisposableStack();
  const folder = join(scratch, "disk");
  mkdirSync(folder, { recursive: true });
  const image = join(VOLATILE, `naru-test-disk-${process.pid}`);
  await output(["truncate", "-s", "4G", image]);
  try {
    await output(["mkfs.ext4", "-q", "-F", image]);
    await output(["mount", "-o", "loop", image, folder]);
  } finally {
    // The mount keeps what it needs of it.
    rmSync(image, { force: true });
  }
  undo.use(
    hold({
      async [Symbol.asyncDispose]() {
        await output(["umount", "-l", folder]);
      },
    }),
  );
  const small = join(folder, "small");
  makeSmallFiles(small);
  const own = undo.use(
    hold(await startEngine({ daemonFlags: ["--data-root", join(folder, "naru")], images: [] })),
  );
  const peer = undo.use(
    hold(await startPeer(process.env["NARU_PEER_BIN"] ?? "/", join(folder, "docker"))),
  );
  const engines = [
    ["naru", { socket: own.daemonSocket }],
    ["docker", peer],
  ] as const;
  for (const [, engine] of engines)
    await output(docker(engine, "import", await baseImage("busybox"), "busybox:latest"));
  const [mine, other] = await hosts(engines);
  if (mine === undefined || other === undefined) throw new Error("no engines to compare");
  for (const { engine, id } of [mine, other])
    await output(docker(engine, "cp", small, `${id}:/source`));
  const kept = undo.move();
  return {
    folder,
    small,
    naru: mine,
    docker: other,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** One thing done on both engines, through the real client and our own. */
const small = (
  once: (place: { cli: string; host: Host; ground: Ground }) => Promise<number>,
  alone?: (ground: Ground) => Promise<Contender>,
) => {
  return async (bench: Bench): Promise<Sample[]> => {
    await using ground = await openGround(bench);
    const contenders: Contender[] = [
      { name: "naru", once: () => once({ cli: "docker", host: ground.naru, ground }) },
      { name: "docker", once: () => once({ cli: "docker", host: ground.docker, ground }) },
      { name: "naru (naru CLI)", once: () => once({ cli: NARU, host: ground.naru, ground }) },
    ];
    if (alone === undefined) return await inTurn(contenders, { rounds: 5, warmUps: 1 });
    const floor = await alone(ground);
    return await inTurn([...contenders, floor], { rounds: 5, warmUps: 1 });
  };
};

/** The docker CLI against an engine that does nothing: no engine can be faster with it. */
const NOBODY = "docker CLI alone";

async function withNobody(
  { folder }: Ground,
  archive: Uint8Array,
  command: readonly string[],
): Promise<number> {
  const socket = join(folder, "null.sock");
  rmSync(socket, { force: true });
  using _ = startNullEngine(socket, archive);
  return await timeCommand(["docker", "-H", `unix://${socket}`, ...command]);
}

const smallIn = small(
  async ({ cli, host: { engine, id }, ground }) => {
    await output(docker(engine, "exec", id, "rm", "-rf", "/target"));
    return await timeCommand([
      cli,
      "-H",
      `unix://${engine.socket}`,
      "cp",
      ground.small,
      `${id}:/target`,
    ]);
  },
  async (ground) => ({
    name: NOBODY,
    once: () => withNobody(ground, Buffer.alloc(1024), ["cp", ground.small, "any:/target"]),
  }),
);

const smallOut = small(
  async ({ cli, host: { engine, id }, ground }) => {
    const target = join(ground.folder, "out");
    rmSync(target, { recursive: true, force: true });
    return await timeCommand([cli, "-H", `unix://${engine.socket}`, "cp", `${id}:/source`, target]);
  },
  async (ground) => {
    const file = join(ground.folder, "source.tar");
    const flags = ["--transform", "s,^small,source,", "-C", ground.folder];
    await output(["tar", ...flags, "-cf", file, "small"]);
    const archive = readFileSync(file);
    const target = join(ground.folder, "out");
    return {
      name: NOBODY,
      once: async () => {
        rmSync(target, { recursive: true, force: true });
        return await withNobody(ground, archive, ["cp", "any:/source", target]);
      },
    };
  },
);

const exported = small(({ cli, host: { engine, id }, ground }) =>
  timeCommand([
    cli,
    "-H",
    `unix://${engine.socket}`,
    "export",
    "-o",
    join(ground.folder, "exported"),
    id,
  ]),
);

const commit = small(async ({ cli, host: { engine, id } }) => {
  const took = await timeCommand([cli, "-H", `unix://${engine.socket}`, "commit", id, "committed"]);
  await output(docker(engine, "rmi", "committed"));
  return took;
});

const scenario = (name: string, budget: string, run: Scenario["run"]): Scenario => ({
  name,
  unit: "ms",
  budget,
  run,
});

export const fileScenarios: readonly Scenario[] = [
  scenario("cp in: 1 GB", "<= docker", largeIn),
  scenario("cp out: 1 GB", "<= docker", largeOut),
  scenario("cp in: 20,000 files", "< docker; the client's own time is most of it", smallIn),
  scenario("cp out: 20,000 files", "< docker; the client's own time is most of it", smallOut),
  scenario("export: 20,000 files", "<= docker", exported),
  scenario("commit: 20,000 files", "<= 1/2 of docker", commit),
];
