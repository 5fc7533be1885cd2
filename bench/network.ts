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

/** `run -p` with so many ports published already. */
function publishWith(count: number): Scenario["run"] {
  return async ({ naru }) => {
    const last = FIRST_PORT + count - 1;
    const ports = `${FIRST_PORT}-${last}:${FIRST_PORT}-${last}`;
    const holder = ["run", "-d", "--name", "holder", "-p", ports, "busybox", "sleep", "100000"];
    await output(docker(naru, ...holder));
    const once = () =>
      timeCommand(docker(naru, "run", "--rm", "-p", "39000:80", "busybox", "true"));
    try {
      return await inTurn([{ name: "naru", once }], { rounds: ROUNDS });
    } finally {
      await output(docker(naru, "rm", "-f", "holder"));
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

/** Host to container: by the published port, and straight to the container's address over its veth. */
async function requests({ naru }: Bench): Promise<Sample[]> {
  const serve = "echo hello > /index.html; exec httpd -f -p 80 -h /";
  const flags = ["-d", "--name", "web", "-p", "39001:80"];
  await output(docker(naru, "run", ...flags, "busybox", "sh", "-c", serve));
  const format = "{{.NetworkSettings.IPAddress}}";
  const address = await output(docker(naru, "inspect", "-f", format, "web"));
  try {
    return await inTurn(
      [
        { name: "published port", once: () => requestsPerSecond("http://127.0.0.1:39001/") },
        { name: "bare veth", once: () => requestsPerSecond(`http://${address}/`) },
      ],
      { rounds: 3, warmUps: 1 },
    );
  } finally {
    await output(docker(naru, "rm", "-f", "web"));
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
    budget: "does not grow with the ports",
    run: publishWith(count),
  })),
  {
    name: "requests per second to a published port",
    unit: "requests/s",
    budget: "published >= 0.95 of bare veth",
    run: requests,
  },
];
