import { expect, test } from "bun:test";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";

import { joinStreams } from "./join.ts";

/** A client's connection in memory: what it sends, and what it is sent. */
const client = () => ({ source: new PassThrough(), sink: new PassThrough() });

/** A process that prints this and ends, and how often it was left alone. */
function printing(...pieces: string[]) {
  const detached: true[] = [];
  const output = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
      controller.close();
    },
  });
  return { output, input: null, detach: () => void detached.push(true), detached };
}

test("the farewell comes after the last output, then the connection ends", async () => {
  const { source, sink } = client();
  const streams = printing("one ", "two ");
  const received = text(sink);
  const exit = Promise.withResolvers<Uint8Array>();
  const joined = joinStreams({ sink, source }, streams, () => exit.promise);
  exit.resolve(new TextEncoder().encode("exit 0"));
  await joined;
  expect(await received).toBe("one two exit 0");
  expect(streams.detached).toHaveLength(1);
});

test("a client that leaves while the farewell is awaited is not waited for", async () => {
  const { source, sink } = client();
  const streams = printing("all");
  const asked = Promise.withResolvers<void>();
  const joined = joinStreams({ sink, source }, streams, () => {
    asked.resolve();
    return new Promise(() => undefined); // an exit code that never comes
  });
  sink.resume();
  await asked.promise;
  sink.destroy();
  await joined;
  expect(streams.detached).toHaveLength(1);
});

test("a farewell that fails cuts the connection: the client must not take it for an end", async () => {
  const { source, sink } = client();
  const streams = printing("all");
  sink.resume();
  const joined = joinStreams({ sink, source }, streams, () => Promise.reject(new Error("lost")));
  expect(joined).rejects.toThrow("lost");
  await joined.catch(() => undefined);
  expect(sink.destroyed).toBe(true);
  expect(streams.detached).toHaveLength(1);
});

test("a client that left before the output ended is told nothing more", async () => {
  const { source, sink } = client();
  const streams = printing("all");
  sink.destroy();
  let isAsked = false;
  const farewell = async () => {
    isAsked = true;
    return new Uint8Array();
  };
  await joinStreams({ sink, source }, streams, farewell);
  expect(isAsked).toBe(false);
  expect(streams.detached).toHaveLength(1);
});
