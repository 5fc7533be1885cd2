import { expect, test } from "bun:test";

import type { BuildHistoryStore } from "#engine/build";
import {
  create,
  grpcFailure,
  SolveRequestSchema,
  StatusResponseSchema,
  toBinary,
} from "#wire/grpc";

import { Attachments } from "./attachments.ts";
import { BuildHistory } from "./history.ts";

/** What a store of the engine's does, in memory. */
function fakeStore(): BuildHistoryStore {
  const kept = new Map<
    string,
    { record: Uint8Array; log: Uint8Array; blobs: ReadonlyMap<string, Uint8Array> }
  >();
  return {
    all: () => [...kept].map(([ref, { record }]) => ({ ref, record })),
    log: (ref) => kept.get(ref)?.log ?? null,
    blob: (digest) => [...kept.values()].flatMap(({ blobs }) => blobs.get(digest) ?? [])[0] ?? null,
    save: ({ ref, record, log, blobs = new Map<string, Uint8Array>() }) => {
      const before = kept.get(ref);
      const all = new Map([...(before?.blobs ?? []), ...blobs]);
      kept.set(ref, { record, log: log ?? before?.log ?? new Uint8Array(), blobs: all });
    },
    remove: (ref) => void kept.delete(ref),
  };
}

const log = toBinary(
  StatusResponseSchema,
  create(StatusResponseSchema, { vertexes: [{ name: "said" }] }),
);
const attachments = new Attachments();
const counts = { total: 3, completed: 3, cached: 1, warnings: 0 };
const never = new AbortController().signal;
const all = { ref: "", activeOnly: false, earlyExit: true };
const begin = (history: BuildHistory, ref: string) =>
  history.begin(create(SolveRequestSchema, { ref }));

async function listed(history: BuildHistory, asked = all): Promise<string[]> {
  const found: string[] = [];
  for await (const { type, record } of history.listen(asked, never)) {
    found.push(`${type} ${record?.ref} ${record?.error?.message ?? ""}`.trim());
  }
  return found;
}

test("builds are told with how they went, and are forgotten when that is asked", async () => {
  const history = new BuildHistory(fakeStore());
  begin(history, "one");
  begin(history, "two");
  history.describe("one", { target: "app" });
  history.end("one", { counts, failure: null, response: { "image.name": "x" }, log, attachments });
  history.end("two", { counts, failure: grpcFailure(2, "bad"), response: {}, log, attachments });
  begin(history, "three");
  expect(await listed(history)).toEqual(["1 one", "1 two bad", "0 three"]);
  expect(await listed(history, { ...all, activeOnly: true })).toEqual(["0 three"]);
  expect(await listed(history, { ...all, ref: "one" })).toEqual(["1 one"]);
  expect(history.update("one", { pinned: false, isGone: true })).toBe(true);
  expect(history.update("one", { pinned: false, isGone: true })).toBe(false);
  expect(await listed(history)).toEqual(["1 two bad", "0 three"]);
});

test("what happens is told to who listens, until they go", async () => {
  const history = new BuildHistory(fakeStore());
  const abort = new AbortController();
  const events = history.listen({ ...all, earlyExit: false }, abort.signal);
  const first = events.next();
  begin(history, "one");
  expect((await first).value).toMatchObject({ type: 0, record: { ref: "one" } });
  const second = events.next();
  history.end("one", { counts, failure: null, response: {}, log, attachments });
  expect((await second).value).toMatchObject({ type: 1, record: { numCachedSteps: 1 } });
  const third = events.next();
  abort.abort();
  expect((await third).done).toBe(true);
});

test("only the last and the latest builds are remembered, and those that were pinned", async () => {
  const ended = (history: BuildHistory, ref: string) => {
    begin(history, ref);
    history.end(ref, { counts, failure: null, response: {}, log, attachments });
  };
  const young = new BuildHistory(fakeStore());
  for (let at = 0; at < 100; at += 1) ended(young, String(at));
  expect(await listed(young)).toHaveLength(100);
  // An age that is over at once: counted in whole seconds.
  const history = new BuildHistory(fakeStore(), { maxEntries: 50, maxAgeMs: -5000 });
  begin(history, "pinned");
  history.update("pinned", { pinned: true, isGone: false });
  history.end("pinned", { counts, failure: null, response: {}, log, attachments });
  for (let at = 0; at < 100; at += 1) ended(history, String(at));
  begin(history, "last");
  const refs = await listed(history);
  // Those that ended, the pinned one, and the one that is under way.
  expect(refs).toHaveLength(52);
  expect(refs[0]).toBe("1 pinned");
  expect(refs.at(-1)).toBe("0 last");
});

test("what is over is known after a start, with what it said; what was under way is not", async () => {
  const store = fakeStore();
  const history = new BuildHistory(store);
  begin(history, "over");
  history.end("over", { counts, failure: null, response: {}, log, attachments });
  history.update("over", { pinned: true, isGone: false });
  begin(history, "cut off");
  expect(history.log("cut off")).toBe(null);
  store.save({ ref: "damaged", record: new Uint8Array([0xff]), log: null });
  const next = new BuildHistory(store);
  expect(await listed(next)).toEqual(["1 over"]);
  expect(next.log("over")?.vertexes?.[0]?.name).toBe("said");
  next.update("over", { pinned: false, isGone: true });
  expect(store.all()).toEqual([]);
});
