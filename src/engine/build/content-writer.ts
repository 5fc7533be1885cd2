/** Contents of files that arrive in pieces, several files at once, behind each other in one file that only grows. */
import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from "node:fs";

import { invalid } from "#base";

export interface WrittenContent {
  readonly offset: number;
  readonly sizeBytes: number;
  readonly digest: string;
}

interface Arriving {
  offset: number;
  capacity: number;
  sizeBytes: number;
  readonly hasher: Bun.CryptoHasher;
}

/** Files that may be under way at once: clients send four. */
const ARRIVING_LIMIT = 64;
const COPY_BYTES = 1024 * 1024;

export class ContentWriter implements Disposable {
  readonly #fd: number;
  readonly #limitBytes: number;
  readonly #arriving = new Map<number, Arriving>();
  #end: number;

  /** @param limitBytes how large the file may become */
  constructor(path: string, limitBytes: number) {
    // Not for appending: a file's pieces go to their own place.
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.#limitBytes = limitBytes;
    this.#end = fstatSync(this.#fd).size;
  }

  /** @param sizeBytes how large the file is said to be. @throws EngineError "invalid" for what breaks a limit */
  push(index: number, sizeBytes: number, bytes: Uint8Array): void {
    const file = this.#arriving.get(index) ?? this.#begin(index, Math.max(sizeBytes, bytes.length));
    if (file.sizeBytes + bytes.length > file.capacity) this.#move(file, bytes.length);
    file.hasher.update(bytes);
    this.#write(bytes, file.offset + file.sizeBytes);
    file.sizeBytes += bytes.length;
  }

  /** The file is whole. */
  finish(index: number): WrittenContent {
    const file = this.#arriving.get(index) ?? this.#begin(index, 0);
    this.#arriving.delete(index);
    const { offset, sizeBytes, hasher } = file;
    return { offset, sizeBytes, digest: hasher.digest("hex") };
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  #begin(index: number, capacity: number): Arriving {
    if (this.#arriving.size >= ARRIVING_LIMIT) throw invalid("too many files are sent at once");
    const offset = this.#reserve(capacity);
    const hasher = new Bun.CryptoHasher("sha256");
    const file = { offset, capacity, sizeBytes: 0, hasher };
    this.#arriving.set(index, file);
    return file;
  }

  #reserve(sizeBytes: number): number {
    const offset = this.#end;
    if (offset + sizeBytes > this.#limitBytes) throw invalid("the context has become too large");
    this.#end += sizeBytes;
    return offset;
  }

  /** A file that grew while it was sent goes where there is room. */
  #move(file: Arriving, moreBytes: number): void {
    const capacity = 2 * (file.sizeBytes + moreBytes);
    const offset = this.#reserve(capacity);
    const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, Math.max(file.sizeBytes, 1)));
    for (let done = 0; done < file.sizeBytes;) {
      const asked = Math.min(buffer.length, file.sizeBytes - done);
      const read = readSync(this.#fd, buffer, 0, asked, file.offset + done);
      if (read === 0) throw invalid("a file's first part is gone");
      this.#write(buffer.subarray(0, read), offset + done);
      done += read;
    }
    Object.assign(file, { offset, capacity });
  }

  #write(bytes: Uint8Array, position: number): void {
    for (let done = 0; done < bytes.length;) {
      done += writeSync(this.#fd, bytes, done, bytes.length - done, position + done);
    }
  }
}
