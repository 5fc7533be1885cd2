import { afterEach, expect, test } from "bun:test";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";

import { Readable } from "node:stream";

import { pumpFromSource, pumpToSink, readableOf } from "./index.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** Both ends of a real connection. */
async function connection(): Promise<{ here: Socket; there: Socket }> {
  const folder = mkdtempSync("/tmp/naru-test-streams-");
  const server = createServer({ allowHalfOpen: true });
  server.listen(join(folder, "socket"));
  await once(server, "listening");
  const here = connect({ path: join(folder, "socket"), allowHalfOpen: true });
  const [there] = (await once(server, "connection")) as [Socket];
  cleanups.push(() => rmSync(folder, { recursive: true }));
  cleanups.push(() => server.close());
  cleanups.push(() => void (here.destroy(), there.destroy()));
  return { here, there };
}

function endless(): {
  stream: ReadableStream<Uint8Array>;
  pulled: () => number;
  cancelled: Promise<void>;
} {
  let pulled = 0;
  const cancelled = Promise.withResolvers<void>();
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        pulled += 1;
        controller.enqueue(new Uint8Array(65_536));
      },
      cancel: () => cancelled.resolve(),
    },
    { highWaterMark: 0 },
  );
  return { stream, pulled: () => pulled, cancelled: cancelled.promise };
}

test("a reader that does not read holds the source back, and its going away cancels the source", async () => {
  const { here, there } = await connection();
  there.pause();
  const { stream, pulled, cancelled } = endless();
  const pumping = pumpToSink(stream, here);
  let seen = -1;
  while (seen !== pulled()) {
    seen = pulled();
    for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(seen).toBeLessThan(64); // 4 MiB: kernel buffers and one high-water mark
  there.destroy();
  expect(await pumping).toBe(false);
  await cancelled;
});

test("a silent source is cancelled as soon as its reader goes away", async () => {
  const { here } = await connection();
  const cancelled = Promise.withResolvers<void>();
  const silent = new ReadableStream<Uint8Array>({ cancel: () => cancelled.resolve() });
  const pumping = pumpToSink(silent, here);
  here.destroy();
  await cancelled.promise;
  expect(await pumping).toBe(false);
});

test("what is not read is not taken from the connection", async () => {
  const { here, there } = await connection();
  const stream = readableOf(there);
  let sent = 0;
  const send = () => {
    while (here.write(new Uint8Array(65_536))) sent += 1;
  };
  here.on("drain", send);
  send();
  for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  expect(sent).toBeLessThan(64);
  const reader = stream.getReader();
  expect((await reader.read()).value?.length).toBeGreaterThan(0);
  await reader.cancel();
});

test("chunks that are there together are handed on as one, in order and to the last", async () => {
  const source = new Readable({ read: () => undefined });
  const stream = readableOf(source);
  for (let number = 0; number < 1000; number += 1) source.push(Buffer.from(`${number},`));
  source.push(null);
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  expect(pieces.length).toBeLessThan(10);
  const expected = Array.from({ length: 1000 }, (_, number) => `${number},`).join("");
  expect(Buffer.concat(pieces).toString()).toBe(expected);
});

test("half-close ends the input while the output goes on", async () => {
  const { here, there } = await connection();
  const typed: number[] = [];
  const closed = Promise.withResolvers<void>();
  const input = new WritableStream<Uint8Array>({
    write: (chunk) => void typed.push(...chunk),
    close: () => closed.resolve(),
  });
  const pumping = pumpFromSource(there, input);
  here.end("hello");
  await closed.promise;
  await pumping;
  expect(Buffer.from(typed).toString()).toBe("hello");
  there.end("still here");
  const [chunk] = (await once(here, "data")) as [Buffer];
  expect(String(chunk)).toBe("still here");
});

test("a process that reads no more stdin leaves the connection alive", async () => {
  const { here, there } = await connection();
  const input = new WritableStream<Uint8Array>({
    write() {
      throw new Error("EPIPE");
    },
  });
  const pumping = pumpFromSource(there, input);
  here.write("one");
  here.write("two");
  here.end();
  await pumping;
  expect(there.destroyed).toBe(false);
});
