/**
 * The reading end of what a process prints: one FIFO, or the master of its terminal. What a FIFO holds is copied first and
 * taken when it was delivered: whoever is killed in between leaves it to a successor. A terminal cannot be looked into.
 */
import { allocate, attempt, checked, errnoNumbers } from "#linux/ffi";

import { closeDescriptor, O_CLOEXEC, O_NONBLOCK } from "./descriptors.ts";
import type { Readiness } from "./readiness.ts";

const HEAD_BYTES = 8;
/** What a pipe holds: more cannot be waiting in one read. */
const READ_BYTES = 64 * 1024;
/** Reads of one descriptor in a row, so that a flood of one container does not starve the others. */
const READS_PER_TURN = 4;
/** Reads after the end: all that a pipe or a pty can hold, with room; others may hold the pipe and write on. */
const READS_AT_END = 32;
/** A terminal that nobody has open reads as an error until someone opens it again. */
const TERMINAL_RETRY_MS = 200;

const SPLICE_F_NONBLOCK = 2;

const READ_ONLY = { readable: true, writable: false };
const NOTHING = { readable: false, writable: false };

/** One buffer for every process: filled and given on within one synchronous call. The head is a frame's. */
const shared = new Uint8Array(new ArrayBuffer(HEAD_BYTES + READ_BYTES));
const readInto = shared.subarray(HEAD_BYTES);
const dropped = new Uint8Array(new ArrayBuffer(READ_BYTES));
/** Where copies of pipes are read from; made when first needed. */
let copies: readonly [reader: number, writer: number] | null = null;

/**
 * What was read. Both arrays are overwritten by the next read.
 * `framed` has 8 bytes in front, for the receiver to fill in the head.
 */
export interface Chunk {
  readonly bytes: Uint8Array;
  readonly framed: Uint8Array;
}

/** Told of every chunk of a pipe: what `OutputLedger` keeps of it. */
export interface ChunkGuard {
  begin(chunk: Uint8Array): void;
  /** It is delivered, and still in the pipe. */
  prepare(): void;
  commit(): void;
}

export interface OutputOptions {
  readonly readiness: Readiness;
  /** Non-blocking; owned from here on. */
  readonly descriptor: number;
  readonly isTerminal: boolean;
  /** Null for what nobody keeps. */
  readonly guard: ChunkGuard | null;
  readonly deliver: (chunk: Chunk) => void;
  /** Nobody can write any more. */
  readonly onEnd: () => void;
}

/** What a pipe holds, as the next chunk is: overwritten by it. Empty when there is nothing. */
export const peekPipe = (descriptor: number, limitBytes: number): Uint8Array =>
  readInto.subarray(0, Math.max(0, copyOut(descriptor, Math.min(limitBytes, READ_BYTES))));

/** As read(2), without taking anything out. */
function copyOut(descriptor: number, limitBytes: number): number {
  const [reader, writer] = (copies ??= openCopies());
  const count = attempt("tee", descriptor, writer, limitBytes, SPLICE_F_NONBLOCK);
  return count > 0 ? attempt("read", reader, readInto, count) : count;
}

function openCopies(): readonly [number, number] {
  const pair = allocate(8);
  checked("pipe2", "copies of pipes", pair, O_CLOEXEC | O_NONBLOCK);
  const view = new DataView(pair.buffer);
  return [view.getInt32(0, true), view.getInt32(4, true)];
}

export class Output {
  readonly descriptor: number;
  readonly #options: OutputOptions;
  #isOpen = true;
  #isWatched = false;
  #isPaused = false;
  #retry: Timer | null = null;

  constructor(options: OutputOptions) {
    this.#options = options;
    this.descriptor = options.descriptor;
    this.#watch();
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Lets the process wait: its pipe fills up, then it blocks, as in any shell pipeline. */
  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    if (this.#isWatched) this.#options.readiness.change(this.descriptor, NOTHING);
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#isWatched) this.#options.readiness.change(this.descriptor, READ_ONLY);
  }

  /** Takes everything that is there now, paused or not. What a process wrote before its end is there. */
  drain(): void {
    this.#read(READS_AT_END);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#unwatch();
    closeDescriptor(this.descriptor);
  }

  #read(rounds: number): void {
    for (let round = 0; round < rounds && this.#isOpen; round += 1) {
      const { guard } = this.#options;
      const count =
        guard === null
          ? attempt("read", this.descriptor, readInto, READ_BYTES)
          : copyOut(this.descriptor, READ_BYTES);
      if (count > 0) {
        const framed = shared.subarray(0, HEAD_BYTES + count);
        const bytes = readInto.subarray(0, count);
        guard?.begin(bytes);
        this.#options.deliver({ bytes, framed });
        if (guard !== null) this.#take(guard, count);
        if (this.#isPaused && rounds === READS_PER_TURN) return;
        continue;
      }
      if (count === -errnoNumbers.EAGAIN || count === -errnoNumbers.EINTR) return;
      this.#hangUp();
      return;
    }
  }

  #take(guard: ChunkGuard, count: number): void {
    guard.prepare();
    // Only we take out of it: there is no less in it than there was.
    for (let left = count; left > 0;) {
      const taken = attempt("read", this.descriptor, dropped, left);
      if (taken <= 0) break;
      left -= taken;
    }
    guard.commit();
  }

  #hangUp(): void {
    this.#unwatch();
    if (!this.#options.isTerminal) {
      this.close();
      this.#options.onEnd();
      return;
    }
    this.#retry ??= setTimeout(() => {
      this.#retry = null;
      if (!this.#isOpen) return;
      this.#watch();
    }, TERMINAL_RETRY_MS);
  }

  #watch(): void {
    const interest = this.#isPaused ? NOTHING : READ_ONLY;
    this.#options.readiness.watch(this.descriptor, interest, () => {
      if (this.#isPaused) this.#onPausedEnd();
      else this.#read(READS_PER_TURN);
    });
    this.#isWatched = true;
  }

  /** A hang-up is told even to who wants nothing, again and again: look away until the pause ends. */
  #onPausedEnd(): void {
    this.#unwatch();
    this.#retry ??= setTimeout(() => {
      this.#retry = null;
      if (this.#isOpen) this.#watch();
    }, TERMINAL_RETRY_MS);
  }

  #unwatch(): void {
    if (!this.#isWatched) return;
    this.#isWatched = false;
    this.#options.readiness.forget(this.descriptor);
  }
}
