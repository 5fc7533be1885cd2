/** Bytes on their way into the store: appended, hashed, and published only when they are what was promised. */
import { closeSync, fstatSync, openSync, readSync, rmSync, writeSync } from "node:fs";

import { assert, invalid } from "#base";
import type { Digest } from "#oci";

import { spaceError, syncData } from "./durability.ts";

/** What the bytes must turn out to be, as far as it is known. */
export interface IngestExpectation {
  readonly digest?: Digest;
  readonly sizeBytes?: number;
  /** Bytes beyond this are refused as they come. */
  readonly limitBytes?: number;
}

type Ending = "open" | "kept" | "committed" | "closed";

const REHASH_CHUNK_BYTES = 1024 * 1024;

export class Ingest implements Disposable {
  readonly path: string;
  readonly #expectation: IngestExpectation;
  readonly #publish: (path: string, digest: Digest) => Promise<void>;
  readonly #descriptor: number;
  readonly #hasher = new Bun.CryptoHasher("sha256");
  #sizeBytes = 0;
  #ending: Ending = "open";

  constructor(request: {
    path: string;
    expectation: IngestExpectation;
    publish: (path: string, digest: Digest) => Promise<void>;
  }) {
    this.path = request.path;
    this.#expectation = request.expectation;
    this.#publish = request.publish;
    try {
      this.#descriptor = openSync(request.path, "a+", 0o600);
    } catch (cause) {
      throw spaceError(request.path, cause);
    }
    this.#rehash();
  }

  /** Bytes so far: more than 0 at the start of one that was kept. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** @throws EngineError "invalid" beyond the promised size or the limit */
  append(chunk: Uint8Array): void {
    assert(this.#ending === "open", "an ended ingest takes no bytes");
    const { sizeBytes, limitBytes = Number.POSITIVE_INFINITY } = this.#expectation;
    const total = this.#sizeBytes + chunk.length;
    if (total > (sizeBytes ?? limitBytes) || total > limitBytes) {
      throw invalid(`content is larger than ${sizeBytes ?? limitBytes} bytes`);
    }
    try {
      for (let done = 0; done < chunk.length;) {
        done += writeSync(this.#descriptor, chunk, done, chunk.length - done);
      }
    } catch (cause) {
      throw spaceError(this.path, cause);
    }
    this.#hasher.update(chunk);
    this.#sizeBytes = total;
  }

  /** Verifies, syncs and publishes; the digest is then a blob of the store. @throws EngineError "invalid" */
  async commit(): Promise<{ digest: Digest; sizeBytes: number }> {
    assert(this.#ending === "open", "an ingest ends once");
    const expected = this.#expectation;
    if (expected.sizeBytes !== undefined && expected.sizeBytes !== this.#sizeBytes) {
      throw invalid(`unexpected content size ${this.#sizeBytes}, expected ${expected.sizeBytes}`);
    }
    const digest: Digest = `sha256:${this.#hasher.digest("hex")}`;
    if (expected.digest !== undefined && expected.digest !== digest) {
      throw invalid(`unexpected content digest ${digest}, expected ${expected.digest}`);
    }
    try {
      await syncData(this.#descriptor);
    } catch (cause) {
      throw spaceError(this.path, cause);
    }
    await this.#publish(this.path, digest);
    this.#end("committed");
    return { digest, sizeBytes: this.#sizeBytes };
  }

  /** Leaves the bytes for an ingest of the same name later in this process's life. */
  keep(): void {
    this.#end("kept");
  }

  /** What has arrived, from the start, while the ingest is open. */
  read(): ReadableStream<Uint8Array> {
    return Bun.file(this.path).stream();
  }

  [Symbol.dispose](): void {
    if (this.#ending !== "open") return;
    this.#end("closed");
    rmSync(this.path, { force: true });
  }

  #end(ending: Ending): void {
    this.#ending = ending;
    closeSync(this.#descriptor);
  }

  #rehash(): void {
    if (fstatSync(this.#descriptor).size === 0) return;
    const buffer = new Uint8Array(REHASH_CHUNK_BYTES);
    for (;;) {
      const read = readSync(this.#descriptor, buffer, 0, buffer.length, this.#sizeBytes);
      if (read === 0) return;
      this.#hasher.update(buffer.subarray(0, read));
      this.#sizeBytes += read;
    }
  }
}
