import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

import { openStore, type Store } from "#engine/store";

import { type EngineEvent, eventMigrations, openEventBus } from "./index.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function temporaryStore(): { store: Store; path: string } {
  const folder = mkdtempSync("/tmp/naru-test-events-");
  const path = join(folder, "naru.db");
  const store = openStore({ path, migrations: eventMigrations });
  cleanups.push(() => rmSync(folder, { recursive: true }));
  cleanups.push(() => store[Symbol.dispose]());
  return { store, path };
}

const happening = (action: string): Omit<EngineEvent, "timeNano"> => ({
  type: "container",
  action,
  actorId: "abc",
  attributes: { name: "web" },
});
const ALL = { sinceNano: 0n, untilNano: 1n << 62n };
const actions = (events: Iterable<EngineEvent>): string[] =>
  [...events].map(({ action }) => action);

test("a reader hears what was published after it subscribed, before it first asks", async () => {
  const bus = openEventBus({ store: temporaryStore().store });
  const abort = new AbortController();
  bus.publish(happening("create"));
  const live = bus.subscribe(abort.signal);
  bus.publish(happening("start"));
  bus.publish(happening("die"));
  abort.abort();
  const heard: string[] = [];
  for await (const event of live) heard.push(event.action);
  expect(heard).toEqual(["start", "die"]);
});

test("the past is told oldest first, with times that never repeat, across a restart", () => {
  const { store } = temporaryStore();
  const stopped = { now: () => new Date(1000), sleep: () => Promise.resolve() };
  {
    using bus = openEventBus({ store, clock: stopped });
    bus.publish(happening("create"));
    bus.publish(happening("start"));
  }
  const bus = openEventBus({ store, clock: stopped });
  bus.publish(happening("die"));
  const past = [...bus.past(ALL)];
  expect(actions(past)).toEqual(["create", "start", "die"]);
  expect(past.map(({ timeNano }) => timeNano)).toEqual([
    1_000_000_000n,
    1_000_000_001n,
    1_000_000_002n,
  ]);
  expect(actions(bus.past({ sinceNano: 1_000_000_001n, untilNano: 1_000_000_001n }))).toEqual([
    "start",
  ]);
});

test("a corrected clock keeps the order of times, one that was wrong by far is believed when it is right", () => {
  const { store } = temporaryStore();
  let nowMs = Date.UTC(2038, 0, 19);
  const clock = { now: () => new Date(nowMs), sleep: () => Promise.resolve() };
  using bus = openEventBus({ store, clock });
  bus.publish(happening("create"));
  nowMs -= 5000;
  bus.publish(happening("start"));
  nowMs = Date.UTC(2026, 10, 23);
  bus.publish(happening("die"));
  expect([...bus.past(ALL)].map(({ action, timeNano }) => [action, timeNano])).toEqual([
    ["create", BigInt(Date.UTC(2038, 0, 19)) * 1_000_000n],
    ["start", BigInt(Date.UTC(2038, 0, 19)) * 1_000_000n + 1n],
    ["die", BigInt(nowMs) * 1_000_000n],
  ]);
});

test("an event shares the transaction of the next record instead of making its own", () => {
  const { store } = temporaryStore();
  const bus = openEventBus({ store });
  bus.publish(happening("create"));
  const count = () => store.query<{ n: number }>("SELECT count(*) AS n FROM events").get()?.n;
  expect(count()).toBe(0);
  store.transact(() => null);
  expect(count()).toBe(1);
});

test("a rolled back transaction loses no event", () => {
  const { store } = temporaryStore();
  const bus = openEventBus({ store });
  bus.publish(happening("create"));
  expect(() =>
    store.transact(() => {
      throw new Error("no");
    }),
  ).toThrow("no");
  expect(actions(bus.past(ALL))).toEqual(["create"]);
});

test("only the newest events are kept", () => {
  const { store } = temporaryStore();
  using bus = openEventBus({ store });
  for (let index = 0; index < 21_500; index += 1) {
    bus.publish(happening(`${index}`));
    if (index % 500 === 499) bus.flush();
  }
  const past = actions(bus.past(ALL));
  expect(past.length).toBeLessThanOrEqual(21_000);
  expect(past.length).toBeGreaterThanOrEqual(20_000);
  expect(past.at(-1)).toBe("21499");
});

test("a reader that lags too far behind is cut off with a sentence", async () => {
  const bus = openEventBus({ store: temporaryStore().store });
  const live = bus.subscribe(new AbortController().signal);
  for (let index = 0; index < 9000; index += 1) bus.publish(happening("start"));
  const read = async () => {
    for await (const event of live) expect(event.action).toBe("start");
  };
  const failure: unknown = await read().catch((thrown: unknown) => thrown);
  expect(String(failure)).toContain("events came faster than they were read");
});

test("events of large labels are bounded in bytes, on disk and for a reader that lags", async () => {
  const { store } = temporaryStore();
  using bus = openEventBus({ store });
  const live = bus.subscribe(new AbortController().signal);
  const attributes = { label: "x".repeat(1024 * 1024) };
  for (let index = 0; index < 120; index += 1) {
    bus.publish({ ...happening(`${index}`), attributes });
    bus.flush();
  }
  const { bytes } = store
    .query<{ bytes: number }>("SELECT sum(length(attributes)) AS bytes FROM events")
    .get() ?? { bytes: 0 };
  expect(bytes).toBeLessThan(90 * 1024 * 1024);
  expect(actions(bus.past(ALL)).at(-1)).toBe("119");
  let heard = 0;
  const read = async () => {
    for await (const _ of live) heard += 1;
  };
  expect(String(await read().catch((thrown: unknown) => thrown))).toContain("faster than");
  expect(heard).toBeLessThan(20);
});

test("events older than a month go with the next ones", () => {
  const { store } = temporaryStore();
  let now = new Date(1_000_000);
  const clock = { now: () => now, sleep: () => Promise.resolve() };
  {
    using bus = openEventBus({ store, clock });
    bus.publish(happening("old"));
  }
  now = new Date(1_000_000 + 31 * 24 * 3600 * 1000);
  using bus = openEventBus({ store, clock });
  bus.publish(happening("new"));
  expect(actions(bus.past(ALL))).toEqual(["new"]);
});

test("readers that come and go at any moment hear past and present without a gap, and none waits for ever", async () => {
  const bus = openEventBus({ store: temporaryStore().store });
  const TOTAL = 3000;
  let published = 0;
  /** As the API reads: subscribed first, then the past, then what is new. */
  const read = async (breaksOffAfter: number): Promise<string[]> => {
    const abort = new AbortController();
    const live = bus.subscribe(abort.signal);
    const heard: string[] = [];
    let last = 0n;
    for (const event of bus.past(ALL)) {
      heard.push(event.action);
      last = event.timeNano;
      if (heard.length % 7 === 0) await Promise.resolve();
    }
    for await (const event of live) {
      if (event.timeNano <= last) continue;
      heard.push(event.action);
      if (heard.length === TOTAL) break;
      // One turn later, in the middle of whatever comes then.
      if (heard.length === breaksOffAfter) setImmediate(() => abort.abort());
    }
    return heard;
  };
  const readers: { breaksOffAfter: number; heard: Promise<string[]> }[] = [];
  while (published < TOTAL) {
    const burst = 1 + ((published * 7919) % 13);
    for (let one = 0; one < burst && published < TOTAL; one += 1) {
      bus.publish(happening(String((published += 1))));
    }
    if (readers.length < 60 && published % 3 === 0) {
      const breaksOffAfter = readers.length % 2 === 0 ? Infinity : published + burst;
      readers.push({ breaksOffAfter, heard: read(breaksOffAfter) });
    }
    await (burst % 2 === 0 ? Promise.resolve() : new Promise(setImmediate));
  }
  for (const { breaksOffAfter, heard } of readers) {
    const list = await heard;
    expect(list).toEqual(Array.from(list, (_, index) => String(index + 1)));
    if (breaksOffAfter === Infinity) expect(list.length).toBe(TOTAL);
  }
});
