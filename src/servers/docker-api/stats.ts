/** `GET /containers/{id}/stats`: one sample, or one a second for as long as the client listens. */
import { invalid } from "#base";
import type { ContainerService } from "#engine/container";
import type { StatsSample } from "#engine/stats";
import { atLeast } from "#wire/docker";

import type { Call } from "./call.ts";
import { encodeStats, encodeStatsLine } from "./encode/stats.ts";
import type { Routes } from "./routes.ts";

/** Two samples closer than this say little of what is used between them. */
const LEAST_DISTANCE_MS = 500;

type Containers = Pick<ContainerService, "resolve" | "watchStats">;

export function statsRoutes(containers: Containers): Routes {
  return {
    "GET /containers/:id/stats": async (call) => {
      const streamed = call.query.bool("stream", true);
      const oneShot = atLeast(call.version, "1.41") && call.query.bool("one-shot");
      if (streamed && oneShot) throw invalid("cannot have stream=true and one-shot=true");
      const { id } = containers.resolve(call.param("id"));
      await (streamed ? stream(call, containers, id) : once(call, containers, { id, oneShot }));
    },
  };
}

async function stream(call: Call, containers: Containers, id: string): Promise<void> {
  const { signal } = call;
  const sink = call.begin("application/json");
  const { promise, resolve } = Promise.withResolvers<void>();
  let previous: StatsSample | null = null;
  let named = containers.resolve(id);
  const watch = containers.watchStats(id, {
    sampled: (sample) => {
      // A reader that is slow gets fewer samples, and holds no memory.
      if (sink.writableNeedDrain) return;
      named = nameOf(containers, id) ?? named;
      sink.write(encodeStatsLine(named, sample, previous));
      previous = sample;
    },
    removed: resolve,
  });
  signal.addEventListener("abort", () => resolve(), { once: true });
  if (signal.aborted) resolve();
  try {
    await promise;
  } finally {
    watch[Symbol.dispose]();
  }
  sink.end();
}

/** Renamed containers are told by their new name. */
function nameOf(containers: Containers, id: string): ReturnType<Containers["resolve"]> | null {
  try {
    return containers.resolve(id);
  } catch {
    return null; // removed: the watch ends in a moment
  }
}

/** Without one-shot the answer is the second of two samples, so that it can be told what is used between them. */
async function once(
  call: Call,
  containers: Containers,
  { id, oneShot }: { id: string; oneShot: boolean },
): Promise<void> {
  const { signal } = call;
  const { promise, resolve } = Promise.withResolvers<[StatsSample | null, StatsSample | null]>();
  let first: StatsSample | null = null;
  const watch = containers.watchStats(id, {
    sampled: (sample) => {
      if (sample === null || oneShot) resolve([sample, null]);
      else if (first === null) first = sample;
      else if (sample.readAtMs - first.readAtMs >= LEAST_DISTANCE_MS) resolve([sample, first]);
    },
    removed: () => resolve([null, null]),
  });
  const gone = () => resolve([null, null]);
  signal.addEventListener("abort", gone, { once: true });
  try {
    const container = containers.resolve(id);
    const [sample, previous] = await promise;
    call.json(200, encodeStats(container, sample, previous));
  } finally {
    signal.removeEventListener("abort", gone);
    watch[Symbol.dispose]();
  }
}
