import { expect, test } from "bun:test";

import { piecesStream } from "./pieces.ts";
import { unstalled } from "./stall.ts";

function* endless(): Generator<Uint8Array, void, void> {
  for (;;) yield new Uint8Array(1024);
}

test("a reader that stands still loses its view once someone waits for it, and not before", async () => {
  const closed = Promise.withResolvers<void>();
  let patience: number | null = null;
  let open = true;
  const asked = Promise.withResolvers<void>();
  const owner = {
    patienceMs: () => {
      asked.resolve();
      return patience;
    },
    lookMs: 2,
    [Symbol.dispose]: () => {
      open = false;
      closed.resolve();
    },
  };
  const reader = piecesStream(endless(), owner).getReader();
  await reader.read();
  await asked.promise;
  expect(open).toBe(true);
  await reader.read();
  patience = 16;
  await closed.promise;
  const failure = await reader.read().catch((error: unknown) => String(error));
  expect(failure).toContain("the copy was given up");
});

test("a writer that stands still is given up too; one that goes on is not", async () => {
  async function* slow(count: number): AsyncGenerator<number> {
    for (let index = 0; index < count; index += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      yield index;
    }
  }
  const patience = { patienceMs: () => 10_000, lookMs: 2 };
  expect(await Array.fromAsync(unstalled(slow(5), patience))).toEqual([0, 1, 2, 3, 4]);
  const silent: AsyncIterable<number> = {
    [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }),
  };
  const given = Array.fromAsync(unstalled(silent, { ...patience, patienceMs: () => 16 }));
  expect(await given.catch((error: unknown) => String(error))).toContain("its client stood still");
});
