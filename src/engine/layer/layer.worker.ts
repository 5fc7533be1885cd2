/** The Worker that writes layers: hashing, decompressing, indexing and syncing away from the daemon's loop. */
import { EngineError, kindOf, sentenceOf } from "#base";

import type { LayerEntry } from "./entries-tar.ts";
import { type JobContext, type LayerJob, runLayerJob } from "./layer-job.ts";
import type { FromJob, FromWorker, SourceFailure, ToWorker } from "./worker-messages.ts";

declare const self: Worker;

// A Worker has one parent; the rule means windows.
// oxlint-disable-next-line unicorn/require-post-message-target-origin
const tell = (message: FromWorker): void => self.postMessage(message);

/** The pieces of one running job: what has arrived and is not consumed yet. */
interface Inbox {
  readonly tell: (message: FromJob) => void;
  readonly arrived: (Uint8Array | readonly LayerEntry[])[];
  end: { readonly failure: SourceFailure | null } | null;
  aborted: boolean;
  wake: () => void;
}

const emptyInbox = (number: number): Inbox => ({
  tell: (message) => tell({ number, ...message }),
  arrived: [],
  end: null,
  aborted: false,
  wake: () => undefined,
});

/** By the jobs' numbers; what still comes for one that is over is dropped. */
const inboxes = new Map<number, Inbox>();

const gaveUp = (): EngineError => new EngineError("unavailable", "the write was cancelled");

async function* arriving<T extends Uint8Array | readonly LayerEntry[]>(
  from: Inbox,
  isWanted: (arrived: Uint8Array | readonly LayerEntry[]) => arrived is T,
): AsyncGenerator<T, void> {
  for (;;) {
    if (from.aborted) throw gaveUp();
    const piece = from.arrived.shift();
    if (piece && isWanted(piece)) {
      from.tell({ kind: "consumed" });
      yield piece;
    } else if (from.end) {
      const { failure } = from.end;
      if (failure !== null) throw new EngineError(failure.errorKind, failure.message);
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
      from.tell({ kind: "progress", doneBytes });
    },
  };
}

async function run(number: number, job: LayerJob): Promise<void> {
  const inbox = emptyInbox(number);
  inboxes.set(number, inbox);
  try {
    inbox.tell({ kind: "done", result: await runLayerJob(job, contextOf(inbox)) });
  } catch (error) {
    inbox.tell({ kind: "failed", errorKind: kindOf(error), message: sentenceOf(error) });
  } finally {
    inboxes.delete(number);
  }
}

self.addEventListener("message", ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === "job") return void run(data.number, data.job);
  const inbox = inboxes.get(data.number);
  if (inbox === undefined) return;
  switch (data.kind) {
    case "piece":
      inbox.arrived.push(data.bytes);
      break;
    case "entries":
      inbox.arrived.push(data.entries);
      break;
    case "end":
      inbox.end = { failure: data.failure };
      break;
    case "abort":
      inbox.aborted = true;
      break;
  }
  inbox.wake();
});
