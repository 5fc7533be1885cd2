/**
 * An archive in pieces that are worth a call each: headers and small files are written one behind the other, and a
 * small file is read to the very place that it is sent from.
 */
import { addressOf, allocate, checked } from "#linux/ffi";

/** Half of what the kernel lets wait in a Unix socket: one piece is sent while the next is gathered. */
const CHUNK_BYTES = 128 * 1024;

export class Gather {
  #chunk: Uint8Array<ArrayBuffer> | null = null;
  #address = 0;
  #used = 0;
  readonly #full: Uint8Array[] = [];

  /** The next piece that is complete; it belongs to whoever takes it. */
  take(): Uint8Array | undefined {
    return this.#full.length === 0 ? undefined : this.#full.shift();
  }

  /** Makes a piece of what there is. */
  flush(): void {
    if (this.#chunk !== null && this.#used > 0)
      this.#full.push(this.#chunk.subarray(0, this.#used));
    this.#chunk = null;
    this.#used = 0;
  }

  add(bytes: Uint8Array): void {
    for (let rest = bytes; rest.length > 0;) {
      const piece = rest.subarray(0, this.#room());
      this.#chunk?.set(piece, this.#used);
      this.#used += piece.length;
      rest = rest.subarray(piece.length);
    }
  }

  zeros(sizeBytes: number): void {
    // A chunk is new memory, and nothing was here before.
    for (let rest = sizeBytes; rest > 0;) {
      const piece = Math.min(rest, this.#room());
      this.#used += piece;
      rest -= piece;
    }
  }

  /** Exactly so many bytes of a file's beginning: zeros where it has become shorter. @throws SyscallError */
  read(fd: number, sizeBytes: number): void {
    for (let done = 0; done < sizeBytes;) {
      const size = Math.min(sizeBytes - done, this.#room());
      const filled = checked("pread64", "file", fd, this.#address + this.#used, size, done);
      if (filled === 0) return this.zeros(sizeBytes - done);
      this.#used += filled;
      done += filled;
    }
  }

  /** Bytes that fit into the chunk; never 0. */
  #room(): number {
    if (this.#used === CHUNK_BYTES) this.flush();
    if (this.#chunk === null) {
      this.#chunk = allocate(CHUNK_BYTES);
      this.#address = Number(addressOf(this.#chunk));
    }
    return CHUNK_BYTES - this.#used;
  }
}
