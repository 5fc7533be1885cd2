/** What watching costs: `docker stats` over many containers, by the real client, and by the streams that it opens. */
import { readFileSync } from "node:fs";

/** The kernel counts in hundredths of a second for user space, on every architecture. */
const MS_PER_TICK = 10;
/** How long the client may take until it has a sample of each container. */
const FIRST_LIMIT_MS = 60_000;

/** Processor time of some processes until now, in milliseconds. */
function cpuMsOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const line = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
    return sum + (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
  }, 0);
}

/**
 * Opens one stats stream for each container and counts what the engine's processes use meanwhile.
 * @returns per cent of one core
 */
export async function costOfWatching(request: {
  readonly socket: string;
  readonly ids: readonly string[];
  readonly pids: readonly number[];
  readonly forMs: number;
  /** Fails unless each stream told of its container every second, as it should. */
  readonly everySecond: boolean;
}): Promise<number> {
  const { socket, ids, pids, forMs, everySecond } = request;
  const abort = new AbortController();
  let samples = 0;
  const readers = ids.map(async (id) => {
    // A version that the older Docker has too.
    const answer = await fetch(`http://engine/v1.41/containers/${id}/stats`, {
      unix: socket,
      signal: abort.signal,
    });
    for await (const _ of answer.body ?? []) samples += 1;
  });
  const all = Promise.allSettled(readers);
  // The first samples open the files: they are no part of the running cost.
  const deadline = performance.now() + FIRST_LIMIT_MS;
  while (samples < ids.length * 2 && performance.now() < deadline) await Bun.sleep(50);
  const [before, from, started] = [cpuMsOf(pids), samples, performance.now()];
  await Bun.sleep(forMs);
  const tookMs = performance.now() - started;
  const used = cpuMsOf(pids) - before;
  const expected = (ids.length * tookMs) / 1000;
  const seen = samples - from;
  abort.abort();
  await all;
  if (everySecond && seen < expected * 0.8)
    throw new Error(`${seen} samples came of ${Math.round(expected)}`);
  return (used / tookMs) * 100;
}

/**
 * The same while the real `docker stats` draws its table.
 * @returns per cent of one core that the engine's processes use; the client's own work is not theirs
 */
export async function costOfStats(request: {
  readonly socket: string;
  readonly count: number;
  readonly pids: readonly number[];
  readonly forMs: number;
}): Promise<number> {
  const { socket, count, pids, forMs } = request;
  const format = "{{.ID}} {{.MemUsage}}";
  const child = Bun.spawn(
    ["docker", "-H", `unix://${socket}`, "stats", "--no-trunc", "--format", format],
    { stdin: "ignore", stdout: "pipe", stderr: "ignore" },
  );
  const seen = new Map<string, number>();
  const reading = (async () => {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of child.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      // A container that no sample came from yet has dashes.
      for (const [id] of lines.join("\n").matchAll(/[0-9a-f]{64}(?= \d)/g))
        seen.set(id, (seen.get(id) ?? 0) + 1);
    }
  })();
  const deadline = performance.now() + FIRST_LIMIT_MS;
  while (seen.size < count && performance.now() < deadline) await Bun.sleep(50);
  const [before, started] = [cpuMsOf(pids), performance.now()];
  seen.clear();
  await Bun.sleep(forMs);
  const tookMs = performance.now() - started;
  const used = cpuMsOf(pids) - before;
  child.kill();
  await child.exited;
  await reading;
  if (seen.size < count) throw new Error(`${seen.size} of ${count} containers were shown`);
  return (used / tookMs) * 100;
}
