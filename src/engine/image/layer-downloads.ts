/**
 * Layers on their way from a registry into the layer store: a few at a time, each once even when several pulls
 * want it. A download ends early only when nobody waits for it any more.
 */
import type { LayerStore } from "#engine/layer";
import type { Repository } from "#engine/registry-client";
import type { Descriptor, Digest } from "#oci";

import type { LayerProgress } from "./progress.ts";

export interface LayerRequest {
  readonly repository: Pick<Repository, "blob">;
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  readonly progress: LayerProgress;
  readonly signal: AbortSignal;
}

interface Download {
  readonly done: Promise<void>;
  readonly waiting: Set<LayerProgress>;
  readonly abort: AbortController;
}

export class LayerDownloads {
  readonly #layers: LayerStore;
  readonly #running = new Map<Digest, Download>();
  readonly #queue: (() => void)[] = [];
  readonly #concurrency: () => number;
  #active = 0;

  /** @param request.concurrency how many at a time; asked anew for each */
  constructor(request: { layers: LayerStore; concurrency: () => number }) {
    this.#layers = request.layers;
    this.#concurrency = request.concurrency;
  }

  /** Resolves when the layer is in the store. */
  async fetch(request: LayerRequest): Promise<void> {
    const { diffId, progress, signal } = request;
    for (;;) {
      signal.throwIfAborted();
      if (this.#layers.has(diffId)) {
        progress.status("Already exists");
        return;
      }
      const running = this.#running.get(diffId);
      const download = running ?? this.#begin(request);
      try {
        await waitFor(download, progress, signal);
        return;
      } catch (cause) {
        signal.throwIfAborted();
        // Another pull's failure is not ours: its registry may have been the reason.
        if (!running) throw cause;
      }
    }
  }

  #begin(request: LayerRequest): Download {
    const { diffId } = request;
    const abort = new AbortController();
    const waiting = new Set<LayerProgress>();
    const done = this.#run(request, waiting, abort.signal).finally(() => {
      this.#running.delete(diffId);
    });
    // Every waiter may have left by the time it fails.
    done.catch(() => null);
    const download = { done, waiting, abort };
    this.#running.set(diffId, download);
    return download;
  }

  async #run(
    { repository, descriptor, diffId }: LayerRequest,
    waiting: ReadonlySet<LayerProgress>,
    signal: AbortSignal,
  ): Promise<void> {
    const all = (tell: (progress: LayerProgress) => void) => waiting.forEach(tell);
    if (this.#active >= this.#concurrency()) {
      queueMicrotask(() => all((progress) => progress.status("Waiting")));
    }
    await this.#turn();
    try {
      signal.throwIfAborted();
      const { digest, size } = descriptor;
      let isArrived = false;
      const tellArrived = () => {
        if (isArrived) return;
        isArrived = true;
        all((progress) => {
          progress.bar("Downloading", size, size);
          progress.status("Verifying Checksum");
          progress.status("Download complete");
          progress.bar("Extracting", size, size);
        });
      };
      await this.#layers.write({
        source: repository.blob(descriptor, signal),
        descriptor: { digest, size },
        diffId,
        signal,
        onProgress: (doneBytes) => {
          if (doneBytes >= size) tellArrived();
          else all((progress) => progress.bar("Downloading", doneBytes, size));
        },
      });
      tellArrived();
      all((progress) => progress.status("Pull complete"));
    } finally {
      this.#active -= 1;
      this.#queue.shift()?.();
    }
  }

  async #turn(): Promise<void> {
    while (this.#active >= this.#concurrency()) {
      await new Promise<void>((resolve) => this.#queue.push(resolve));
    }
    this.#active += 1;
  }
}

/** Waits for a download as one of several; the last one to leave ends it. */
async function waitFor(
  { done, waiting, abort }: Download,
  progress: LayerProgress,
  signal: AbortSignal,
): Promise<void> {
  waiting.add(progress);
  progress.status("Pulling fs layer");
  const left = Promise.withResolvers<never>();
  const leave = () => left.reject(signal.reason);
  signal.addEventListener("abort", leave, { once: true });
  try {
    await Promise.race([done, left.promise]);
  } finally {
    signal.removeEventListener("abort", leave);
    waiting.delete(progress);
    if (waiting.size === 0) abort.abort(signal.reason);
  }
}
