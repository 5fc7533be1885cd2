/** The writing end of a process' stdin: a FIFO, or the master of its terminal. */
import { attempt, errnoNumbers } from "#linux/ffi";

import { closeDescriptor } from "./descriptors.ts";
import type { Readiness } from "./readiness.ts";

/** Above this the sender is asked to wait. */
const HIGH_WATER_BYTES = 64 * 1024;
const WRITABLE = { readable: false, writable: true };

export interface InputOptions {
  readonly readiness: Readiness;
  /** Non-blocking; owned from here on. */
  readonly descriptor: number;
  /** There is room again after `isFull`. */
  readonly onRoom: () => void;
  /** The descriptor is closed: the process sees the end of its input. */
  readonly onClosed: () => void;
}

export class Input {
  readonly descriptor: number;
  readonly #options: InputOptions;
  #queue: Uint8Array[] = [];
  #pendingBytes = 0;
  #isOpen = true;
  #isEnding = false;
  #isWatched = false;

  constructor(options: InputOptions) {
    this.#options = options;
    this.descriptor = options.descriptor;
  }

  get isOpen(): boolean {
    return this.#isOpen && !this.#isEnding;
  }

  /** The sender should wait for `onRoom`. */
  get isFull(): boolean {
    return this.#isOpen && this.#pendingBytes > HIGH_WATER_BYTES;
  }

  /** Nothing waits to be written. */
  get isIdle(): boolean {
    return this.#pendingBytes === 0;
  }

  /** Takes all of it. What arrives after the end, or after the process closed its stdin, is dropped. */
  write(bytes: Uint8Array): void {
    if (!this.isOpen) return;
    const written = this.#queue.length > 0 ? 0 : this.#push(bytes);
    if (written === null || written === bytes.length) return;
    this.#queue.push(bytes.slice(written));
    this.#pendingBytes += bytes.length - written;
  }

  /** End of file, after everything that waits. */
  end(): void {
    this.#isEnding = true;
    if (this.#queue.length === 0) this.close();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#queue = [];
    this.#pendingBytes = 0;
    this.#unwatch();
    closeDescriptor(this.descriptor);
    this.#options.onClosed();
  }

  /** @returns how much was taken; null when the process does not read any more */
  #push(bytes: Uint8Array): number | null {
    let written = 0;
    while (written < bytes.length) {
      const chunk = bytes.subarray(written);
      const count = attempt("write", this.descriptor, chunk, chunk.length);
      if (count >= 0) {
        written += count;
      } else if (count === -errnoNumbers.EAGAIN) {
        this.#watch();
        return written;
      } else if (count !== -errnoNumbers.EINTR) {
        this.close();
        return null;
      }
    }
    return written;
  }

  #onWritable(): void {
    for (let chunk = this.#queue[0]; chunk !== undefined; chunk = this.#queue[0]) {
      const written = this.#push(chunk);
      if (written === null) break;
      this.#pendingBytes -= written;
      if (written < chunk.length) {
        this.#queue[0] = chunk.subarray(written);
        break;
      }
      this.#queue.shift();
    }
    if (this.#queue.length === 0) {
      this.#unwatch();
      if (this.#isEnding) this.close();
    }
    if (!this.isFull) this.#options.onRoom();
  }

  #watch(): void {
    if (this.#isWatched) return;
    this.#options.readiness.watch(this.descriptor, WRITABLE, () => this.#onWritable());
    this.#isWatched = true;
  }

  #unwatch(): void {
    if (!this.#isWatched) return;
    this.#isWatched = false;
    this.#options.readiness.forget(this.descriptor);
  }
}
