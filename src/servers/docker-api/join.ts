/** A client's connection and a process's streams, joined until one of them ends. */
import type { Readable, Writable } from "node:stream";

import type { ProcessStreams } from "#engine/container";
import { pumpFromSource, pumpToSink } from "#wire/http";

/** How long a client may keep its half open, or go on sending, after everything was answered. */
export const LINGER_MS = 10_000;

export interface Connection {
  readonly sink: Writable;
  readonly source: Readable;
}

/**
 * Resolves when the process's output has ended or the client went away; then the process is left alone.
 * The client's half-close is end of file for the process; its output goes on.
 * @param farewell what is sent after the output, to a client that is still there by then
 */
export async function joinStreams(
  { sink, source }: Connection,
  streams: Pick<ProcessStreams, "output" | "input" | "detach">,
  farewell: (() => Promise<Uint8Array>) | null = null,
): Promise<void> {
  // What is sent to a process without stdin is read and dropped, so that the connection's end is seen.
  if (streams.input === null) source.resume();
  else pumpFromSource(source, streams.input).catch(() => streams.detach());
  try {
    if (await pumpToSink(streams.output, sink)) {
      if (farewell !== null) {
        const gone = new Promise<null>((resolve) => sink.once("close", () => resolve(null)));
        const last = await Promise.race([farewell(), gone]);
        if (last !== null) sink.write(last);
      }
      endGently(sink);
    }
  } finally {
    if (!sink.writableEnded) sink.destroy();
    streams.detach();
  }
}

/** Docker closes its half and waits for the client; here the client's time is bounded. */
export function endGently(sink: Writable): void {
  sink.end();
  const timer = setTimeout(() => sink.destroy(), LINGER_MS);
  timer.unref();
  sink.once("close", () => clearTimeout(timer));
}
