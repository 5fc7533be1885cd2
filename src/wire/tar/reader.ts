/**
 * A tar as an async iterator:
 *
 *   for await (const entry of readTarEntries(stream)) {
 *     if (entry.name === "manifest.json") manifest = await entry.bytes(LIMIT);
 *     else if (wanted(entry.name)) await store.write({ source: entry.body });
 *   }                                  // what is not read is skipped
 *
 * An entry's body is that entry's only while the loop stands at it. Memory: one arriving piece.
 */
import { readAll } from "#base";

import { TarParser } from "./parser.ts";
import { textOf, type TarHeader } from "./entry.ts";

/** An entry and its stored data. */
export class TarEntry {
  readonly header: TarHeader;
  /** The stored data; for a sparse file without its holes. Reading it after the iterator moved on is an error. */
  readonly body: ReadableStream<Uint8Array>;

  constructor(header: TarHeader, body: ReadableStream<Uint8Array>) {
    this.header = header;
    this.body = body;
  }

  /** The name as text. */
  get name(): string {
    return textOf(this.header.rawName);
  }

  /** The link's target as text. */
  get linkName(): string {
    return textOf(this.header.rawLink);
  }

  /** The whole body. @throws EngineError of `tooLarge` when it is larger than the limit, before reading it */
  async bytes(limitBytes: number, tooLarge: () => Error): Promise<Uint8Array<ArrayBuffer>> {
    if (this.header.storedBytes > limitBytes) throw tooLarge();
    return readAll(this.body, { limitBytes, tooLarge });
  }
}

/** What is needed of a stream's reader: Bun's and node's types differ in the rest. */
interface Source {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
}

type Event = { readonly header: TarHeader } | { readonly data: Uint8Array };

/** Turns arriving pieces into events; each piece's data stays a view of it. */
class EventQueue {
  readonly #source: Source;
  readonly #events: Event[] = [];
  readonly #parser: TarParser;
  #next = 0;
  #ended = false;
  /** Whoever reads an entry's body is told first; the loop over the entries must hear of it too. */
  #failure: { readonly cause: unknown } | null = null;

  constructor(source: Source) {
    this.#source = source;
    this.#parser = new TarParser({
      entry: (header) => this.#events.push({ header }),
      data: (data) => this.#events.push({ data }),
    });
  }

  /** The next event without taking it; null at the archive's end. */
  async peek(): Promise<Event | null> {
    while (this.#next === this.#events.length) {
      if (this.#failure) throw this.#failure.cause;
      if (this.#ended) return null;
      this.#events.length = 0;
      this.#next = 0;
      await this.#read().catch((cause: unknown) => {
        this.#failure = { cause };
        throw cause;
      });
    }
    return this.#events[this.#next] ?? null;
  }

  async #read(): Promise<void> {
    const { done, value } = await this.#source.read();
    this.#ended = done;
    if (done) this.#parser.end();
    else if (value) this.#parser.push(value);
  }

  drop(): void {
    this.#next += 1;
  }
}

/** The entries of a tar, in order. @throws EngineError "invalid" for what is no tar */
export async function* readTarEntries(
  stream: ReadableStream<Uint8Array>,
): AsyncGenerator<TarEntry, void, void> {
  const source = stream.getReader();
  const queue = new EventQueue(source);
  let finished = false;
  try {
    for (;;) {
      const event = await queue.peek();
      if (event === null) break;
      queue.drop();
      if (!("header" in event)) continue;
      const current = { open: true };
      yield new TarEntry(event.header, bodyOf(queue, current));
      current.open = false;
    }
    finished = true;
  } finally {
    if (!finished) await source.cancel().catch(() => undefined);
    source.releaseLock();
  }
}

function bodyOf(queue: EventQueue, current: { open: boolean }): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (!current.open) throw new Error("broken invariant: the archive's reader has moved on");
        const event = await queue.peek();
        if (event === null || "header" in event) return controller.close();
        queue.drop();
        controller.enqueue(event.data);
      },
    },
    { highWaterMark: 0 },
  );
}
