/** One TCP stream as fast as it goes: between containers, and through a published port, beside a bare veth. */
import { type Contender, inTurn, output, type Sample } from "./measure.ts";
import type { BenchEngine } from "./peer.ts";
import type { Bench, Scenario } from "./scenarios.ts";

const BYTES = 2_000_000_000;
const BLOCK = "262144";
const PORT = 5201;
const PUBLISHED = 39_002;
const ROUNDS = 5;
const BARE = ["naru-test-bench-a", "naru-test-bench-b"] as const;

const docker = (engine: BenchEngine, ...args: string[]): Promise<string> =>
  output(["docker", "-H", `unix://${engine.socket}`, ...args]);

const inside = (pid: string): string[] => ["nsenter", "-t", pid, "-n"];

/** @param from,to words before a command: where it runs. @returns megabytes per second */
async function stream(
  from: readonly string[],
  to: readonly string[],
  address: string,
): Promise<number> {
  const server = Bun.spawn(
    [...to, "socat", "-d", "-d", "-u", "-b", BLOCK, `TCP-LISTEN:${PORT},reuseaddr`, "/dev/null"],
    { stdin: "ignore", stdout: "ignore", stderr: "pipe" },
  );
  const reader = server.stderr.getReader();
  let log = "";
  while (!log.includes("listening on")) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`socat ended: ${log}`);
    log += new TextDecoder().decode(value);
  }
  const source = `/dev/zero,readbytes=${BYTES}`;
  const started = performance.now();
  await output([...from, "socat", "-u", "-b", BLOCK, source, `TCP:${address}`]);
  await server.exited;
  return BYTES / 1e3 / (performance.now() - started);
}

/** Two namespaces and one veth between them, which is the least that it can cost. */
async function makeBare(): Promise<void> {
  const [a, b] = BARE;
  for (const command of [
    `ip netns add ${a}`,
    `ip netns add ${b}`,
    `ip -n ${a} link add v0 type veth peer name v0 netns ${b}`,
    `ip -n ${a} addr add 198.18.0.1/24 dev v0`,
    `ip -n ${b} addr add 198.18.0.2/24 dev v0`,
    `ip -n ${a} link set v0 up`,
    `ip -n ${b} link set v0 up`,
  ]) {
    await output(command.split(" "));
  }
}

async function removeBare(): Promise<void> {
  for (const name of BARE) await output(["ip", "netns", "delete", name]);
}

async function betweenContainers({ naru, peer }: Bench): Promise<Sample[]> {
  await makeBare();
  const engines = [
    { name: "naru", engine: naru },
    { name: "docker", engine: peer },
  ];
  try {
    const contenders = [
      {
        name: "bare veth",
        once: () =>
          stream(
            ["ip", "netns", "exec", BARE[0]],
            ["ip", "netns", "exec", BARE[1]],
            `198.18.0.2:${PORT}`,
          ),
      },
    ];
    for (const { name, engine } of engines) {
      const pids: string[] = [];
      for (const own of ["from", "to"]) {
        await docker(engine, "run", "-d", "--name", own, "busybox", "sleep", "100000");
        pids.push(await docker(engine, "inspect", "-f", "{{.State.Pid}}", own));
      }
      const [from = "", to = ""] = pids.map(String);
      const address = await docker(engine, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "to");
      contenders.push({
        name,
        once: () => stream(inside(from), inside(to), `${address}:${PORT}`),
      });
    }
    return await inTurn(contenders, { rounds: ROUNDS });
  } finally {
    await removeBare();
    for (const { engine } of engines) await docker(engine, "rm", "-f", "from", "to");
  }
}

async function throughPort({ naru, peer }: Bench): Promise<Sample[]> {
  const engines = [
    { name: "naru", engine: naru, port: PUBLISHED },
    { name: "docker", engine: peer, port: PUBLISHED + 10 },
  ];
  try {
    const contenders: Contender[] = [];
    for (const { name, engine, port } of engines) {
      const publish = ["-p", `${port}:${PORT}`];
      await docker(engine, "run", "-d", "--name", "to", ...publish, "busybox", "sleep", "100000");
      const pid = await docker(engine, "inspect", "-f", "{{.State.Pid}}", "to");
      contenders.push({ name, once: () => stream([], inside(pid), `127.0.0.1:${port}`) });
      if (engine !== naru) continue;
      const address = await docker(naru, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "to");
      const once = () => stream([], inside(pid), `${address}:${PORT}`);
      contenders.push({ name: "bare veth", once });
    }
    return await inTurn(contenders, { rounds: ROUNDS });
  } finally {
    for (const { engine } of engines) await docker(engine, "rm", "-f", "to");
  }
}

export const throughputScenarios: readonly Scenario[] = [
  {
    name: "throughput from container to container",
    unit: "MB/s",
    budget: "naru >= docker; the bridge's own cost beside a bare veth",
    run: betweenContainers,
  },
  {
    name: "throughput through a published port",
    unit: "MB/s",
    budget: "naru > docker, naru >= 0.95 of bare veth",
    run: throughPort,
  },
];
