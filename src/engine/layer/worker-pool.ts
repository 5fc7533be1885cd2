/**
 * A few Workers that write layers. They start when there is work and end when there has been none for a while: an
 * idle daemon has none. A Worker that dies fails its job; what it left is an ingest file, deleted here.
 */
import { EngineError, sentenceOf } from "#base";

import type { LayerEntry } from "./entries-tar.ts";
import type { JobResult, LayerJob } from "./layer-job.ts";
import {
  ENTRIES_AT_ONCE,
  type FromWorker,
  PIECES_IN_FLIGHT,
  type ToWorker,
} from "./worker-messages.ts";

const POOL_SIZE = 2;
const IDLE_MS = 5000;
/** Small pieces of a stream are put together up to this size before they go over. */
const PIECE_BYTES = 256 * 1024;

export interface PoolRequest {
  readonly job: LayerJob;
  /** For a source of "messages". */
  readonly stream?: ReadableStream<Uint8Array>;
  /** For a source of "entries". */
  readonly entries?: readonly LayerEntry[];
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((doneBytes: number) => void) | undefined;
}

interface Slot {
  readonly worker: Worker;
  idle: ReturnType<typeof setTimeout> | null;
}

/** In the compiled binary every Worker is a file of its own beside the main program (script/build). */
const workerUrl = (): string =>
  import.meta.url.includes("$bunfs")
    ? "/$bunfs/root/engine/layer/layer.worker.js"
    : new URL("./layer.worker.ts", import.meta.url).href;

export class WorkerPool {
  readonly #free: Slot[] = [];
  readonly #waiting: ((slot: Slot) => void)[] = [];
  #running = 0;
  #closed = false;

  /** Runs a job on the next free Worker. @throws EngineError of the job; the signal's reason when it aborts */
  async run(request: PoolRequest): Promise<JobResult> {
    const { signal } = request;
    signal?.throwIfAborted();
    const slot = await this.#take();
    let healthy = true;
    try {
      signal?.throwIfAborted();
      return await new Conversation(slot.worker, request).result();
    } catch (error) {
      healthy = !(error instanceof WorkerDied);
      signal?.throwIfAborted();
      throw error;
    } finally {
      this.#give(slot, healthy);
    }
  }

  /** Ends the Workers; jobs that wait or run fail or finish first by themselves. */
  close(): void {
    this.#closed = true;
    for (const slot of this.#free.splice(0)) this.#end(slot);
  }

  async #take(): Promise<Slot> {
    if (this.#closed) throw new EngineError("unavailable", "the layer store is closed");
    const free = this.#free.pop();
    if (free) {
      if (free.idle) clearTimeout(free.idle);
      free.worker.ref();
      return free;
    }
    if (this.#running < POOL_SIZE) return this.#start();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #start(): Slot {
    this.#running += 1;
    return { worker: new Worker(workerUrl()), idle: null };
  }

  #give(slot: Slot, healthy: boolean): void {
    const next = this.#waiting.shift();
    if (!healthy || this.#closed) this.#end(slot);
    else if (next === undefined) {
      slot.worker.unref();
      slot.idle = setTimeout(() => this.#expire(slot), IDLE_MS);
      slot.idle.unref();
      this.#free.push(slot);
    } else return next(slot);
    if (next) next(this.#start());
  }

  #expire(slot: Slot): void {
    const index = this.#free.indexOf(slot);
    if (index < 0) return;
    this.#free.splice(index, 1);
    this.#end(slot);
  }

  #end(slot: Slot): void {
    if (slot.idle) clearTimeout(slot.idle);
    this.#running -= 1;
    slot.worker.terminate();
  }
}

/** The Worker itself is gone, not just its job. */
class WorkerDied extends EngineError {
  constructor(message: string) {
    super("internal", `write layer: ${message}`);
  }
}

/** One job and its Worker. */
class Conversation {
  readonly #worker: Worker;
  readonly #request: PoolRequest;
  readonly #outcome = Promise.withResolvers<JobResult>();
  #credit = PIECES_IN_FLIGHT;
  #wake: () => void = () => undefined;
  #over = false;
  #cancel: () => void = () => undefined;

  constructor(worker: Worker, request: PoolRequest) {
    this.#worker = worker;
    this.#request = request;
  }

  async result(): Promise<JobResult> {
    const { job, stream, entries, signal } = this.#request;
    const hear = ({ data }: MessageEvent<FromWorker>) => this.#hear(data);
    const died = ({ message }: ErrorEvent) => this.#outcome.reject(new WorkerDied(message));
    const closed = () => this.#outcome.reject(new WorkerDied("the worker ended"));
    const abort = () => this.#tell({ kind: "abort" });
    this.#worker.addEventListener("message", hear);
    this.#worker.addEventListener("error", died);
    this.#worker.addEventListener("close", closed);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      this.#tell({ kind: "job", job });
      if (signal?.aborted) abort();
      if (entries)
        this.#pumpEntries(entries).catch((error: unknown) => this.#outcome.reject(error));
      if (stream) this.#pump(stream).catch((error: unknown) => this.#outcome.reject(error));
      return await this.#outcome.promise;
    } finally {
      this.#over = true;
      this.#wake();
      this.#cancel();
      this.#worker.removeEventListener("message", hear);
      this.#worker.removeEventListener("error", died);
      this.#worker.removeEventListener("close", closed);
      signal?.removeEventListener("abort", abort);
    }
  }

  #tell(message: ToWorker): void {
    this.#worker.postMessage(message, message.kind === "piece" ? [message.bytes.buffer] : []);
  }

  #hear(message: FromWorker): void {
    switch (message.kind) {
      case "consumed":
        this.#credit += 1;
        return this.#wake();
      case "progress":
        return this.#request.onProgress?.(message.doneBytes);
      case "done":
        return this.#outcome.resolve(message.result);
      case "failed":
        return this.#outcome.reject(new EngineError(message.errorKind, message.message));
    }
  }

  /** Sends the stream over, a few pieces ahead of the Worker. */
  async #pump(stream: ReadableStream<Uint8Array>): Promise<void> {
    const reader = stream.getReader();
    // A source that nobody waits for any more may never answer: what is read now ends at once.
    this.#cancel = () => void reader.cancel().catch(() => undefined);
    const piece = new Piece();
    let failure: string | null = null;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done || this.#over) break;
        for (let rest = value; rest.length > 0;) {
          rest = piece.fill(rest);
          if (piece.full) await this.#send({ kind: "piece", bytes: piece.take() });
        }
      }
      if (piece.size > 0) await this.#send({ kind: "piece", bytes: piece.take() });
    } catch (error) {
      failure = sentenceOf(error);
    } finally {
      this.#cancel = () => undefined;
      if (this.#over) await reader.cancel().catch(() => undefined);
      reader.releaseLock();
    }
    if (!this.#over) this.#tell({ kind: "end", failure });
  }

  /** Some at a time: a copy of all would be as large as the list itself. */
  async #pumpEntries(entries: readonly LayerEntry[]): Promise<void> {
    for (let next = 0; next < entries.length && !this.#over; next += ENTRIES_AT_ONCE) {
      await this.#send({ kind: "entries", entries: entries.slice(next, next + ENTRIES_AT_ONCE) });
    }
    if (!this.#over) this.#tell({ kind: "end", failure: null });
  }

  async #send(message: ToWorker): Promise<void> {
    while (this.#credit === 0 && !this.#over) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#over) return;
    this.#credit -= 1;
    this.#tell(message);
  }
}

/** A buffer of our own that small pieces are gathered in: what arrives may share its memory with others. */
class Piece {
  #bytes = new Uint8Array(PIECE_BYTES);
  size = 0;

  get full(): boolean {
    return this.size === PIECE_BYTES;
  }

  /** Takes what fits. @returns the rest */
  fill(bytes: Uint8Array): Uint8Array {
    const taken = Math.min(bytes.length, PIECE_BYTES - this.size);
    this.#bytes.set(bytes.subarray(0, taken), this.size);
    this.size += taken;
    return bytes.subarray(taken);
  }

  take(): Uint8Array<ArrayBuffer> {
    const filled = this.#bytes.subarray(0, this.size);
    this.#bytes = new Uint8Array(PIECE_BYTES);
    this.size = 0;
    return filled;
  }
}
