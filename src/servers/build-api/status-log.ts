/** What a build tells while it goes on: to whoever listens, no faster than they read, and from its beginning on. */
import { create, type MessageInitShape, StatusResponseSchema, toBinary } from "#wire/grpc";

export type StatusUpdate = MessageInitShape<typeof StatusResponseSchema>;

/** What waits for one listener, and what is kept for one that has yet to come. */
const WAITING_LIMIT_BYTES = 1024 * 1024;
const KEPT_LIMIT_BYTES = 4 * 1024 * 1024;
/** A build that nobody listens to goes on; what it says beyond the limit is not kept. */
const LISTENER_LIMIT = 16;

interface Listener {
  readonly waiting: StatusUpdate[];
  sizeBytes: number;
  wake: () => void;
}

const sizeOf = ({ logs = [] }: StatusUpdate): number =>
  200 + logs.reduce((sum, log) => sum + (log.msg?.length ?? 0), 0);

export class StatusLog {
  readonly #kept: StatusUpdate[] = [];
  readonly #listeners = new Set<Listener>();
  #keptBytes = 0;
  #isOver = false;
  #room = Promise.withResolvers<void>();

  /** Resolves when there is room for more. */
  async tell(update: StatusUpdate): Promise<void> {
    const size = sizeOf(update);
    if (this.#keptBytes + size <= KEPT_LIMIT_BYTES) {
      this.#kept.push(update);
      this.#keptBytes += size;
    }
    for (const listener of this.#listeners) {
      listener.waiting.push(update);
      listener.sizeBytes += size;
      listener.wake();
    }
    while ([...this.#listeners].some(({ sizeBytes }) => sizeBytes > WAITING_LIMIT_BYTES)) {
      await this.#room.promise;
    }
  }

  /** What is kept of it so far. */
  get updates(): readonly StatusUpdate[] {
    return this.#kept;
  }

  /** Everything so far as one message, to be told again later; the end of what would be too much is left out. */
  encoded(limitBytes: number): Uint8Array {
    const parts: Uint8Array[] = [];
    let sizeBytes = 0;
    for (const update of this.#kept) {
      // Lists of one message after the other are lists of one message.
      const part = toBinary(StatusResponseSchema, create(StatusResponseSchema, update));
      sizeBytes += part.length;
      if (sizeBytes > limitBytes) break;
      parts.push(part);
    }
    return Buffer.concat(parts);
  }

  /** Nothing more is said. */
  end(): void {
    this.#isOver = true;
    for (const { wake } of this.#listeners) wake();
  }

  /** Everything from the beginning; ends with the build. */
  async *listen(signal: AbortSignal): AsyncGenerator<StatusUpdate> {
    if (this.#listeners.size >= LISTENER_LIMIT) return;
    let woken = Promise.withResolvers<void>();
    const listener: Listener = {
      waiting: [...this.#kept],
      sizeBytes: this.#keptBytes,
      wake: () => woken.resolve(),
    };
    const stop = () => listener.wake();
    this.#listeners.add(listener);
    signal.addEventListener("abort", stop, { once: true });
    try {
      for (;;) {
        const updates = listener.waiting.splice(0);
        listener.sizeBytes = 0;
        this.#makeRoom();
        yield* updates;
        if (signal.aborted) return;
        if (listener.waiting.length > 0) continue;
        if (this.#isOver) return;
        await woken.promise;
        woken = Promise.withResolvers();
      }
    } finally {
      signal.removeEventListener("abort", stop);
      this.#listeners.delete(listener);
      this.#makeRoom();
    }
  }

  #makeRoom(): void {
    this.#room.resolve();
    this.#room = Promise.withResolvers();
  }
}
