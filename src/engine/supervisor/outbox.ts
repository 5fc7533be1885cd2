/** What waits to be written to a socket that does not take it now. */
import type { Socket } from "bun";

import { allocate, attempt } from "#linux/ffi";

const POLLRDHUP = 0x2000;
const POLLHUP = 0x10;

/** Whether the other end is closed altogether, where Bun's `end` only says that nothing more will come. */
export function hasHungUp(socket: Socket<unknown>): boolean {
  const { fd } = socket as unknown as { readonly fd: number }; // the typings lack it
  const entry = allocate(8);
  const view = new DataView(entry.buffer);
  view.setInt32(0, fd, true);
  view.setInt16(4, POLLRDHUP, true);
  attempt("ppoll", entry, 1, allocate(16), null, 0);
  return (view.getInt16(6, true) & POLLHUP) !== 0;
}

export class Outbox<Data> {
  readonly #socket: Socket<Data>;
  #queue: Uint8Array[] = [];
  #pendingBytes = 0;
  #isEnding = false;
  #isClosed = false;

  constructor(socket: Socket<Data>) {
    this.#socket = socket;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Takes all of it; what the socket refuses is copied, since the caller's buffer is used again. */
  write(bytes: Uint8Array): void {
    if (this.#isClosed || this.#isEnding) return;
    const written = this.#queue.length > 0 ? 0 : Math.max(this.#socket.write(bytes), 0);
    if (written === bytes.length) return;
    const rest = bytes.slice(written);
    this.#queue.push(rest);
    this.#pendingBytes += rest.length;
  }

  /** The socket takes bytes again. */
  drain(): void {
    for (let chunk = this.#queue[0]; chunk !== undefined; chunk = this.#queue[0]) {
      const written = Math.max(this.#socket.write(chunk), 0);
      this.#pendingBytes -= written;
      if (written < chunk.length) {
        this.#queue[0] = chunk.subarray(written);
        return;
      }
      this.#queue.shift();
    }
    if (this.#isEnding) this.#close();
  }

  /** Closes once everything is written. */
  end(): void {
    this.#isEnding = true;
    if (this.#queue.length === 0) this.#close();
  }

  /** The socket is gone: forget what waits. */
  closed(): void {
    this.#isClosed = true;
    this.#queue = [];
    this.#pendingBytes = 0;
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.end();
  }
}
