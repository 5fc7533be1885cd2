/** The Worker that writes layers: hashing, decompressing, indexing and syncing away from the daemon's loop. */
import { EngineError, kindOf, sentenceOf } from "#base";

import type { LayerEntry } from "./entries-tar.ts";
import { type JobContext, runLayerJob } from "./layer-job.ts";
import type { FromWorker, ToWorker } from "./worker-messages.ts";

declare const self: Worker;

// A Worker has one parent; the rule means windows.
// oxlint-disable-next-line unicorn/require-post-message-target-origin
const tell = (message: FromWorker): void => self.postMessage(message);

/** The pieces of the running job: what has arrived and is not consumed yet. */
interface Inbox {
  readonly arrived: (Uint8Array | readonly LayerEntry[])[];
  end: { readonly failure: string | null } | null;
  aborted: boolean;
  wake: () => void;
}

const emptyInbox = (): Inbox => ({ arrived: [], end: null, aborted: false, wake: () => undefined });
let inbox = emptyInbox();

const gaveUp = (): EngineError => new EngineError("unavailable", "the write was cancelled");

async function* arriving<T extends Uint8Array | readonly LayerEntry[]>(
  from: Inbox,
  isWanted: (arrived: Uint8Array | readonly LayerEntry[]) => arrived is T,
): AsyncGenerator<T, void> {
  for (;;) {
    if (from.aborted) throw gaveUp();
    const piece = from.arrived.shift();
    if (piece && isWanted(piece)) {
      tell({ kind: "consumed" });
      yield piece;
    } else if (from.end) {
      if (from.end.failure !== null) throw new EngineError("unavailable", from.end.failure);
      return;
    } else {
      await new Promise<void>((resolve) => {
        from.wake = resolve;
      });
    }
  }
}

const isEntries = (arrived: Uint8Array | readonly LayerEntry[]): arrived is readonly LayerEntry[] =>
  !(arrived instanceof Uint8Array);

const PROGRESS_STEP_BYTES = 256 * 1024;

function contextOf(from: Inbox): JobContext {
  let told = 0;
  return {
    pieces: arriving(from, (arrived) => arrived instanceof Uint8Array),
    entries: arriving(from, isEntries),
    checkpoint: async () => {
      // Messages are read between turns of the loop only.
      await new Promise((resolve) => setImmediate(resolve));
      if (from.aborted) throw gaveUp();
    },
    progress: (doneBytes) => {
      if (doneBytes - told < PROGRESS_STEP_BYTES) return;
      told = doneBytes;
      tell({ kind: "progress", doneBytes });
    },
  };
}

self.addEventListener("message", ({ data }: MessageEvent<ToWorker>) => {
  switch (data.kind) {
    case "job":
      inbox = emptyInbox();
      runLayerJob(data.job, contextOf(inbox)).then(
        (result) => tell({ kind: "done", result }),
        (error: unknown) =>
          tell({ kind: "failed", errorKind: kindOf(error), message: sentenceOf(error) }),
      );
      break;
    case "piece":
      inbox.arrived.push(data.bytes);
      inbox.wake();
      break;
    case "entries":
      inbox.arrived.push(data.entries);
      inbox.wake();
      break;
    case "end":
      inbox.end = { failure: data.failure };
      inbox.wake();
      break;
    case "abort":
      inbox.aborted = true;
      inbox.wake();
      break;
  }
});
