/** The resolver in containers of user networks: a name of the network, asked from inside a container. */
import { join } from "node:path";

import { type Contender, inTurn, output, type Sample } from "./measure.ts";
import type { BenchEngine } from "./peer.ts";
import type { Bench, Scenario } from "./scenarios.ts";

const ROUNDS = 5;
const CLIENT = join(import.meta.dir, "dns-client.ts");

const docker = (engine: BenchEngine, ...args: string[]): Promise<string> =>
  output(["docker", "-H", `unix://${engine.socket}`, ...args]);

async function asking({ naru, peer }: Bench, mode: "rate" | "latency"): Promise<Sample[]> {
  const engines = [
    { name: "naru", engine: naru },
    { name: "docker", engine: peer },
  ];
  try {
    const contenders: Contender[] = [];
    for (const { name, engine } of engines) {
      await docker(engine, "network", "create", "benchdns");
      for (const own of ["asked", "asking"]) {
        const flags = ["-d", "--name", own, "--network", "benchdns"];
        await docker(engine, "run", ...flags, "busybox", "sleep", "100000");
      }
      const pid = await docker(engine, "inspect", "-f", "{{.State.Pid}}", "asking");
      const client = ["nsenter", "-t", pid, "-n", process.execPath, CLIENT, mode, "asked"];
      contenders.push({ name, once: async () => Number(await output(client)) });
    }
    return await inTurn(contenders, { rounds: ROUNDS });
  } finally {
    for (const { engine } of engines) {
      await docker(engine, "rm", "-f", "asked", "asking");
      await docker(engine, "network", "rm", "benchdns");
    }
  }
}

export const dnsScenarios: readonly Scenario[] = [
  {
    name: "DNS queries per second in a container",
    unit: "queries/s",
    budget: "naru > docker",
    run: (bench) => asking(bench, "rate"),
  },
  {
    name: "DNS latency in a container",
    unit: "us",
    budget: "naru < docker",
    run: (bench) => asking(bench, "latency"),
  },
];
