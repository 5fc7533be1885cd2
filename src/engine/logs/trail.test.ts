import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readlinkSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

import { openLogWriter, readLog } from "./index.ts";

const bytes = (content: string) => new TextEncoder().encode(content);
const MAX_BYTES = 4000;

function temporaryLog(options: { readonly maxFiles: number; readonly compress?: boolean }) {
  const folder = mkdtempSync("/tmp/naru-test-trail-");
  const path = join(folder, "box-json.log");
  let last = 0;
  const log = { path, maxSizeBytes: MAX_BYTES, compress: false, attributes: {}, ...options };
  const writer = openLogWriter(log);
  return {
    path,
    writer,
    /** Writes numbered lines until so many files have been begun anew. */
    rotate: (times: number) => {
      for (let count = 0; count < times; count += 1) {
        for (let before = -1, size = 0; size > before; size = statSync(path).size) {
          before = size;
          writer.write("stdout", bytes(`${(last += 1)}\n`));
        }
      }
    },
    lastLine: () => last,
    [Symbol.dispose]: () => {
      writer.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const everything = { stdout: true, stderr: true, tail: null, since: null, until: null };

/** How often this process has a file of a log open: by its name, or gone already. */
const opened = (path: string, state: "in use" | "gone") =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return state === "in use"
        ? target === path
        : target.startsWith(dirname(path)) && target.endsWith("(deleted)");
    } catch {
      return false;
    }
  }).length;

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** A follower that reads nothing until it is told to. */
function openFollower(path: string) {
  const missed: number[] = [];
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const batches = readLog({ ...everything, path, ended, onMissed: (files) => missed.push(files) });
  const numbers: number[] = [];
  const one = async () => {
    const { done, value } = await batches.next();
    for (const entry of value ?? []) numbers.push(Number(Buffer.from(entry.bytes).toString()));
    return done !== true;
  };
  return {
    missed,
    numbers,
    one,
    rest: async () => {
      end();
      while (await one());
    },
  };
}

const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

for (const maxFiles of [1, 2]) {
  test(`a follower that is held up for a while loses nothing of ${maxFiles} kept files`, async () => {
    using log = temporaryLog({ maxFiles });
    log.rotate(1);
    const follower = openFollower(log.path);
    await follower.one();
    for (let count = 1; count <= 20; count += 1) {
      log.rotate(1);
      // The writer has it open, and the follower has seen it.
      await until(() => opened(log.path, "in use") >= 2);
    }
    await follower.rest();
    expect(follower.missed).toEqual([]);
    const [first = 0] = follower.numbers;
    expect(follower.numbers).toEqual(upTo(log.lastLine()).slice(first - 1));
    expect(opened(log.path, "gone")).toBe(0);
  });
}

for (const compress of [false, true]) {
  test(`a follower that is slower than what is kept is told how much it missed, compress ${compress}`, async () => {
    using log = temporaryLog({ maxFiles: 3, compress });
    log.rotate(1);
    const follower = openFollower(log.path);
    await follower.one();
    // Within one turn of the loop: nobody can open what comes.
    log.rotate(10);
    const before = follower.numbers.length;
    await follower.rest();
    const [files = 0, ...more] = follower.missed;
    expect(more).toEqual([]);
    expect(files).toBeGreaterThan(0);
    const gap = follower.numbers.findIndex((number, index) => number !== index + 1);
    expect(gap).toBeGreaterThanOrEqual(before);
    // What came after the gap is there to the end, in order.
    const after = follower.numbers.slice(gap);
    expect(after).toEqual(upTo(log.lastLine()).slice(-after.length));
  });
}

test("a follower keeps only so much open that rotation has removed", async () => {
  using log = temporaryLog({ maxFiles: 1 });
  log.rotate(1);
  const follower = openFollower(log.path);
  await follower.one();
  for (let count = 0; count < 100; count += 1) {
    log.rotate(1);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(opened(log.path, "gone")).toBeLessThanOrEqual(66);
  await follower.rest();
  expect(follower.numbers.at(-1)).toBe(log.lastLine());
  const lines = follower.numbers.length;
  const gone = log.lastLine() - lines;
  expect(follower.missed.length > 0).toBe(gone > 0);
});

test("a follower that was there before the log knows what it missed", async () => {
  using log = temporaryLog({ maxFiles: 2 });
  rmSync(log.path);
  const follower = openFollower(join(dirname(log.path), "other.log"));
  const options = { maxSizeBytes: MAX_BYTES, compress: false, attributes: {}, maxFiles: 2 };
  const first = follower.one();
  const writer = openLogWriter({ ...options, path: join(dirname(log.path), "other.log") });
  for (let n = 1; n <= 1000; n += 1) writer.write("stdout", bytes(`${n}\n`));
  writer.close();
  await first;
  await follower.rest();
  expect(follower.missed.length).toBe(1);
  expect(follower.numbers.at(-1)).toBe(1000);
});
