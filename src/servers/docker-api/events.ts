/** `GET /events`: what happened, then what happens, until a moment or until the client goes away. */
import { breathe, invalid } from "#base";
import type { EngineEvent, EventBus } from "#engine/events";
import { requireFilters, writeChunk } from "#wire/http";

import { takeHello } from "./beginnings.ts";
import type { Call } from "./call.ts";
import { encodeEvent, EVENT_FILTERS, passes } from "./encode/event.ts";
import { parseInstant } from "./instants.ts";
import type { Routes } from "./routes.ts";

const NANO_PER_MS = 1_000_000n;
/** The longest that a timer can wait: 24.8 days. */
const TIMER_LIMIT_MS = 2 ** 31 - 1;

/** How many clients listen now, for `info`. */
export interface Listeners {
  count: number;
}

export function eventRoutes(bus: EventBus, listeners: Listeners): Routes {
  return {
    "GET /events": async (call) => {
      listeners.count += 1;
      try {
        await events(call, bus);
      } finally {
        listeners.count -= 1;
      }
    },
  };
}

async function events(call: Call, bus: EventBus): Promise<void> {
  const { query } = call;
  const filters = requireFilters(query.filters(), EVENT_FILTERS);
  const until = parseInstant(query.text("until"), "until");
  const since = parseInstant(query.text("since"), "since") ?? (until === null ? hello(call) : null);
  if (until !== null && until < (since ?? until)) {
    throw invalid(
      `\`since\` time (${query.text("since")}) cannot be after \`until\` time (${query.text("until")})`,
    );
  }
  const now = BigInt(Date.now()) * NANO_PER_MS;
  const over = until !== null && until <= now;
  using timer = endAt(over ? null : until, now);
  const signal = AbortSignal.any([call.signal, timer.signal]);

  // Heard from here on: nothing falls between the past and the present.
  const live = over ? null : bus.subscribe(signal);
  const sink = call.begin("application/json");
  const tell = (event: EngineEvent): Promise<boolean> | true =>
    passes(event, filters) ? writeChunk(sink, encodeEvent(event)) : true;

  let last = 0n;
  if (since !== null || until !== null) {
    for (const event of bus.past({
      sinceNano: since ?? 0n, // As in Docker, an end at 0 is no end for what has happened.
      untilNano: until || LAST_NANO,
    })) {
      last = event.timeNano;
      // None of many may be meant for this client, and it may read as fast as they come.
      await breathe();
      if (!(await tell(event))) return;
    }
  }
  for await (const event of live ?? []) {
    if (event.timeNano <= last || event.timeNano < (since ?? 0n)) continue;
    if (until !== null && event.timeNano > until) break;
    if (!(await tell(event))) return;
  }
  sink.end();
}

/** When a client said hello that has asked for nothing since; null otherwise. */
function hello(call: Call): bigint | null {
  const atMs = takeHello(call.request.socket);
  return atMs === null ? null : BigInt(atMs) * NANO_PER_MS;
}

const LAST_NANO = 2n ** 63n - 1n;

/** A signal that aborts at `until`; never for null. */
function endAt(until: bigint | null, now: bigint): Disposable & { signal: AbortSignal } {
  const abort = new AbortController();
  if (until === null) return { signal: abort.signal, [Symbol.dispose]: () => {} };
  const delayMs = Number((until - now) / NANO_PER_MS);
  const timer = setTimeout(() => abort.abort(), Math.min(delayMs, TIMER_LIMIT_MS));
  return { signal: abort.signal, [Symbol.dispose]: () => clearTimeout(timer) };
}
