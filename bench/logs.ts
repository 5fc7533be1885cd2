/** Logs and events under load. Every number comes with a proof that nothing was lost. */
import { inTurn } from "./measure.ts";
import type { BenchEngine } from "./peer.ts";
import type { Bench, Scenario } from "./scenarios.ts";

const LINES = 500_000;
const WATCHERS = 20;
const LIVES = 400;
/** Of Debian's Docker, whose lives are ten times as long. */
const PEER_LIVES = 100;

const docker = (engine: BenchEngine, ...args: string[]): string[] => [
  "docker",
  "-H",
  `unix://${engine.socket}`,
  ...args,
];

async function run(command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(command.join(" "));
  return text.trim();
}

/** Lines a second from a container, through its log, to `docker logs -f`. @throws when one is missing */
async function follow(engine: BenchEngine, driver: string): Promise<number> {
  const create = ["create", "--log-driver", driver, "busybox", "seq", "1", String(LINES)];
  const id = await run(docker(engine, ...create));
  const started = performance.now();
  await run(docker(engine, "start", id));
  const text = await run(docker(engine, "logs", "-f", id));
  const seconds = (performance.now() - started) / 1000;
  const lines = text.split("\n");
  const isWhole = lines.every((line, index) => line === String(index + 1));
  if (lines.length !== LINES || !isWhole) throw new Error(`${lines.length} of ${LINES} lines came`);
  await run(docker(engine, "rm", id));
  return LINES / seconds;
}

/** Milliseconds a life while as many `docker events` listen. @throws when one missed an event or its place */
async function watched(engine: BenchEngine, lives: number): Promise<number> {
  const watchers = Array.from({ length: WATCHERS }, () => watch(engine, lives));
  const deadline = performance.now() + 30_000;
  while ((await listening(engine)) < WATCHERS) {
    if (performance.now() > deadline) throw new Error("the watchers did not come to listen");
    await Bun.sleep(20);
  }
  const started = performance.now();
  for (let life = 0; life < lives; life += 1) {
    await run(docker(engine, "run", "--rm", "--label", "bench", "busybox", "true"));
  }
  const elapsedMs = performance.now() - started;
  const [first = "", ...others] = await Promise.all(watchers);
  const isAlike = others.every((other) => other === first);
  const events = first.trim().split("\n").length;
  if (!isAlike || events < lives * 4) throw new Error(`${events} events, alike: ${isAlike}`);
  return elapsedMs / lives;
}

async function listening({ socket }: BenchEngine): Promise<number> {
  const answer = await fetch("http://engine/v1.41/info", { unix: socket });
  return ((await answer.json()) as { NEventsListener: number }).NEventsListener;
}

/** What one watcher printed, until the last container is gone. */
async function watch(engine: BenchEngine, lives: number): Promise<string> {
  const filters = ["--filter", "type=container", "--filter", "label=bench"];
  const child = Bun.spawn(docker(engine, "events", ...filters, "--format", "{{json .}}"), {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const decoder = new TextDecoder();
  let text = "";
  let gone = 0;
  let counted = 0;
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk, { stream: true });
    // Whole lines only: an action's name may be in two pieces.
    const end = text.lastIndexOf("\n") + 1;
    gone += text.slice(counted, end).split('"Action":"destroy"').length - 1;
    counted = end;
    if (gone >= lives) break;
  }
  child.kill();
  await child.exited;
  return text;
}

const everyone = ({ naru, peer }: Bench) => [naru, peer];

export const logScenarios: readonly Scenario[] = [
  ...["json-file", "local"].map((driver) => ({
    name: `logs -f of ${LINES} lines, ${driver}`,
    unit: "lines/s",
    budget: "100,000 lines a second to a follower without loss",
    run: async (bench: Bench) => {
      const once = (engine: BenchEngine) => () => follow(engine, driver);
      const contenders = everyone(bench).map((engine) => ({
        name: engine.name,
        once: once(engine),
      }));
      return await inTurn(contenders, { rounds: 3, warmUps: 0 });
    },
  })),
  {
    name: `${WATCHERS} event watchers over ${LIVES} lives`,
    unit: "ms a life",
    budget: "complete and ordered for each",
    run: async ({ naru, peer }) => [
      { contender: "naru", values: [await watched(naru, LIVES)] },
      { contender: "docker", values: [await watched(peer, PEER_LIVES)] },
    ],
  },
];
