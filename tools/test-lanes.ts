/**
 * Which suites run beside which. A few lanes take from one list, so that the waiting of one test is the computing of
 * another: most of what an end to end test lasts, it waits. What shares a thing of the host's with another takes turns.
 */
import { readFileSync } from "node:fs";

export interface Suite {
  readonly name: string;
  readonly files: readonly string[];
  /** Limit of one test. */
  readonly timeoutMs: number;
  /** Things of the host's that it uses: no other suite with one of them runs meanwhile. */
  readonly uses: readonly string[];
  /** Whether it needs what is fetched while the others run. */
  readonly isLate: boolean;
}

/** Suites at a time. Two thirds of a suite's time is waiting; more lanes than this make a machine of two cores late. */
const LANES = 3;
const UNIT_TIMEOUT_MS = 120_000;
const WHOLE_TIMEOUT_MS = 300_000;

/** What a test says when it uses a thing of the host's under a name that another could use as well. */
const SHARED: Readonly<Record<string, RegExp>> = {
  "address ranges": /\b\d+\.\d+\.\d+\.\d+\/\d|\b[0-9a-f:]+::\/\d/,
  accounts: /\/etc\/sub[ug]id/,
  "real-time shares": /cpu-rt-runtime|CpuRealtime/,
};
const LATE = /buildx|debian|compose|dist\/peer/;

/** They begin first, in this order: a long one that began last would run alone at the end. */
const LONGEST = [
  "crash-matrix",
  "build-debian",
  "live",
  "cli",
  "package",
  "buildx-attested",
  "crash",
  "build-crash",
];

/** The suites of these patterns in the order in which lanes take them: units, long ones, what takes turns, the others. */
export function suitesOf(patterns: readonly string[]): Suite[] {
  const wanted = (file: string) =>
    patterns.length === 0 || patterns.some((pattern) => file.includes(pattern));
  const files = (glob: string) => [...new Bun.Glob(glob).scanSync(".")].filter(wanted).toSorted();
  const rooms = new Map<string, string[]>();
  for (const file of files("src/**/*.test.ts")) {
    const area = file.split("/").slice(0, 3).join("/");
    rooms.set(area, [...(rooms.get(area) ?? []), file]);
  }
  const units = [...rooms].map(([name, found]): Suite => {
    return { name, files: found, timeoutMs: UNIT_TIMEOUT_MS, uses: ["units"], isLate: false };
  });
  return [...units, ...files("tests/**/*.test.ts").map(whole).toSorted(byRank)];
}

function whole(file: string): Suite {
  const text = readFileSync(file, "utf8");
  const uses = Object.keys(SHARED).filter((thing) => SHARED[thing]?.test(text));
  return {
    name: file,
    files: [file],
    timeoutMs: WHOLE_TIMEOUT_MS,
    uses,
    isLate: LATE.test(text),
  };
}

const byRank = (one: Suite, other: Suite): number => rankOf(one) - rankOf(other);

function rankOf({ name, uses }: Suite): number {
  const long = LONGEST.findIndex((part) => name.endsWith(`/${part}.test.ts`));
  return long >= 0 ? long : LONGEST.length + (uses.length > 0 ? 0 : 1);
}

/**
 * Runs every suite once.
 * @param run gets the lane's number as well
 * @param fetched what late suites wait for
 */
export async function runInLanes<Result>(
  suites: readonly Suite[],
  run: (suite: Suite, lane: number) => Promise<Result>,
  fetched: Promise<unknown>,
): Promise<Result[]> {
  const results: Result[] = [];
  const running = new Set<Suite>();
  let waiting = [...suites];
  let isFetched = false;
  let news = Promise.withResolvers<void>();
  const tell = () => {
    news.resolve();
    news = Promise.withResolvers();
  };
  const fetching = fetched.finally(() => {
    isFetched = true;
    tell();
  });
  const mayRun = ({ uses, isLate }: Suite) =>
    (isFetched || !isLate) &&
    [...running].every((other) => !uses.some((thing) => other.uses.includes(thing)));
  const lane = async (_: unknown, number: number) => {
    while (waiting.length > 0) {
      const next = waiting.find(mayRun);
      if (next === undefined) {
        await news.promise;
        continue;
      }
      waiting = waiting.filter((suite) => suite !== next);
      running.add(next);
      results.push(await run(next, number));
      running.delete(next);
      tell();
    }
  };
  await Promise.all([fetching, ...Array.from({ length: LANES }, lane)]);
  return results;
}
