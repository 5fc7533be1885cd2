/**
 * The engine's memory of what happened. Live readers hear an event at once; the database gets it inside the
 * next transaction anyone makes, or after a short delay, so that an event never costs a sync of its own.
 * What is published inside a transaction is written with the record that it tells of; of what is published outside of
 * one, a crash may lose the last moment.
 */
import { type Clock, nextNano, systemClock, unavailable } from "#base";
import type { Store } from "#engine/store";

import type { EngineEvent, EventBus, EventType } from "./event.ts";

/** How long an event waits for someone else's transaction. */
const WRITE_DELAY_MS = 250;
/** Events kept; Docker keeps 256. */
const KEPT_EVENTS = 20_000;
/** Labels are part of an event: so many events of large ones would fill a disk. */
const KEPT_BYTES = 64 * 1024 * 1024;
const KEPT_NANO = 30n * 24n * 3600n * 1_000_000_000n;
/** Old rows are deleted once this many new ones, or so many bytes, have come. */
const TRIM_EVERY = 1000;
const TRIM_EVERY_BYTES = 16 * 1024 * 1024;
/** Events a live reader may lag behind before it is cut off. */
const READER_LAG_LIMIT = 8192;
const READER_LAG_BYTES = 16 * 1024 * 1024;
/** Rows read at a time by `past`. */
const PAGE_ROWS = 500;

export interface OpenEventBus extends EventBus, Disposable {
  /** Writes what still waits. */
  flush(): void;
}

/** @param request.store opened with `eventMigrations` */
export function openEventBus(request: { store: Store; clock?: Clock }): OpenEventBus {
  return new StoredEventBus(request.store, request.clock ?? systemClock);
}

interface EventRow {
  readonly id: number;
  readonly time: string;
  readonly type: EventType;
  readonly action: string;
  readonly actor: string;
  readonly attributes: string;
}

class StoredEventBus implements OpenEventBus {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #readers = new Set<Reader>();
  #waiting: EngineEvent[] = [];
  #timer: NodeJS.Timeout | null = null;
  #lastNano: bigint;
  #sinceTrim = TRIM_EVERY;
  #bytesSinceTrim = 0;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
    const last = store
      .query<{ time: string }>("SELECT CAST(max(time_nano) AS TEXT) AS time FROM events")
      .get();
    this.#lastNano = BigInt(last?.time ?? 0);
    store.beforeCommit(() => this.#write());
  }

  publish(event: Omit<EngineEvent, "timeNano">): void {
    this.#lastNano = nextNano(this.#lastNano, this.#clock.now());
    const stamped: EngineEvent = { ...event, timeNano: this.#lastNano };
    this.#waiting.push(stamped);
    if (this.#readers.size > 0) {
      const bytes = sizeOf(stamped);
      for (const reader of this.#readers) reader.push(stamped, bytes);
    }
    this.#timer ??= setTimeout(() => this.#flushLater(), WRITE_DELAY_MS).unref();
  }

  subscribe(signal: AbortSignal): AsyncIterable<EngineEvent> {
    const reader = new Reader(signal, () => this.#readers.delete(reader));
    if (!signal.aborted) this.#readers.add(reader);
    return reader;
  }

  *past({ sinceNano, untilNano }: { sinceNano: bigint; untilNano: bigint }): Iterable<EngineEvent> {
    this.flush();
    const page = this.#store.query<EventRow, [bigint, bigint, number, number]>(
      `SELECT id, CAST(time_nano AS TEXT) AS time, type, action, actor, attributes FROM events
       WHERE time_nano BETWEEN ? AND ? AND id > ? ORDER BY id LIMIT ?`,
    );
    let after = 0;
    for (;;) {
      const rows = page.all(sinceNano, untilNano, after, PAGE_ROWS);
      for (const row of rows) yield eventOf(row);
      after = rows.at(-1)?.id ?? 0;
      if (rows.length < PAGE_ROWS) return;
    }
  }

  flush(): void {
    if (this.#waiting.length > 0) this.#store.transact(() => null, "process");
  }

  [Symbol.dispose](): void {
    for (const reader of this.#readers) reader.end();
    this.#stopTimer();
    this.flush();
  }

  /** Runs as part of the transaction that is about to commit; a throw in here leaves the events waiting. */
  #write(): void {
    if (this.#waiting.length === 0) return;
    const insert = this.#store.query(
      "INSERT INTO events (time_nano, type, action, actor, attributes) VALUES (?, ?, ?, ?, ?)",
    );
    for (const { timeNano, type, action, actorId, attributes } of this.#waiting) {
      const text = JSON.stringify(attributes);
      insert.run(timeNano, type, action, actorId, text);
      this.#bytesSinceTrim += text.length;
    }
    this.#sinceTrim += this.#waiting.length;
    this.#waiting = [];
    this.#stopTimer();
    if (this.#sinceTrim < TRIM_EVERY && this.#bytesSinceTrim < TRIM_EVERY_BYTES) return;
    this.#trim();
  }

  /** Bounded in number, age and bytes. */
  #trim(): void {
    this.#sinceTrim = 0;
    this.#bytesSinceTrim = 0;
    this.#store
      .query("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ? OR time_nano < ?")
      .run(KEPT_EVENTS, this.#lastNano - KEPT_NANO);
    this.#store
      .query(
        `DELETE FROM events WHERE id <= (
           SELECT max(id) FROM (
             SELECT id, sum(octet_length(attributes)) OVER (ORDER BY id DESC) AS bytes FROM events
           ) WHERE bytes > ?)`,
      )
      .run(KEPT_BYTES);
  }

  /** A full disk must not end the daemon: the events are dropped, oldest first, beyond what is kept. */
  #flushLater(): void {
    this.#timer = null;
    try {
      this.flush();
    } catch {
      this.#waiting = this.#waiting.slice(-KEPT_EVENTS);
    }
  }

  #stopTimer(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

const eventOf = ({ time, type, action, actor, attributes }: EventRow): EngineEvent => ({
  type,
  action,
  actorId: actor,
  attributes: JSON.parse(attributes) as Record<string, string>,
  timeNano: BigInt(time),
});

/** About what an event weighs. */
function sizeOf({ attributes }: EngineEvent): number {
  let bytes = 200;
  for (const name in attributes) bytes += name.length + (attributes[name]?.length ?? 0);
  return bytes;
}

/** One live reader: a bounded queue that is filled from the moment of `subscribe`. */
class Reader implements AsyncIterable<EngineEvent>, AsyncIterator<EngineEvent> {
  readonly #leave: () => void;
  readonly #queue: { readonly event: EngineEvent; readonly bytes: number }[] = [];
  #bytes = 0;
  #wake: (() => void) | null = null;
  #ended: boolean;
  #lagged = false;

  constructor(signal: AbortSignal, leave: () => void) {
    this.#leave = leave;
    this.#ended = signal.aborted;
    signal.addEventListener("abort", () => this.end(), { once: true });
  }

  push(event: EngineEvent, bytes: number): void {
    const isFull = this.#queue.length >= READER_LAG_LIMIT || this.#bytes > READER_LAG_BYTES;
    if (isFull) {
      this.#lagged = true;
      this.end();
      return;
    }
    this.#queue.push({ event, bytes });
    this.#bytes += bytes;
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#leave();
    this.#wake?.();
  }

  [Symbol.asyncIterator](): AsyncIterator<EngineEvent> {
    return this;
  }

  async next(): Promise<IteratorResult<EngineEvent>> {
    for (;;) {
      const next = this.#queue.shift();
      if (next !== undefined) {
        this.#bytes -= next.bytes;
        return { value: next.event, done: false };
      }
      if (this.#lagged) throw unavailable("events came faster than they were read");
      if (this.#ended) return { value: undefined, done: true };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }

  async return(): Promise<IteratorResult<EngineEvent>> {
    this.#queue.length = 0;
    this.end();
    return { value: undefined, done: true };
  }
}
