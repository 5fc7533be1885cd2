/**
 * One client that shares a process' streams.
 *
 * Output: what the socket does not take waits here. Above a limit the process is made to wait, as in a shell
 * pipeline and as Docker does (`docker run … | less` must lose nothing). But one that takes nothing at all for a
 * while, beside others, is cut off: it must not hold up the rest for ever.
 */
import type { Socket } from "bun";

import { type LogStream, writeFrameHead } from "#engine/logs";

import { hasHungUp, Outbox } from "./outbox.ts";
import type { Chunk } from "./output.ts";
import type { AttachHello } from "./protocol.ts";

const HIGH_WATER_BYTES = 1024 * 1024;
const LOW_WATER_BYTES = 256 * 1024;
/** What may arrive for stdin before the process is born. */
const EARLY_INPUT_BYTES = 64 * 1024;

/** What an attacher is attached to. */
export interface AttachedProcess {
  readonly isTerminal: boolean;
  /** Takes all; false asks to wait for `roomForInput`. */
  takeInput(bytes: Uint8Array): boolean;
  inputEnded(): void;
  /** The attacher cannot take more (true), or can again. */
  setBlocked(attacher: Attacher, isBlocked: boolean): void;
  detach(attacher: Attacher): void;
}

export class Attacher {
  readonly hello: AttachHello;
  /** When the socket last took something, for cutting off who takes nothing. */
  lastProgressAt = performance.now();
  readonly #socket: Socket<unknown>;
  readonly #outbox: Outbox<unknown>;
  #process: AttachedProcess | null = null;
  #earlyInput: Uint8Array[] = [];
  #earlyBytes = 0;
  #inputEnded = false;
  #isLeaving = false;
  #isBlocked = false;
  #isPaused = false;

  constructor(socket: Socket<unknown>, hello: AttachHello) {
    this.#socket = socket;
    this.hello = hello;
    this.#outbox = new Outbox(socket);
  }

  /** The process is there (born, or alive already): what the client sent early goes to it. */
  join(process: AttachedProcess): void {
    this.#process = process;
    const early = this.#earlyInput;
    this.#earlyInput = [];
    for (const bytes of early) this.#give(bytes);
    if (this.#inputEnded) this.#endInput();
    else if (early.length > 0 && !this.#isFull) this.roomForInput();
  }

  /** Sends a frame that is no output: the answer to the hello. */
  send(bytes: Uint8Array): void {
    this.#outbox.write(bytes);
  }

  /** The client wants no more output, and its input, whose end it has said, is all there is. */
  leave(): void {
    this.#isLeaving = true;
    this.#outbox.closed();
    this.#setBlocked(false);
    if (this.#inputEnded) this.terminate();
  }

  deliver(stream: LogStream, chunk: Chunk, isTerminal: boolean): void {
    if (!this.hello[stream] || this.#isLeaving) return;
    if (!isTerminal) writeFrameHead(chunk.framed, 0, stream, chunk.bytes.length);
    if (this.#outbox.pendingBytes === 0) this.lastProgressAt = performance.now();
    this.#outbox.write(isTerminal ? chunk.bytes : chunk.framed);
    this.#setBlocked(this.#outbox.pendingBytes > HIGH_WATER_BYTES);
  }

  /** The process has ended and all it printed was delivered: closes after the last byte. */
  finish(): void {
    this.#process = null;
    this.#resume();
    if (this.#isLeaving) this.terminate();
    else this.#outbox.end();
  }

  /** Cut off: whatever waits is lost. */
  terminate(): void {
    this.#socket.terminate();
  }

  /** From the socket: bytes for stdin. */
  onData(bytes: Uint8Array): void {
    if (!this.hello.stdin || this.#inputEnded) return;
    if (this.#process !== null) {
      this.#give(bytes);
      return;
    }
    this.#earlyInput.push(bytes.slice());
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes > EARLY_INPUT_BYTES) this.#pause();
  }

  /**
   * From the socket: the client sends no more. That is the end of the process' input only when the client said so
   * and is still there: a daemon that dies must not end every `docker run -i`.
   */
  onEnd(): void {
    if (this.#inputEnded || hasHungUp(this.#socket)) return;
    this.#inputEnded = true;
    this.#endInput();
    if (this.#isLeaving) this.terminate();
  }

  onDrain(): void {
    this.lastProgressAt = performance.now();
    this.#outbox.drain();
    if (this.#outbox.pendingBytes < LOW_WATER_BYTES) this.#setBlocked(false);
  }

  onClose(): void {
    this.#outbox.closed();
    const process = this.#process;
    this.#inputEnded = true;
    this.#setBlocked(false);
    process?.detach(this);
    this.#process = null;
  }

  roomForInput(): void {
    this.#resume();
  }

  #isFull = false;

  #give(bytes: Uint8Array): void {
    this.#isFull = this.#process?.takeInput(bytes) === false;
    if (this.#isFull) this.#pause();
  }

  #endInput(): void {
    if (this.hello.stdin) this.#process?.inputEnded();
  }

  #setBlocked(isBlocked: boolean): void {
    if (this.#isBlocked === isBlocked) return;
    this.#isBlocked = isBlocked;
    this.#process?.setBlocked(this, isBlocked);
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#socket.pause();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket.resume();
  }
}
