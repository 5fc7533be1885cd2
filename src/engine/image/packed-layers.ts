/**
 * Layers as they were compressed for a push, for a little while: whoever sends an image to one registry often sends it
 * to the next one at once. They lie among what is arriving, so that nothing of them outlives the daemon, and a disk
 * that is full costs the copy, never the push.
 */
import { statfsSync } from "node:fs";

import type { ContentStore } from "#engine/content";
import type { LayerCompression } from "#engine/layer";
import type { Digest } from "#oci";

type Ingest = ReturnType<ContentStore["ingest"]>;

const KEPT_MS = 10 * 60_000;
const KEPT_LIMIT_BYTES = 1024 * 1024 * 1024;
/** Where less is free nothing is kept. */
const FREE_BYTES = 4 * KEPT_LIMIT_BYTES;
/** Each has a descriptor. */
const KEPT_LIMIT = 64;

/** What a layer is and how it is packed. */
export interface Packing {
  readonly diffId: Digest;
  readonly compression: LayerCompression;
}

export interface PackedLayer {
  readonly digest: Digest;
  readonly sizeBytes: number;
  open(): ReadableStream<Uint8Array>;
}

/** Copies a packed layer on its way; disposing gives up what was not kept. */
export interface PackedCopy extends Disposable {
  /** The same bytes; a second call begins anew. */
  of(packed: ReadableStream<Uint8Array>): ReadableStream<Uint8Array>;
  /** It has arrived, as this. */
  keep(arrived: Pick<PackedLayer, "digest" | "sizeBytes">): void;
}

interface Kept extends PackedLayer {
  readonly ingest: Ingest;
}

export class PackedLayers {
  readonly #content: Pick<ContentStore, "ingest">;
  /** Those used last are at the end. */
  readonly #kept = new Map<string, Kept>();

  constructor(content: Pick<ContentStore, "ingest">) {
    this.#content = content;
  }

  get(packing: Packing): PackedLayer | null {
    const key = keyOf(packing);
    const kept = this.#kept.get(key);
    if (kept === undefined) return null;
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    return kept;
  }

  /** It is not what it should be, or not there any more. */
  drop(packing: Packing): void {
    this.#drop(keyOf(packing));
  }

  copy(packing: Packing): PackedCopy {
    let ingest: Ingest | null = null;
    const giveUp = (): void => {
      ingest?.[Symbol.dispose]();
      ingest = null;
    };
    return {
      of: (packed) => {
        giveUp();
        const own = attempt(() => this.#begin());
        ingest = own;
        return watched(packed, (chunk) => {
          // One that was given up may flow on for a moment.
          if (own === null || ingest !== own) return;
          if (!succeeds(() => own.append(chunk))) giveUp();
        });
      },
      keep: (arrived) => {
        if (ingest?.sizeBytes === arrived.sizeBytes) this.#add(keyOf(packing), ingest, arrived);
        else giveUp();
        ingest = null;
      },
      [Symbol.dispose]: giveUp,
    };
  }

  #begin(): Ingest | null {
    const ingest = this.#content.ingest({ limitBytes: KEPT_LIMIT_BYTES });
    const { bavail, bsize } = statfsSync(ingest.path);
    if (bavail * bsize >= FREE_BYTES) return ingest;
    ingest[Symbol.dispose]();
    return null;
  }

  #add(key: string, ingest: Ingest, { digest, sizeBytes }: Omit<PackedLayer, "open">): void {
    this.#drop(key);
    const kept = { ingest, digest, sizeBytes, open: () => ingest.read() };
    this.#kept.set(key, kept);
    const sum = () => this.#kept.values().reduce((all, one) => all + one.sizeBytes, 0);
    while (this.#kept.size > KEPT_LIMIT || sum() > KEPT_LIMIT_BYTES) {
      this.#drop(this.#kept.keys().next().value ?? "");
    }
    setTimeout(() => {
      if (this.#kept.get(key) === kept) this.#drop(key);
    }, KEPT_MS).unref();
  }

  /** Who reads it just now has it open. */
  #drop(key: string): void {
    this.#kept.get(key)?.ingest[Symbol.dispose]();
    this.#kept.delete(key);
  }
}

const keyOf = ({ diffId, compression: { type, level } }: Packing): string =>
  `${diffId} ${type} ${level}`;

/** null when it failed: a copy is never worth an error. */
function attempt<T>(work: () => T): T | null {
  try {
    return work();
  } catch {
    return null;
  }
}

const succeeds = (work: () => void): boolean =>
  attempt(() => {
    work();
    return true;
  }) === true;

/** The stream, each chunk seen as it is read. */
function watched(
  packed: ReadableStream<Uint8Array>,
  see: (chunk: Uint8Array) => void,
): ReadableStream<Uint8Array> {
  const reader = packed.getReader();
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const { done, value } = await reader.read();
      if (done) return controller.close();
      see(value);
      controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
}
