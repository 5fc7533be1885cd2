/** Sequential writing through one buffer: many small records, few system calls. */
import { writeSync } from "node:fs";

const BUFFER_BYTES = 1024 * 1024;

/** Writes all of a piece at a position. @throws the file system's error, such as ENOSPC */
export function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
}

export class BlockWriter {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #used = 0;
  #position: number;

  constructor(fd: number, position: number) {
    this.#fd = fd;
    this.#position = position;
  }

  /** Where the next byte goes in the file. */
  get position(): number {
    return this.#position + this.#used;
  }

  /**
   * Zeroed room for a record of at most 64 KiB: fill it before the next call.
   * @returns the buffer and the record's place in it
   */
  take(sizeBytes: number): { buffer: Buffer; at: number } {
    if (this.#used + sizeBytes > BUFFER_BYTES) this.flush();
    const at = this.#used;
    this.#used += sizeBytes;
    return { buffer: this.#buffer, at };
  }

  /** Writes bytes of any length. */
  bytes(data: Uint8Array): void {
    if (data.length <= 64 * 1024) {
      const { buffer, at } = this.take(data.length);
      buffer.set(data, at);
      return;
    }
    this.flush();
    writeAll(this.#fd, data, this.#position);
    this.#position += data.length;
  }

  /** Zeros up to a position. */
  seek(position: number): void {
    while (this.position < position) this.take(Math.min(position - this.position, 64 * 1024));
  }

  flush(): void {
    writeAll(this.#fd, this.#buffer.subarray(0, this.#used), this.#position);
    this.#position += this.#used;
    this.#buffer.fill(0, 0, this.#used);
    this.#used = 0;
  }
}
