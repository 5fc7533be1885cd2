/** Many containers on both engines: what watching them costs, and what listing them takes. */
import { inTurn, output, type Sample, timeCommand } from "./measure.ts";
import type { BenchEngine } from "./peer.ts";
import { type Bench, manyIdle, removeAll, type Scenario } from "./scenarios.ts";
import { costOfStats, costOfWatching } from "./stats.ts";

const WATCHED = 200;
const LISTED = 500;
/** Of those; Debian's Docker takes minutes to start and remove more. */
const RUNNING = 50;

const docker = (engine: BenchEngine, ...args: string[]): string[] => [
  "docker",
  "-H",
  `unix://${engine.socket}`,
  ...args,
];

/** One stats stream for each of 200 containers, by the real client and by the API. */
async function watched(engine: BenchEngine): Promise<Sample[]> {
  try {
    await manyIdle(engine, WATCHED);
    const ids = (await output(docker(engine, "ps", "-q", "--no-trunc"))).split("\n");
    const { socket } = engine;
    const streams: number[] = [];
    const client: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      const measured = { socket, pids: engine.enginePids(), forMs: 5000 };
      // Debian's Docker tells of 200 containers every two seconds.
      const everySecond = engine.name === "naru";
      streams.push(await costOfWatching({ ...measured, ids, everySecond }));
      client.push(await costOfStats({ ...measured, count: WATCHED }));
    }
    return [
      { contender: `${engine.name}, by docker stats`, values: client },
      { contender: `${engine.name}, by the API`, values: streams },
    ];
  } finally {
    await removeAll(engine);
  }
}

/** Without the client: a fresh connection, the whole answer. */
async function timeList({ socket }: BenchEngine): Promise<number> {
  const started = performance.now();
  const answer = await fetch("http://engine/v1.41/containers/json?all=1", { unix: socket });
  const list = (await answer.json()) as unknown[];
  if (list.length < LISTED) throw new Error(`${list.length} of ${LISTED} containers were listed`);
  return performance.now() - started;
}

async function listed({ naru, peer }: Bench): Promise<Sample[]> {
  const engines = [naru, peer];
  try {
    for (const engine of engines) {
      await manyIdle(engine, RUNNING);
      const create = docker(engine, "create", "--network", "none", "busybox", "true");
      for (let made = RUNNING; made < LISTED; made += 5)
        await Promise.all(Array.from({ length: 5 }, () => output(create)));
    }
    return await inTurn(
      engines.flatMap((engine) => [
        { name: `${engine.name}, by the API`, once: () => timeList(engine) },
        {
          name: `${engine.name}, docker ps -a`,
          once: () => timeCommand(docker(engine, "ps", "-a")),
        },
      ]),
      { rounds: 9 },
    );
  } finally {
    for (const engine of engines) await removeAll(engine);
  }
}

export const manyScenarios: readonly Scenario[] = [
  {
    name: `${WATCHED} watched: docker stats`,
    unit: "% of a core",
    budget: "naru < 5 %",
    run: async ({ naru, peer }) => [...(await watched(naru)), ...(await watched(peer))],
  },
  {
    name: `ps of ${LISTED} containers`,
    unit: "ms",
    budget: "naru <= 30 ms by the API",
    run: listed,
  },
];
