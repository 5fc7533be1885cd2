/**
 * A few Workers that write layers. They start when there is work and end when there has been none for a while: an
 * idle daemon has none. Each has several jobs at a time: a `docker load` whose client sends nothing, or a registry
 * that stalls, keeps nobody else waiting. A Worker that dies fails its jobs; what it left are ingest files.
 */
import { EngineError, sentenceOf } from "#base";

import type { LayerEntry } from "./entries-tar.ts";
import type { JobResult, LayerJob } from "./layer-job.ts";
import {
  type AboutJob,
  ENTRIES_AT_ONCE,
  type FromJob,
  type FromWorker,
  PIECES_IN_FLIGHT,
  type SourceFailure,
  type ToWorker,
} from "./worker-messages.ts";

const POOL_SIZE = 2;
/** A job that waits for its source holds a few megabytes: this many of them on each Worker. */
const JOBS_PER_WORKER = 64;
const IDLE_MS = 5000;
/** Small pieces of a stream are put together up to this size before they go over. */
const PIECE_BYTES = 256 * 1024;

export interface PoolRequest {
  readonly job: LayerJob;
  /** For a source of "messages". */
  readonly stream?: ReadableStream<Uint8Array>;
  /** For a source of "entries". */
  readonly entries?: Iterable<LayerEntry>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((doneBytes: number) => void) | undefined;
}

interface Slot {
  readonly worker: Worker;
  jobs: number;
  /** It died: no more jobs. */
  isDead: boolean;
  idle: ReturnType<typeof setTimeout> | null;
}

/** In the compiled binary every Worker is a file of its own beside the main program (script/build). */
const workerUrl = (): string =>
  import.meta.url.includes("$bunfs")
    ? "/$bunfs/root/engine/layer/layer.worker.js"
    : new URL("./layer.worker.ts", import.meta.url).href;

export class WorkerPool {
  readonly #slots = new Set<Slot>();
  readonly #waiting: (() => void)[] = [];
  #lastNumber = 0;
  #closed = false;

  /** Runs a job on the Worker with the fewest. @throws EngineError of the job; the signal's reason when it aborts */
  async run(request: PoolRequest): Promise<JobResult> {
    const { signal } = request;
    signal?.throwIfAborted();
    const slot = await this.#take();
    try {
      signal?.throwIfAborted();
      this.#lastNumber += 1;
      return await new Conversation(slot.worker, this.#lastNumber, request).result();
    } catch (error) {
      slot.isDead ||= error instanceof WorkerDied;
      signal?.throwIfAborted();
      throw error;
    } finally {
      this.#give(slot);
    }
  }

  /** Ends the Workers; jobs that wait or run fail or finish first by themselves. */
  close(): void {
    this.#closed = true;
    for (const slot of this.#slots) if (slot.jobs === 0) this.#end(slot);
    for (const resume of this.#waiting.splice(0)) resume();
  }

  async #take(): Promise<Slot> {
    for (;;) {
      if (this.#closed) throw new EngineError("unavailable", "the layer store is closed");
      const slot = this.#leastBusy();
      if (slot.jobs < JOBS_PER_WORKER) {
        if (slot.idle) clearTimeout(slot.idle);
        slot.idle = null;
        if (slot.jobs === 0) slot.worker.ref();
        slot.jobs += 1;
        return slot;
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** A new one where all have work and there may be more. */
  #leastBusy(): Slot {
    let least: Slot | null = null;
    for (const slot of this.#slots) {
      if (!slot.isDead && (least === null || slot.jobs < least.jobs)) least = slot;
    }
    if (least !== null && (least.jobs === 0 || this.#slots.size >= POOL_SIZE)) return least;
    const slot: Slot = { worker: new Worker(workerUrl()), jobs: 0, isDead: false, idle: null };
    this.#slots.add(slot);
    return slot;
  }

  #give(slot: Slot): void {
    slot.jobs -= 1;
    this.#waiting.shift()?.();
    if (slot.isDead || (this.#closed && slot.jobs === 0)) return this.#end(slot);
    if (slot.jobs > 0) return;
    slot.worker.unref();
    slot.idle = setTimeout(() => this.#end(slot), IDLE_MS);
    slot.idle.unref();
  }

  /** May run twice: every job of a Worker that died comes here. */
  #end(slot: Slot): void {
    if (slot.idle) clearTimeout(slot.idle);
    if (this.#slots.delete(slot)) slot.worker.terminate();
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
  readonly #number: number;
  readonly #request: PoolRequest;
  readonly #outcome = Promise.withResolvers<JobResult>();
  #credit = PIECES_IN_FLIGHT;
  #wake: () => void = () => undefined;
  #over = false;
  #cancel: () => void = () => undefined;

  constructor(worker: Worker, number: number, request: PoolRequest) {
    this.#worker = worker;
    this.#number = number;
    this.#request = request;
  }

  async result(): Promise<JobResult> {
    const { job, stream, entries, signal } = this.#request;
    const hear = ({ data }: MessageEvent<FromWorker>) => {
      if (data.number === this.#number) this.#hear(data);
    };
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

  #tell(about: AboutJob): void {
    const message: ToWorker = { number: this.#number, ...about };
    this.#worker.postMessage(message, message.kind === "piece" ? [message.bytes.buffer] : []);
  }

  #hear(message: FromJob): void {
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
    let failure: SourceFailure | null = null;
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
      // What nobody has classified is a source that broke off.
      const errorKind = error instanceof EngineError ? error.kind : "unavailable";
      failure = { errorKind, message: sentenceOf(error) };
    } finally {
      this.#cancel = () => undefined;
      if (this.#over) await reader.cancel().catch(() => undefined);
      reader.releaseLock();
    }
    if (!this.#over) this.#tell({ kind: "end", failure });
  }

  /** Some at a time: a copy of all would be as large as the list itself. */
  async #pumpEntries(entries: Iterable<LayerEntry>): Promise<void> {
    let some: LayerEntry[] = [];
    for (const entry of entries) {
      some.push(entry);
      if (some.length < ENTRIES_AT_ONCE) continue;
      await this.#send({ kind: "entries", entries: some });
      if (this.#over) return;
      some = [];
    }
    if (some.length > 0) await this.#send({ kind: "entries", entries: some });
    if (!this.#over) this.#tell({ kind: "end", failure: null });
  }

  async #send(message: AboutJob): Promise<void> {
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
