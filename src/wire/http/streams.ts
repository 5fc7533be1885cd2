/**
 * Node's streams, which the HTTP server speaks, and web streams, which the engine speaks: joined without a
 * buffer of our own, so that the slower side always holds back the faster.
 */
import type { Readable, Writable } from "node:stream";

import { joinBytes } from "#base";

/** Resolves true when `sink` takes more, false when it is gone. */
function drained(sink: Writable): Promise<boolean> {
  return new Promise((resolve) => {
    const done = () => {
      sink.off("drain", done);
      sink.off("close", done);
      sink.off("error", done);
      resolve(!isGone(sink));
    };
    sink.on("drain", done);
    sink.on("close", done);
    sink.on("error", done);
  });
}

const isGone = (sink: Writable): boolean => sink.destroyed || sink.closed || sink.writableEnded;

/** Writes and waits until there is room again. @returns false when nobody reads any more */
export async function writeChunk(sink: Writable, chunk: Uint8Array | string): Promise<boolean> {
  if (isGone(sink)) return false;
  return sink.write(chunk) || drained(sink);
}

/**
 * Hands on every chunk of `source`; does not end `sink`. When the reader goes away the source is cancelled at
 * once, also while it is silent.
 * @returns true when the source ended, false when the reader went away
 * @throws what the source threw
 */
export async function pumpToSink(
  source: ReadableStream<Uint8Array>,
  sink: Writable,
): Promise<boolean> {
  const reader = source.getReader();
  const stop = () => {
    // The reader is gone: how the source takes its cancellation interests nobody.
    reader.cancel().catch(() => {});
  };
  sink.once("close", stop);
  if (isGone(sink)) stop(); // it closed before anyone listened
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return !isGone(sink);
      if (!(await writeChunk(sink, value))) {
        stop();
        return false;
      }
    }
  } finally {
    sink.off("close", stop);
  }
}

/**
 * The same stream once its first chunk is there, so that what fails before any byte fails here.
 * @throws what the source threw instead of its first chunk
 */
export async function startedStream(
  source: ReadableStream<Uint8Array>,
): Promise<ReadableStream<Uint8Array>> {
  const reader = source.getReader();
  let first: Awaited<ReturnType<typeof reader.read>> | null = await reader.read();
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = first ?? (await reader.read());
        first = null;
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/** What `readableOf` takes at once at the most, give or take one chunk. */
const TAKEN_BYTES = 256 * 1024;

/**
 * What arrives on `source`, as the engine reads it: paused whenever nobody asks. What has come by the time it is
 * handed on goes as one piece: the docker CLI sends an archive in chunks of less than a block, and each of them
 * would cost as much as 100 kB. When the engine wants no more, `source` stays paused, and is the caller's to drop or
 * to cut off.
 */
export function readableOf(source: Readable): ReadableStream<Uint8Array> {
  let release = () => {};
  let taken: Uint8Array[] = [];
  let takenBytes = 0;
  let isAsked = false;
  let isDue = false;
  const give = (controller: ReadableStreamDefaultController<Uint8Array>) => {
    const [only] = taken;
    if (only === undefined) return;
    controller.enqueue(taken.length === 1 ? only : joinBytes(taken));
    [taken, takenBytes, isAsked] = [[], 0, false];
  };
  const giveSoon = (controller: ReadableStreamDefaultController<Uint8Array>) => {
    if (isDue || !isAsked || taken.length === 0) return;
    isDue = true;
    setImmediate(() => {
      isDue = false;
      if (isAsked) give(controller);
    });
  };
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        source.pause();
        const take = (chunk: Uint8Array) => {
          taken.push(chunk);
          takenBytes += chunk.length;
          if (takenBytes >= TAKEN_BYTES) source.pause();
          giveSoon(controller);
        };
        const end = () => {
          release();
          give(controller);
          controller.close();
        };
        const fail = (error?: unknown) => {
          release();
          controller.error(error ?? new Error("the client went away"));
        };
        const events = { data: take, end, aborted: fail, error: fail, close: fail };
        for (const [name, listener] of Object.entries(events)) source.on(name, listener);
        release = () => {
          isAsked = false;
          for (const [name, listener] of Object.entries(events)) source.off(name, listener);
          // An error that comes late must not be an uncaught one.
          source.on("error", () => {});
        };
      },
      pull(controller) {
        isAsked = true;
        // Pausing and resuming costs more than what comes in between: it happens only when nobody asks for long.
        if (takenBytes < TAKEN_BYTES) source.resume();
        giveSoon(controller);
      },
      cancel() {
        release();
        source.pause();
      },
    },
    { highWaterMark: 0 },
  );
}

/**
 * Hands on what arrives on `source` until its end, which closes `target`: end of file for a process.
 * The source is paused while the target is full.
 */
export async function pumpFromSource(
  source: Readable,
  target: WritableStream<Uint8Array>,
): Promise<void> {
  const writer = target.getWriter();
  const ended = Promise.withResolvers<void>();
  let writing: Promise<void> = Promise.resolve();
  const give = (chunk: Uint8Array) => {
    source.pause();
    writing = writing
      .then(() => writer.write(chunk))
      .then(
        () => void source.resume(),
        () => {
          // The process reads no more: what is typed is dropped, as a terminal drops it.
          source.off("data", give);
          source.resume();
        },
      );
  };
  source.on("data", give);
  source.once("end", ended.resolve);
  source.once("close", ended.resolve);
  source.once("error", () => ended.resolve());
  await ended.promise;
  await writing;
  await writer.close().catch(() => {});
}
