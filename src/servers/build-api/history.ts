/**
 * What has been built, for `buildx history`: the last builds, with what was asked, how it went and what was said. What
 * is over is stored, so that it is known after a start of the engine; what was under way when it died is not.
 */
import type { BuildHistoryStore } from "#engine/build";
import { digestOf } from "#oci";
import type { Control, GrpcFailure, MessageInitShape, SolveRequest } from "#wire/grpc";
import {
  BuildHistoryRecordSchema,
  create,
  DescriptorSchema,
  fromBinary,
  StatusResponseSchema,
  StatusSchema,
  timestampFromDate,
  toBinary,
} from "#wire/grpc";

import type { Attachments } from "./attachments.ts";
import type { StatusUpdate } from "./status-log.ts";

type Event = MessageInitShape<typeof Control.method.listenBuildHistory.output>;
type BuildRecord = NonNullable<Event["record"]>;

const EVENT = { started: 0, complete: 1, deleted: 2 } as const;
const LOG_TYPE = "application/vnd.buildkit.status.v0";
/** What is more than both says is forgotten; as BuildKit keeps it that is not told otherwise. */
const DEFAULT_LIMITS: HistoryLimits = { maxEntries: 50, maxAgeMs: 48 * 3600 * 1000 };
/** However young they are: all are in memory. */
const RECORD_LIMIT = 500;
const LISTENER_LIMIT = 64;
/** Of one build's attributes, in characters: those of a larger one are not kept. */
const ATTRIBUTES_LIMIT = 64 * 1024;
/** Of what one build said. */
export const LOG_LIMIT_BYTES = 512 * 1024;

const statusOf = ({ code, message }: GrpcFailure) => ({ code, message });

/** What of the past is kept: this many builds, and what ended not longer ago. */
export interface HistoryLimits {
  readonly maxEntries: number;
  readonly maxAgeMs: number;
}

/** How far a build came. */
export interface StepCounts {
  readonly total: number;
  readonly completed: number;
  readonly cached: number;
  readonly warnings: number;
}

export class BuildHistory {
  readonly #records = new Map<string, { record: BuildRecord; isOver: boolean }>();
  readonly #listeners = new Set<(event: Event) => void>();
  readonly #store: BuildHistoryStore;
  readonly #limits: HistoryLimits;

  constructor(store: BuildHistoryStore, limits = DEFAULT_LIMITS) {
    this.#store = store;
    this.#limits = limits;
    for (const { ref, record: bytes } of store.all()) {
      const record = decoded(bytes);
      if (record === null) store.remove(ref);
      else this.#records.set(ref, { record, isOver: true });
    }
  }

  /** What a build said that is over; null when it is not known. */
  log(ref: string): StatusUpdate | null {
    const bytes = this.#records.get(ref)?.isOver === true ? this.#store.log(ref) : null;
    return bytes === null ? null : fromBinary(StatusResponseSchema, bytes);
  }

  /** Of any build that is over. */
  blob(digest: string): Uint8Array | null {
    for (const [ref, { record }] of this.#records) {
      if (record.logs?.digest === digest) return framed(this.#store.log(ref) ?? new Uint8Array());
    }
    return this.#store.blob(digest);
  }

  begin({ ref, exporters }: SolveRequest): void {
    const record = { ref, frontend: "dockerfile.v0", exporters };
    const createdAt = timestampFromDate(new Date());
    this.#records.set(ref, { record: { ...record, createdAt }, isOver: false });
    this.#collect();
    this.#tell(ref, EVENT.started);
  }

  /** What the client's own part asked for. */
  describe(ref: string, frontendAttrs: Readonly<{ [name: string]: string }>): void {
    const known = this.#records.get(ref);
    const size = Object.entries(frontendAttrs).reduce(
      (sum, [a, b]) => sum + a.length + b.length,
      0,
    );
    if (known === undefined || size > ATTRIBUTES_LIMIT) return;
    known.record = { ...known.record, frontendAttrs };
  }

  end(
    ref: string,
    ended: {
      readonly counts: StepCounts;
      readonly failure: GrpcFailure | null;
      readonly response: Readonly<{ [name: string]: string }>;
      /** What it said, as one message. */
      readonly log: Uint8Array;
      readonly attachments: Attachments;
    },
  ): void {
    const known = this.#records.get(ref);
    if (known === undefined) return;
    const { counts, failure, response, log, attachments } = ended;
    const logs = framed(log);
    known.isOver = true;
    known.record = {
      ...known.record,
      completedAt: timestampFromDate(new Date()),
      exporterResponse: response,
      numTotalSteps: counts.total,
      numCompletedSteps: counts.completed,
      numCachedSteps: counts.cached,
      numWarnings: counts.warnings,
      ...(failure === null ? {} : { error: create(StatusSchema, statusOf(failure)) }),
      logs: create(DescriptorSchema, {
        mediaType: LOG_TYPE,
        digest: digestOf(logs),
        size: BigInt(logs.length),
      }),
      ...attachments.fields,
    };
    this.#save(ref, log, attachments.blobs);
    this.#tell(ref, EVENT.complete);
  }

  /** @returns false when there is none of that name */
  update(ref: string, { pinned, isGone }: { pinned: boolean; isGone: boolean }): boolean {
    const known = this.#records.get(ref);
    if (known === undefined) return false;
    if (isGone && known.isOver) {
      this.#tell(ref, EVENT.deleted);
      this.#forget(ref);
    } else {
      known.record = { ...known.record, pinned };
      if (known.isOver) this.#save(ref, null);
    }
    return true;
  }

  /** What was pinned stays. */
  #collect(): void {
    const { maxEntries, maxAgeMs } = this.#limits;
    const newest = [...this.#records]
      .filter(([, { isOver, record }]) => isOver && record.pinned !== true)
      .map(([ref, { record }]) => ({ ref, endedMs: endOf(record) }))
      .toSorted((a, b) => b.endedMs - a.endedMs);
    const oldest = Date.now() - maxAgeMs;
    for (const [index, { ref, endedMs }] of newest.entries()) {
      if (index >= RECORD_LIMIT || (index >= maxEntries && endedMs < oldest)) this.#forget(ref);
    }
  }

  #forget(ref: string): void {
    this.#records.delete(ref);
    this.#store.remove(ref);
  }

  #save(
    ref: string,
    log: Uint8Array | null,
    blobs: ReadonlyMap<string, Uint8Array> = new Map(),
  ): void {
    const record = this.#records.get(ref)?.record;
    if (record === undefined) return;
    const bytes = toBinary(BuildHistoryRecordSchema, create(BuildHistoryRecordSchema, record));
    this.#store.save({ ref, record: bytes, log, blobs });
  }

  /** What there is, and then, unless that is enough, what happens. */
  async *listen(
    asked: { readonly ref: string; readonly activeOnly: boolean; readonly earlyExit: boolean },
    signal: AbortSignal,
  ): AsyncGenerator<Event> {
    const waiting: Event[] = [];
    let woken = Promise.withResolvers<void>();
    const isMeant = ({ record }: Event) => asked.ref === "" || record?.ref === asked.ref;
    const listener = (event: Event) => {
      // Who does not read hears of what comes later.
      if (isMeant(event) && waiting.length < 2 * RECORD_LIMIT) waiting.push(event);
      woken.resolve();
    };
    for (const { record, isOver } of this.#records.values()) {
      const event = { type: isOver ? EVENT.complete : EVENT.started, record };
      if (!(asked.activeOnly && isOver) && isMeant(event)) waiting.push(event);
    }
    if (asked.earlyExit || this.#listeners.size >= LISTENER_LIMIT) return yield* waiting;
    const stop = () => woken.resolve();
    this.#listeners.add(listener);
    signal.addEventListener("abort", stop, { once: true });
    try {
      while (!signal.aborted) {
        yield* waiting.splice(0);
        if (waiting.length > 0) continue;
        await woken.promise;
        woken = Promise.withResolvers();
      }
    } finally {
      this.#listeners.delete(listener);
      signal.removeEventListener("abort", stop);
    }
  }

  #tell(ref: string, type: number): void {
    const record = this.#records.get(ref)?.record;
    if (record === undefined) return;
    for (const listener of this.#listeners) listener({ type, record });
  }
}

/** As BuildKit keeps what a build said: messages, each after its length in four bytes. Here it is one. */
function framed(log: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + log.length);
  new DataView(bytes.buffer).setUint32(0, log.length, true);
  bytes.set(log, 4);
  return bytes;
}

/** Milliseconds since 1970. */
const endOf = ({ completedAt }: BuildRecord): number => Number(completedAt?.seconds ?? 0) * 1000;

/** null for what another version of the engine has written otherwise. */
function decoded(bytes: Uint8Array): BuildRecord | null {
  try {
    return fromBinary(BuildHistoryRecordSchema, bytes);
  } catch {
    return null;
  }
}
