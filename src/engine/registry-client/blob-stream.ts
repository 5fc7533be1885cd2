/** A blob as one unbroken stream over as many connections as it takes. */
import { type Clock, EngineError, invalid, sentenceOf, unavailable } from "#base";

import type { RegistryLimits } from "./options.ts";
import type { Answer } from "./transport.ts";

export interface ResumeRequest {
  readonly sizeBytes: number;
  /** For sentences: "blob sha256:…". */
  readonly what: string;
  readonly limits: RegistryLimits;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Asks for the bytes from `offset` on. */
  readonly open: (offset: number) => Promise<Answer>;
}

export function resumingStream(request: ResumeRequest): ReadableStream<Uint8Array> {
  const source = new ResumingSource(request);
  return new ReadableStream<Uint8Array>({
    pull: (controller) => source.pull(controller),
    cancel: (reason) => source.close(reason),
  });
}

interface Connection {
  readonly answer: Answer;
  readonly reader: Pick<ReadableStreamDefaultReader<Uint8Array>, "read" | "cancel">;
}

class ResumingSource {
  readonly #request: ResumeRequest;
  #connection: Connection | null = null;
  #doneBytes = 0;
  /** Bytes a server without Range support sends once more. */
  #skipBytes = 0;
  #attempt = 0;
  #earnedAt = 0;

  constructor(request: ResumeRequest) {
    this.#request = request;
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    for (;;) {
      try {
        this.#connection ??= await this.#connect();
        const chunk = await this.#read(this.#connection);
        if (chunk === null) {
          controller.close();
          return;
        }
        if (chunk.length === 0) continue;
        controller.enqueue(chunk);
        return;
      } catch (cause) {
        await this.#recover(cause);
      }
    }
  }

  async close(reason: unknown): Promise<void> {
    const connection = this.#connection;
    this.#connection = null;
    connection?.answer.abort(reason instanceof Error ? reason : new Error("no longer wanted"));
    await connection?.reader.cancel().catch(() => null);
  }

  async #connect(): Promise<Connection> {
    const { open, sizeBytes, what } = this.#request;
    const answer = await open(this.#doneBytes);
    const { response } = answer;
    this.#skipBytes = this.#doneBytes;
    if (response.status === 206) {
      const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
      if (Number(start) !== this.#doneBytes) {
        answer.abort(new Error("wrong range"));
        throw invalid(`${what}: the registry answered another range than was asked for`);
      }
      this.#skipBytes = 0;
    }
    const length = response.headers.get("content-length");
    const expected = sizeBytes - this.#doneBytes + this.#skipBytes;
    if (length !== null && Number(length) !== expected) {
      answer.abort(new Error("wrong size"));
      throw invalid(`${what}: the registry's has ${Number(length)} bytes, expected ${expected}`);
    }
    if (!response.body) throw invalid(`${what}: the registry sent nothing`);
    return { answer, reader: response.body.getReader() };
  }

  /** The next bytes that are new; null at the end. */
  async #read({ answer, reader }: Connection): Promise<Uint8Array | null> {
    const { sizeBytes, what, limits } = this.#request;
    const stall = setTimeout(() => {
      answer.abort(new Error("i/o timeout"));
    }, limits.stallTimeoutMs);
    try {
      const { done, value } = await reader.read();
      if (done) {
        if (this.#doneBytes < sizeBytes) throw new Error("unexpected EOF");
        return null;
      }
      const skipped = Math.min(this.#skipBytes, value.length);
      this.#skipBytes -= skipped;
      const fresh = value.subarray(skipped);
      this.#doneBytes += fresh.length;
      if (this.#doneBytes > sizeBytes) throw invalid(`${what} is larger than ${sizeBytes} bytes`);
      return fresh;
    } finally {
      clearTimeout(stall);
    }
  }

  /** Pauses before the next connection, or gives up. */
  async #recover(cause: unknown): Promise<void> {
    const { signal, limits, clock, what } = this.#request;
    await this.close(cause);
    signal.throwIfAborted();
    // What the registry or we ourselves stated clearly does not get better by asking again.
    if (cause instanceof EngineError) throw cause;
    if (this.#doneBytes - this.#earnedAt >= limits.progressBytes) {
      this.#attempt = 0;
      this.#earnedAt = this.#doneBytes;
    }
    this.#attempt += 1;
    if (this.#attempt >= limits.attempts) {
      throw unavailable(`${what}: ${sentenceOf(cause)}`, { cause });
    }
    await clock.sleep(limits.backOffMs * 2 ** (this.#attempt - 1), signal);
  }
}
