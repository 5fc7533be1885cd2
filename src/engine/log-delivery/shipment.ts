/**
 * One log on its way to its server. It reads what the supervisor wrote, sends it in order, and notes how far it came;
 * so whatever dies, the next one goes on from there. Memory: one block of entries.
 *
 * A server that does not take a batch is tried again as its policy says; then the batch is given up, as Docker does,
 * and the rest gets one try each until one succeeds. Where the container does not wait (`mode=non-blocking`), what
 * lags behind by more than the buffer is given up sooner.
 */
import { sentenceOf } from "#base";
import { type LogEntry, type LogPlace, readLog, watchLog } from "#engine/logs";

import type { DeliveryJob } from "./messages.ts";
import { openSink, retryPolicyOf } from "./sinks/open.ts";
import type { LogMessage, LogSink } from "./sinks/sink.ts";
import { bytesAfter, readPlace, removeJob, writeJob, writePlace } from "./spool.ts";
import { spoolPath } from "./target.ts";

const BATCH_BYTES = 64 * 1024;
const PLACE_EVERY_MS = 100;
/** A server that takes longer for a batch is slow. */
const SLOW_MS = 1000;
/** What a removed container printed is tried for so long after the last success. */
const REMOVED_PATIENCE_MS = 10_000;
const NEWLINE = 0x0a;

export interface ShipmentHooks {
  delivered(time: string): void;
  warn(message: string): void;
}

export class Shipment {
  readonly done: Promise<void>;
  #job: DeliveryJob;
  #sink: LogSink | null;
  readonly #hooks: ShipmentHooks;
  readonly #wake = new AbortController();
  readonly #partials = { stdout: newPartial(), stderr: newPartial() };
  #isEnded = false;
  #isRemoved = false;
  #hasGivenUp = false;
  #isLate = false;
  #progressAt = performance.now();
  #placeWrittenAt = 0;
  #resume: (() => void) | null = null;
  readonly #place: LogPlace;

  constructor(job: DeliveryJob, sink: LogSink | null, hooks: ShipmentHooks) {
    this.#job = job;
    this.#sink = sink;
    this.#hooks = hooks;
    writeJob(job);
    this.#place = readPlace(job.folder);
    this.done = this.#run();
  }

  get isRemoved(): boolean {
    return this.#isRemoved;
  }

  /** The container runs again, perhaps with another configuration of the engine. */
  reopen(job: DeliveryJob, sink: LogSink | null): void {
    this.#job = job;
    this.#isEnded = false;
    const old = this.#sink;
    this.#sink = sink;
    writeJob(job);
    void old?.close().catch(() => undefined);
    this.#resume?.();
  }

  end(): void {
    this.#isEnded = true;
    this.#resume?.();
  }

  /** Notes how far it came, before this process ends. */
  flush(): void {
    writePlace(this.#job.folder, this.#place);
  }

  remove(): void {
    this.#isRemoved = true;
    this.#progressAt = performance.now();
    this.end();
  }

  async #run(): Promise<void> {
    const { folder } = this.#job;
    const path = spoolPath(folder);
    const place = this.#place;
    using watch = watchLog(path, this.#wake.signal);
    this.#resume = () => watch.wake();
    for (;;) {
      // Looked at before reading: what was written before the end is read below.
      const isLast = this.#isEnded;
      await this.#readOn(path, place);
      if (isLast && this.#isEnded) break;
      if (!this.#isEnded) await watch.changed();
    }
    this.#resume = null;
    writePlace(folder, place);
    removeJob(folder);
    await this.#sink?.close().catch(() => undefined);
  }

  async #readOn(path: string, place: LogPlace): Promise<void> {
    const request = { stdout: true, stderr: true, tail: null, since: null, until: null };
    // A copy that runs ahead: what counts is what was delivered.
    const ahead = { ...place };
    const entries = readLog({ path, format: "raw", ended: null, place: ahead, ...request });
    for await (const batch of entries) {
      for (const messages of inBatches(batch.map((entry) => this.#messageOf(entry)))) {
        await this.#deliver(messages, place);
      }
      Object.assign(place, ahead);
      this.#note(place);
    }
  }

  /** Told at once to who waits for room, written now and then. */
  #note(place: LogPlace): void {
    this.#hooks.delivered(place.time);
    const now = performance.now();
    if (now - this.#placeWrittenAt < PLACE_EVERY_MS) return;
    this.#placeWrittenAt = now;
    try {
      writePlace(this.#job.folder, place);
    } catch {
      // A full disk: after a crash more of it goes twice.
    }
  }

  async #deliver(messages: readonly LogMessage[], place: LogPlace): Promise<void> {
    const policy = retryPolicyOf(this.#job.delivery.server);
    for (let attempt = 0; ; attempt += 1) {
      if (this.#hasGivenUp && this.#isHopeless()) return;
      const bytes = messages.reduce((sum, { line }) => sum + line.length, 0);
      if (this.#isLate && this.#isTooFarBehind(place, bytes / messages.length)) return;
      const startedAt = performance.now();
      try {
        this.#sink ??= await openSink(this.#job.delivery.server);
        await this.#sink.send(messages);
        this.#isLate = performance.now() - startedAt > SLOW_MS;
        this.#hasGivenUp = false;
        this.#progressAt = performance.now();
        return;
      } catch (cause) {
        this.#isLate = true;
        if (attempt === 0 && !this.#hasGivenUp) this.#hooks.warn(sentenceOf(cause));
        if (this.#hasGivenUp || attempt >= policy.limit || this.#isHopeless()) {
          this.#hasGivenUp = true;
          return;
        }
      }
      await this.#pause(policy.waitMs(attempt));
    }
  }

  /** Nobody can be told any more, and nobody will look. */
  #isHopeless(): boolean {
    return this.#isRemoved && performance.now() - this.#progressAt > REMOVED_PATIENCE_MS;
  }

  /** Only asked while the server is slow or away: a burst that it takes is no reason to lose anything. */
  #isTooFarBehind(place: LogPlace, messageBytes: number): boolean {
    const { server, isBlocking, bufferBytes } = this.#job.delivery;
    if (isBlocking) return false;
    const behind = bytesAfter(this.#job.folder, place);
    const isAsync = server.driver === "fluentd" && server.isAsync;
    return isAsync ? behind / (messageBytes + 1) > server.bufferedEvents : behind > bufferBytes;
  }

  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    await promise;
    clearTimeout(timer);
  }

  #messageOf(entry: LogEntry): LogMessage {
    const { stream, time, bytes } = entry;
    const state = this.#partials[stream];
    const isWhole = bytes.at(-1) === NEWLINE;
    const line = isWhole ? bytes.subarray(0, -1) : bytes;
    if (isWhole && state.ordinal === 0) return { stream, time, line, partial: null };
    if (state.ordinal === 0) state.id = crypto.getRandomValues(new Uint8Array(32)).toHex();
    state.ordinal += 1;
    const partial = { id: state.id, ordinal: state.ordinal, last: isWhole };
    if (isWhole) state.ordinal = 0;
    return { stream, time, line, partial };
  }
}

const newPartial = () => ({ id: "", ordinal: 0 });

function* inBatches(messages: readonly LogMessage[]): Generator<readonly LogMessage[]> {
  let from = 0;
  let bytes = 0;
  for (const [index, { line }] of messages.entries()) {
    bytes += line.length + 1;
    if (bytes < BATCH_BYTES) continue;
    yield messages.slice(from, index + 1);
    from = index + 1;
    bytes = 0;
  }
  if (from < messages.length) yield messages.slice(from);
}
