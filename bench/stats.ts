/** What watching costs: `docker stats` over many containers, each a stream of the API as the CLI opens them. */
import { readFileSync } from "node:fs";

/** The kernel counts in hundredths of a second for user space, on every architecture. */
const MS_PER_TICK = 10;

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
}): Promise<number> {
  const { socket, ids, pids, forMs } = request;
  const abort = new AbortController();
  let samples = 0;
  const readers = ids.map(async (id) => {
    const answer = await fetch(`http://engine/v1.51/containers/${id}/stats`, {
      unix: socket,
      signal: abort.signal,
    });
    for await (const _ of answer.body ?? []) samples += 1;
  });
  const all = Promise.allSettled(readers);
  // The first samples open the files: they are no part of the running cost.
  while (samples < ids.length * 2) await Bun.sleep(50);
  const [before, from, started] = [cpuMsOf(pids), samples, performance.now()];
  await Bun.sleep(forMs);
  const tookMs = performance.now() - started;
  const used = cpuMsOf(pids) - before;
  const expected = (ids.length * tookMs) / 1000;
  const seen = samples - from;
  abort.abort();
  await all;
  if (seen < expected * 0.8) throw new Error(`${seen} samples came of ${Math.round(expected)}`);
  return (used / tookMs) * 100;
}
