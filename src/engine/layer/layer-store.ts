/**
 * The contract of layer stores: one file a layer (EROFS over the exact tar) or a plain directory a layer,
 * behind one interface and one suite (layer-store.suite.ts).
 */
import type { Descriptor, Digest } from "#oci";

import type { LayerEntry } from "./entries-tar.ts";

export interface LayerInfo {
  /** Digest of the plain tar: the layer's name. */
  readonly diffId: Digest;
  /** Of the plain tar. */
  readonly tarSizeBytes: number;
  /** What the file tree holds: the sum of regular files' sizes, hard links counted once. */
  readonly contentSizeBytes: number;
  readonly entries: number;
}

export interface LayerWriteRequest {
  /** The layer as it arrives: gzip, zstd, bzip2, xz or plain, recognised by its first bytes. */
  readonly source:
    | ReadableStream<Uint8Array>
    | { readonly path: string; readonly offset?: number; readonly sizeBytes?: number };
  /** What the arriving bytes must be, when known. */
  readonly descriptor?: Pick<Descriptor, "digest" | "size">;
  /** What the plain tar must be, when known. */
  readonly diffId?: Digest;
  readonly signal?: AbortSignal;
  /** Arriving bytes taken so far. */
  readonly onProgress?: (doneBytes: number) => void;
}

/** A layer that is written and verified, and what its arriving bytes were. */
export interface LayerWritten extends LayerInfo {
  readonly arrived: { readonly digest: Digest; readonly sizeBytes: number };
}

export interface LayerStore {
  readonly form: "file" | "directory";
  has(diffId: Digest): boolean;
  info(diffId: Digest): LayerInfo | null;
  list(): LayerInfo[];
  /**
   * Streams a layer into the store in a Worker; several run in parallel. Writing one that exists verifies it
   * and keeps the old. @throws EngineError "invalid" for bytes that are not the promised layer or no good tar
   */
  write(request: LayerWriteRequest): Promise<LayerWritten>;
  /**
   * Turns an overlay's upper directory into a layer: tar, diffId and index in one walk.
   * @param request.skip paths below it (byte strings, no slash at their end) that are left out with all they hold
   */
  writeUpper(request: {
    upper: string;
    skip?: ReadonlySet<string>;
    /** Times after it (seconds since 1970) are written as it: two runs of one program then give the same bytes. */
    latestSec?: number;
    signal?: AbortSignal;
  }): Promise<LayerInfo>;
  /**
   * Writes a layer of entries whose data lies elsewhere: copying is this one write, nothing is unpacked. Entries are
   * asked for as they are written.
   */
  writeEntries(request: {
    entries: Iterable<LayerEntry>;
    signal?: AbortSignal;
  }): Promise<LayerInfo>;
  /** A directory that shows the layer, for overlayfs (whiteouts as 0:0 devices); mounted if it was not. */
  mount(diffId: Digest): string;
  /** The exact tar again, bit for bit. */
  tar(diffId: Digest): ReadableStream<Uint8Array>;
  /** Unmounts and deletes. The caller knows that no record refers to it. May run twice. */
  remove(diffId: Digest): void;
  /** Ends the Workers. Mounts stay. */
  close(): Promise<void>;
}
