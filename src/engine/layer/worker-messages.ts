/**
 * What the store and its Workers say to each other. A Worker has several jobs at a time, told apart by number: most
 * of a job's life may be waiting for a client or a registry that sends slowly, or nothing.
 */
import type { ErrorKind } from "#base";

import type { LayerEntry } from "./entries-tar.ts";
import type { JobResult, LayerJob } from "./layer-job.ts";

export type ToWorker = { readonly number: number } & AboutJob;

export type AboutJob =
  | { readonly kind: "job"; readonly job: LayerJob }
  /** The next arriving bytes of a source of "messages"; its buffer is handed over. */
  | { readonly kind: "piece"; readonly bytes: Uint8Array<ArrayBuffer> }
  /** The next entries of a source of "entries". */
  | { readonly kind: "entries"; readonly entries: readonly LayerEntry[] }
  /** No more of either: the source's end, or its failure. */
  | { readonly kind: "end"; readonly failure: SourceFailure | null }
  | { readonly kind: "abort" };

export interface SourceFailure {
  readonly errorKind: ErrorKind;
  readonly message: string;
}

export type FromWorker = { readonly number: number } & FromJob;

export type FromJob =
  /** A piece or some entries were consumed: more may come. */
  | { readonly kind: "consumed" }
  | { readonly kind: "progress"; readonly doneBytes: number }
  | { readonly kind: "done"; readonly result: JobResult }
  | { readonly kind: "failed"; readonly errorKind: ErrorKind; readonly message: string };

/** Pieces on their way to a Worker: what bounds the memory of a fast source. */
export const PIECES_IN_FLIGHT = 8;
/** Entries that go over at once: a copy of each is made on the way. */
export const ENTRIES_AT_ONCE = 1000;
