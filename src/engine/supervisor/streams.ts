/** One attachment as web streams, with back-pressure both ways and half-close. */
import type { Socket } from "bun";

import { unavailable } from "#base";

import { dial, errorOf } from "./client.ts";
import { encodeFrame, FrameReader } from "./frames.ts";
import type { AttachHello, HelloAnswer } from "./protocol.ts";

const OUTPUT_HIGH_WATER_BYTES = 256 * 1024;

export interface AttachedStreams {
  /** Docker's multiplexed frames, raw bytes with a terminal. Ends when the process has ended and is drained. */
  readonly output: ReadableStream<Uint8Array>;
  /** Closing it is end of file, and so is aborting it. */
  readonly input: WritableStream<Uint8Array>;
  /** Leaves; the process goes on, and its input stays open unless `input` was closed before. */
  close(): void;
}

/** Streams that are there before the supervisor has answered: what is written waits, and nothing comes yet. */
export interface EarlyStreams extends AttachedStreams {
  /** The supervisor carries them. Rejects as it refuses; the output has ended then. */
  readonly joined: Promise<void>;
}

/** @param leave asks the supervisor to hang up once it has seen the end of the input */
export function openStreams(
  path: string,
  hello: AttachHello,
  leave: () => Promise<unknown>,
): EarlyStreams {
  return new Attachment(leave).open(path, hello);
}

class Attachment {
  #socket: Socket | null = null;
  readonly #frames = new FrameReader();
  readonly #greeted = Promise.withResolvers<void>();
  #isGreeted = false;
  #output: ReadableStreamDefaultController<Uint8Array> | null = null;
  #isPaused = false;
  #hasEnded = false;
  #inputEnded = false;
  #roomForInput: PromiseWithResolvers<void> | null = null;
  readonly #leave: () => Promise<unknown>;

  constructor(leave: () => Promise<unknown>) {
    this.#leave = leave;
  }

  open(path: string, hello: AttachHello): EarlyStreams {
    const strategy = new ByteLengthQueuingStrategy({ highWaterMark: OUTPUT_HIGH_WATER_BYTES });
    const output = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#output = controller;
        },
        pull: () => this.#resume(),
        cancel: () => {
          this.#hasEnded = true;
          this.#close();
        },
      },
      strategy,
    );
    const joined = this.#join(path, hello);
    joined.catch(() => this.#endOutput());
    const input = new WritableStream<Uint8Array>({
      // What is sent before the answer would be lost with a refusal, and nobody could tell.
      start: () => joined,
      write: (bytes) => this.#sendAll(bytes),
      close: () => this.#endInput(),
      abort: () => this.#endInput(), // the far client is gone: Docker ends the input then, too
    });
    return { output, input, joined, close: () => this.#close() };
  }

  async #join(path: string, hello: AttachHello): Promise<void> {
    this.#socket = await dial(path, {
      data: (_, bytes) => this.onData(bytes),
      drain: () => this.onDrain(),
      end: () => this.onEnd(),
      close: () => this.onClose(),
    });
    // Closed before it was open.
    if (this.#hasEnded) this.#socket.terminate();
    await this.#sendAll(encodeFrame(hello));
    await this.#greeted.promise;
  }

  onData(bytes: Uint8Array): void {
    if (this.#isGreeted) {
      this.#push(bytes.slice());
      return;
    }
    this.#frames.push(bytes);
    const answer = this.#frames.next() as HelloAnswer | undefined;
    if (answer === undefined) return;
    this.#isGreeted = true;
    if ("error" in answer) this.#greeted.reject(errorOf(answer.error));
    else this.#greeted.resolve();
    const rest = this.#frames.takeRest();
    if (rest.length > 0) this.#push(rest);
  }

  onDrain(): void {
    this.#roomForInput?.resolve();
    this.#roomForInput = null;
  }

  /** The process has ended: nothing more will come, and nothing more is read. */
  onEnd(): void {
    this.#endOutput();
    this.#socket?.end();
  }

  onClose(): void {
    this.#socket = null;
    this.#greeted.reject(unavailable("the supervisor is gone"));
    this.#greeted.promise.catch(() => undefined);
    this.onDrain();
    this.#endOutput();
  }

  #push(bytes: Uint8Array): void {
    if (this.#hasEnded || this.#output === null) return;
    this.#output.enqueue(bytes);
    if ((this.#output.desiredSize ?? 0) > 0 || this.#isPaused) return;
    this.#isPaused = true;
    this.#socket?.pause();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket?.resume();
  }

  #endOutput(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#output?.close();
  }

  #endInput(): void {
    this.#inputEnded = true;
    this.#socket?.shutdown();
  }

  #close(): void {
    this.#endOutput();
    if (this.#socket === null) return;
    if (!this.#inputEnded) {
      this.#socket.terminate();
      return;
    }
    // An end of input that was said must be seen before the hang-up, or it would count as a daemon's death: the
    // supervisor hangs up. What it still sends until then is read and dropped.
    this.#resume();
    this.#leave().catch(() => this.#socket?.terminate());
  }

  /** Resolves when the socket has taken it. What a process that ended does not read is dropped. */
  async #sendAll(bytes: Uint8Array): Promise<void> {
    let offset = 0;
    while (this.#socket !== null) {
      offset += Math.max(this.#socket.write(bytes.subarray(offset)), 0);
      if (offset >= bytes.length) return;
      this.#roomForInput ??= Promise.withResolvers<void>();
      await this.#roomForInput.promise;
    }
  }
}
