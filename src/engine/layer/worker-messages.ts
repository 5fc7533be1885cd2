/** What the store and its Workers say to each other. One job a Worker at a time. */
import type { ErrorKind } from "#base";

import type { JobResult, LayerJob } from "./layer-job.ts";

export type ToWorker =
  | { readonly kind: "job"; readonly job: LayerJob }
  /** The next arriving bytes of a source of "messages"; its buffer is handed over. */
  | { readonly kind: "piece"; readonly bytes: Uint8Array<ArrayBuffer> }
  /** No more bytes: the source's end, or its failure. */
  | { readonly kind: "end"; readonly failure: string | null }
  | { readonly kind: "abort" };

export type FromWorker =
  /** A piece was consumed: another may come. */
  | { readonly kind: "consumed" }
  | { readonly kind: "progress"; readonly doneBytes: number }
  | { readonly kind: "done"; readonly result: JobResult }
  | { readonly kind: "failed"; readonly errorKind: ErrorKind; readonly message: string };

/** Pieces on their way to a Worker: what bounds the memory of a fast source. */
export const PIECES_IN_FLIGHT = 8;
