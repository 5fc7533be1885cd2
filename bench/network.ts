/** Networks: making, connecting, and what packets to a published port cost beside a bare veth. */
import { type Contender, inTurn, output, type Sample, timeCommand } from "./measure.ts";
import type { BenchEngine } from "./peer.ts";
import type { Bench, Scenario } from "./scenarios.ts";

const docker = (engine: BenchEngine, ...args: string[]): string[] => [
  "docker",
  "-H",
  `unix://${engine.socket}`,
  ...args,
];

const REQUESTS = 2000;
const ROUNDS = 10;
/** What another 999 published ports lie in. */
const FIRST_PORT = 20_000;

const both = (
  { naru, peer }: Bench,
  once: (engine: BenchEngine) => Promise<number>,
): Contender[] => [
  { name: "naru", once: () => once(naru) },
  { name: "docker", once: () => once(peer) },
];

async function createAndRemove(engine: BenchEngine): Promise<number> {
  const made = await timeCommand(docker(engine, "network", "create", "bench"));
  return made + (await timeCommand(docker(engine, "network", "rm", "bench")));
}

async function connectAndDisconnect(bench: Bench): Promise<Sample[]> {
  for (const engine of [bench.naru, bench.peer]) {
    await output(docker(engine, "network", "create", "bench"));
    await output(docker(engine, "run", "-d", "--name", "benched", "busybox", "sleep", "100000"));
  }
  const once = async (engine: BenchEngine) => {
    const joined = await timeCommand(docker(engine, "network", "connect", "bench", "benched"));
    return (
      joined + (await timeCommand(docker(engine, "network", "disconnect", "bench", "benched")))
    );
  };
  try {
    return await inTurn(both(bench, once), { rounds: ROUNDS });
  } finally {
    for (const engine of [bench.naru, bench.peer]) {
      await output(docker(engine, "rm", "-f", "benched"));
      await output(docker(engine, "network", "rm", "bench"));
    }
  }
}

/** Docker starts two processes for each port: with a thousand it may never be ready. */
const HOLDER_SECONDS = 180;

/** `run -p` with so many ports published already, on whichever engine gets that far. */
function publishWith(count: number): Scenario["run"] {
  return async ({ naru, peer }) => {
    const contenders: Contender[] = [];
    const holding: BenchEngine[] = [];
    try {
      for (const [name, engine, first, own] of [
        ["naru", naru, FIRST_PORT, 39_000],
        ["docker", peer, FIRST_PORT + count, 39_010],
      ] as const) {
        const last = first + count - 1;
        const flags = ["-d", "--name", "holder", "-p", `${first}-${last}:${first}-${last}`];
        const holder = docker(engine, "run", ...flags, "busybox", "sleep", "100000");
        holding.push(engine);
        try {
          await output(["timeout", String(HOLDER_SECONDS), ...holder]);
        } catch {
          console.log(`    ${name}: ${count} ports were not published in ${HOLDER_SECONDS} s`);
          continue;
        }
        const run = ["run", "--rm", "-p", `${own}:80`, "busybox", "true"];
        contenders.push({ name, once: () => timeCommand(docker(engine, ...run)) });
      }
      return await inTurn(contenders, { rounds: ROUNDS });
    } finally {
      for (const engine of holding) await output(docker(engine, "rm", "-f", "holder"));
    }
  };
}

/** Requests per second to a small web server, one connection each, as a browser's first. */
async function requestsPerSecond(url: string): Promise<number> {
  const started = performance.now();
  for (let index = 0; index < REQUESTS; index += 1) {
    const answer = await fetch(url, { keepalive: false, headers: { connection: "close" } });
    await answer.arrayBuffer();
  }
  return (REQUESTS / (performance.now() - started)) * 1000;
}

/** Host to container: by the published ports, and straight to a container's address over its veth. */
async function requests({ naru, peer }: Bench): Promise<Sample[]> {
  const serve = "echo hello > /index.html; exec httpd -f -p 80 -h /";
  const ports = [
    ["naru", naru, 39_001],
    ["docker", peer, 39_011],
  ] as const;
  try {
    for (const [, engine, port] of ports) {
      const flags = ["-d", "--name", "web", "-p", `${port}:80`];
      await output(docker(engine, "run", ...flags, "busybox", "sh", "-c", serve));
    }
    const format = "{{.NetworkSettings.IPAddress}}";
    const address = await output(docker(naru, "inspect", "-f", format, "web"));
    const published = ports.map(([name, , port]) => ({
      name,
      once: () => requestsPerSecond(`http://127.0.0.1:${port}/`),
    }));
    const bare = { name: "bare veth", once: () => requestsPerSecond(`http://${address}/`) };
    return await inTurn([...published, bare], { rounds: 3, warmUps: 1 });
  } finally {
    for (const [, engine] of ports) await output(docker(engine, "rm", "-f", "web"));
  }
}

export const networkScenarios: readonly Scenario[] = [
  {
    name: "network create and rm",
    unit: "ms",
    budget: "naru < docker",
    run: (bench) => inTurn(both(bench, createAndRemove), { rounds: ROUNDS }),
  },
  {
    name: "network connect and disconnect",
    unit: "ms",
    budget: "naru < docker",
    run: connectAndDisconnect,
  },
  ...[1, 100, 1000].map((count): Scenario => ({
    name: `run -p with ${count} ports published`,
    unit: "ms",
    budget: "does not grow with the ports; naru < docker",
    run: publishWith(count),
  })),
  {
    name: "requests per second to a published port",
    unit: "requests/s",
    budget: "naru > docker, naru >= 0.95 of bare veth",
    run: requests,
  },
];
