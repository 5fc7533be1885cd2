import { expect, test } from "bun:test";

import { breathe, othersFirst, ownTurn } from "./turns.ts";

/** Holds the loop as long as work of a turn may, and longer. */
function hold(): void {
  const end = performance.now() + 6;
  while (performance.now() < end);
}

test("work of many together holds the loop no longer than work of one", async () => {
  let turns = 0;
  const counter = { isOver: false };
  const count = async () => {
    while (!counter.isOver) {
      await new Promise((resolve) => setImmediate(resolve));
      turns += 1;
    }
  };
  const counting = count();
  await othersFirst();
  const before = turns;
  const work = async () => {
    for (let piece = 0; piece < 4; piece += 1) {
      await breathe();
      hold();
    }
  };
  await Promise.all([work(), work(), work()]);
  counter.isOver = true;
  await counting;
  // Of twelve pieces none stands beside another of the same worker without others having had a turn.
  expect(turns - before).toBeGreaterThanOrEqual(4);
});

test("of lists that are asked for at once each has a turn of its own", async () => {
  const order: string[] = [];
  const list = async (name: string) => {
    await ownTurn();
    order.push(name);
    setImmediate(() => order.push("others"));
    hold();
  };
  await Promise.all(["a", "b", "c"].map(list));
  expect(order.filter((name) => name !== "others")).toEqual(["a", "b", "c"]);
  expect(order.indexOf("others")).toBeLessThan(order.indexOf("c"));
});

test("nobody waits where the loop has just been free", async () => {
  await othersFirst();
  expect(breathe()).toBeUndefined();
});
