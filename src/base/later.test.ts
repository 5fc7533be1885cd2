import { expect, jest, test } from "bun:test";

import { later } from "./later.ts";

test("work runs after its delay, at once without one, and once whoever asks", async () => {
  jest.useFakeTimers();
  let runs = 0;
  const work = () => Promise.resolve((runs += 1));
  const waiting = later(10, work);
  expect(runs).toBe(0);
  jest.advanceTimersByTime(11);
  expect(await waiting.now()).toBe(1);
  const wanted = later(10, work);
  expect(await wanted.now()).toBe(2);
  jest.advanceTimersByTime(11);
  expect(await wanted.done).toBe(2);
  expect(await later(0, work).done).toBe(3);
  jest.useRealTimers();
});

test("a failure is the asker's", async () => {
  const failing = later(0, () => Promise.reject(new Error("no")));
  expect(failing.done).rejects.toThrow("no");
  expect(failing.now()).rejects.toThrow("no");
});
