/**
 * Content store: immutable blobs, addressed by digest.
 *
 *   <root>/blobs/sha256/<hex>   complete and verified
 *   <root>/ingest/<name>        still arriving; deleted at open
 *
 * Promise: a file under blobs/ always matches its name. Bytes are hashed while they arrive and renamed into
 * place only after a sync, so a crash leaves an ingest, never a bad blob.
 * Spec: OCI image-layout 1.1, "Blobs".
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

import { EngineError, internal, invalid, notFound } from "#base";
import { type Digest, digestHex, digestOf } from "#oci";

import { spaceError, syncDirectory } from "./durability.ts";
import { Ingest, type IngestExpectation } from "./ingest.ts";

export interface BlobInfo {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export interface ContentStore {
  /** The size of a blob that is here; null when it is not. */
  sizeOf(digest: Digest): number | null;
  /** Where a blob lies, whether it is here or not: for readers in another thread. */
  pathOf(digest: Digest): string;
  /**
   * A whole document, its digest checked.
   * @throws EngineError "notFound"; "invalid" when it is larger than the limit; "internal" when it is damaged
   */
  readDocument(digest: Digest, limitBytes: number): Uint8Array<ArrayBuffer>;
  /** Writes a document that is in memory. Writing one that is here already repairs or changes nothing. */
  writeDocument(bytes: Uint8Array): Promise<BlobInfo>;
  /** Streams a blob in. @throws EngineError "invalid" when it is not what was promised, or too large */
  write(
    source: ReadableStream<Uint8Array>,
    options?: IngestExpectation & { readonly signal?: AbortSignal },
  ): Promise<BlobInfo>;
  /**
   * A place for bytes that are still arriving. One with a name that was kept goes on where it stopped.
   * Disposing deletes it unless it was committed or kept.
   */
  ingest(options?: IngestExpectation & { readonly name?: string }): Ingest;
  list(): BlobInfo[];
  /** May run twice. */
  remove(digest: Digest): void;
}

/** Opens the store and deletes what a crash left arriving. */
export function openContentStore(root: string): ContentStore {
  return new DirectoryContentStore(root);
}

class DirectoryContentStore implements ContentStore {
  readonly #blobs: string;
  readonly #ingests: string;

  constructor(root: string) {
    this.#blobs = join(root, "blobs", "sha256");
    this.#ingests = join(root, "ingest");
    mkdirSync(this.#blobs, { recursive: true, mode: 0o700 });
    rmSync(this.#ingests, { recursive: true, force: true });
    mkdirSync(this.#ingests, { recursive: true, mode: 0o700 });
  }

  pathOf(digest: Digest): string {
    return join(this.#blobs, digestHex(digest));
  }

  sizeOf(digest: Digest): number | null {
    return statSync(this.pathOf(digest), { throwIfNoEntry: false })?.size ?? null;
  }

  readDocument(digest: Digest, limitBytes: number): Uint8Array<ArrayBuffer> {
    const sizeBytes = this.sizeOf(digest);
    if (sizeBytes === null) throw notFound(`content ${digest}: not found`);
    if (sizeBytes > limitBytes) {
      throw invalid(`content ${digest} is larger than ${limitBytes} bytes`);
    }
    const bytes = new Uint8Array(readFileSync(this.pathOf(digest)));
    if (digestOf(bytes) !== digest) throw internal(`content ${digest} is damaged`);
    return bytes;
  }

  async writeDocument(bytes: Uint8Array): Promise<BlobInfo> {
    const digest = digestOf(bytes);
    const info = { digest, sizeBytes: bytes.length };
    if (this.#isIntact(digest, bytes.length)) return info;
    using ingest = this.ingest({ digest, sizeBytes: bytes.length });
    ingest.append(bytes);
    return await ingest.commit();
  }

  async write(
    source: ReadableStream<Uint8Array>,
    options: IngestExpectation & { readonly signal?: AbortSignal } = {},
  ): Promise<BlobInfo> {
    using ingest = this.ingest(options);
    for await (const chunk of source) {
      options.signal?.throwIfAborted();
      ingest.append(chunk);
    }
    options.signal?.throwIfAborted();
    return await ingest.commit();
  }

  ingest(options: IngestExpectation & { readonly name?: string } = {}): Ingest {
    const { name = crypto.randomUUID(), ...expectation } = options;
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) throw internal(`bad ingest name ${name}`);
    return new Ingest({
      path: join(this.#ingests, name),
      expectation,
      publish: (path, digest) => this.#publish(path, digest),
    });
  }

  list(): BlobInfo[] {
    return readdirSync(this.#blobs).flatMap((hex) => {
      const digest: Digest = `sha256:${hex}`;
      const sizeBytes = this.sizeOf(digest);
      return sizeBytes === null ? [] : [{ digest, sizeBytes }];
    });
  }

  remove(digest: Digest): void {
    rmSync(this.pathOf(digest), { force: true });
  }

  #isIntact(digest: Digest, limitBytes: number): boolean {
    if (this.sizeOf(digest) !== limitBytes) return false;
    try {
      this.readDocument(digest, limitBytes);
      return true;
    } catch (thrown) {
      if (thrown instanceof EngineError) return false;
      throw thrown;
    }
  }

  async #publish(path: string, digest: Digest): Promise<void> {
    try {
      renameSync(path, this.pathOf(digest));
    } catch (cause) {
      throw spaceError(path, cause);
    }
    await syncDirectory(this.#blobs);
  }
}
