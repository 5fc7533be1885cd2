import { expect, test } from "bun:test";

import { SerialQueue } from "./queue.ts";

test("what is patient runs after everything else, one at a time and in order", async () => {
  const queue = new SerialQueue();
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const step = (name: string, until?: Promise<void>) => async () => {
    order.push(`${name} begins`);
    await until;
    order.push(`${name} ends`);
  };
  const first = queue.runWhenIdle(step("copy 1", gate.promise));
  const second = queue.runWhenIdle(step("copy 2"));
  const third = queue.runWhenIdle(step("copy 3"));
  await new Promise((resolve) => setImmediate(resolve));
  expect([queue.isAwaited, queue.isAwaitedPatiently]).toEqual([false, true]);
  const start = queue.run(step("start"));
  expect(queue.isAwaited).toBe(true);
  gate.resolve();
  await Promise.all([first, second, third, start]);
  expect(order).toEqual(
    ["copy 1", "start", "copy 2", "copy 3"].flatMap((name) => [`${name} begins`, `${name} ends`]),
  );
  expect([queue.isAwaited, queue.isAwaitedPatiently]).toEqual([false, false]);
});

test("what fails keeps nobody from going on", async () => {
  const queue = new SerialQueue();
  const failed = queue.run(() => Promise.reject(new Error("no")));
  const patient = queue.runWhenIdle(() => Promise.resolve("yes"));
  expect(await failed.catch((cause: unknown) => String(cause))).toBe("Error: no");
  expect(await patient).toBe("yes");
});
