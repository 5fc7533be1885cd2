import { expect, test } from "bun:test";

import { type BuildEvent, OrderedEvents } from "./events.ts";

const output = (text: string): BuildEvent => ({ type: "output", step: 1, text, stderr: false });

test("stages that run at once are told one after the other, nothing lost", async () => {
  const told: string[] = [];
  const events = new OrderedEvents(
    (event) => void (event.type === "output" && told.push(event.text)),
  );
  await events.tell(1, output("b1"));
  await events.tell(0, output("a1"));
  await events.tell(1, output("b2"));
  await events.finish(2);
  await events.finish(0);
  await events.tell(1, output("b3"));
  await events.finish(1);
  expect(told).toEqual(["a1", "b1", "b2", "b3"]);
});

test("who is ahead and prints too much waits for its turn, or for the end", async () => {
  const events = new OrderedEvents(() => undefined);
  const large = output("x".repeat(5 * 1024 * 1024));
  let isThrough = false;
  const first = events.tell(1, large).then(() => (isThrough = true));
  await new Promise((resolve) => setImmediate(resolve));
  expect(isThrough).toBe(false);
  await events.finish(0);
  await first;
  const second = events.tell(2, large);
  events.end();
  await second;
});
