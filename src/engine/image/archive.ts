/**
 * An image archive while it arrives, in one pass and in any order: what looks like a layer goes straight to the
 * layer store, small documents stay in memory, large ones and blobs of unknown kind go to the content store, links
 * are remembered. What the documents make of it is decided when the last byte is in.
 */
import { posix } from "node:path";

import {
  ATTESTATION_LIMIT_BYTES,
  IMAGE_CONFIG_LIMIT_BYTES,
  invalid,
  kindOf,
  notFound,
} from "#base";
import type { ContentStore } from "#engine/content";
import type { LayerStore, LayerWritten } from "#engine/layer";
import { type Digest, digestOf, isDigest } from "#oci";

import { peek, plainArchive, readTarEntries, type TarEntry } from "#wire/tar";

/** A document larger than this waits on disk. */
const MEMORY_LIMIT_BYTES = 1024 * 1024;
/** Documents of one archive kept in memory. */
const DOCUMENTS_LIMIT_BYTES = 64 * 1024 * 1024;
const FILES_LIMIT = 100_000;
/** Linux's PATH_MAX: a name in an archive may be far longer, and a hundred thousand of them too much. */
const NAME_LIMIT = 4096;
/** Layers whose last bytes are still being written while the next one arrives. */
const PARALLEL_LAYERS = 3;
const LINK_LIMIT = 16;

/** A layer that is in the layer store. */
export interface ArchivedLayer {
  readonly diffId: Digest;
  /** Of the file in the archive, compressed or not. */
  readonly digest: Digest;
}

type ArchivedFile =
  | { readonly kind: "document"; readonly bytes: Uint8Array }
  | { readonly kind: "stored"; readonly digest: Digest; readonly sizeBytes: number }
  | { readonly kind: "layer"; readonly written: Promise<LayerOrFailure> }
  | { readonly kind: "link"; readonly target: string }
  | { readonly kind: "other" };

/** A blob of an archive: small ones in memory, others in the content store already. */
export type ArchivedBlob =
  | { readonly kind: "document"; readonly bytes: Uint8Array }
  | { readonly kind: "stored"; readonly digest: Digest };

type LayerOrFailure = ArchivedLayer | { readonly failure: unknown };

export interface ReadRequest {
  readonly archive: ReadableStream<Uint8Array>;
  readonly layers: LayerStore;
  readonly content: ContentStore;
  readonly signal: AbortSignal;
  /** A layer begins to arrive. */
  readonly onLayer: (name: string, sizeBytes: number) => (doneBytes: number) => void;
  /** A layer of the archive is in the store, whether some image of the archive refers to it or not. */
  readonly onLayerHere: (diffId: Digest) => void;
  /** The same of a document in the content store. */
  readonly onStored: (digest: Digest) => void;
}

/** @throws EngineError "invalid" for what is no tar */
export async function readArchive(request: ReadRequest): Promise<ImageArchive> {
  const files = new Map<string, ArchivedFile>();
  const stream = await plainArchive(request.archive);
  const reader = new ArchiveReader(request);
  try {
    for await (const entry of readTarEntries(stream)) {
      request.signal.throwIfAborted();
      if (files.size >= FILES_LIMIT) throw invalid("the archive has too many files");
      const { rawName, rawLink } = entry.header;
      if (Math.max(rawName.length, rawLink.length) > NAME_LIMIT) {
        throw invalid("the archive has a file name that is too long");
      }
      const name = normalized(entry.name);
      const file = await reader.take(name, entry);
      if (file) files.set(name, file);
    }
  } finally {
    await reader.settle();
  }
  return new ImageArchive(files, request.content);
}

const normalized = (name: string): string => posix.join("/", name).slice(1);

class ArchiveReader {
  readonly #request: ReadRequest;
  readonly #writing = new Set<Promise<unknown>>();
  #documentBytes = 0;

  constructor(request: ReadRequest) {
    this.#request = request;
  }

  async take(name: string, entry: TarEntry): Promise<ArchivedFile | null> {
    const { type, storedBytes } = entry.header;
    switch (type) {
      case "symlink":
        return {
          kind: "link",
          target: normalized(posix.join(posix.dirname(name), entry.linkName)),
        };
      case "hardlink":
        return { kind: "link", target: normalized(entry.linkName) };
      case "file":
        return await this.#file(name, entry, storedBytes);
      case "directory":
      case "character":
      case "block":
      case "fifo":
        return null;
    }
  }

  async settle(): Promise<void> {
    await Promise.all(this.#writing);
  }

  async #file(name: string, entry: TarEntry, sizeBytes: number): Promise<ArchivedFile> {
    const present = digestInName(name);
    if (present && this.#request.layers.has(present)) {
      // A plain layer under its own digest: what the archive says of its bytes is of no interest.
      const layer = { diffId: present, digest: present };
      this.#request.onLayerHere(present);
      return { kind: "layer", written: Promise.resolve(layer) };
    }
    const { kind, stream } = await peek(entry.body);
    if (kind !== "json" && kind !== "other") return await this.#layer(name, stream, sizeBytes);
    if (kind === "other" && present === null) return { kind: "other" };
    if (kind === "other" || sizeBytes > MEMORY_LIMIT_BYTES)
      return await this.#stored(stream, sizeBytes);
    this.#documentBytes += sizeBytes;
    if (this.#documentBytes > DOCUMENTS_LIMIT_BYTES) {
      throw invalid("the documents of the archive are too large");
    }
    return { kind: "document", bytes: await new Response(stream).bytes() };
  }

  async #stored(stream: ReadableStream<Uint8Array>, sizeBytes: number): Promise<ArchivedFile> {
    if (sizeBytes > ATTESTATION_LIMIT_BYTES) return { kind: "other" };
    const { content, signal, onStored } = this.#request;
    const { digest } = await content.write(stream, { sizeBytes, signal });
    onStored(digest);
    return { kind: "stored", digest, sizeBytes };
  }

  /** Resolves when the archive may go on; the layer's last steps run beside the next entries. */
  async #layer(
    name: string,
    stream: ReadableStream<Uint8Array>,
    sizeBytes: number,
  ): Promise<ArchivedFile> {
    const { layers, signal, onLayer } = this.#request;
    while (this.#writing.size >= PARALLEL_LAYERS) await Promise.race(this.#writing);
    const { source, consumed } = watched(stream);
    const onProgress = onLayer(name, sizeBytes);
    const writing = layers.write({ source, signal, onProgress }).then(
      (layer): LayerOrFailure => this.#written(layer),
      (failure: unknown): LayerOrFailure => ({ failure }),
    );
    const settled: Promise<unknown> = writing.then(() => this.#writing.delete(settled));
    this.#writing.add(settled);
    const first = await Promise.race([consumed, writing]);
    // A full disk does not get better with the next entry; a file that only looked like a layer may not matter.
    if (first && "failure" in first && kindOf(first.failure) === "internal") throw first.failure;
    return { kind: "layer", written: writing };
  }

  #written({ diffId, arrived }: LayerWritten): ArchivedLayer {
    this.#request.onLayerHere(diffId);
    return { diffId, digest: arrived.digest };
  }
}

/** `blobs/sha256/<hex>`, as save and OCI layouts name files. */
function digestInName(name: string): Digest | null {
  const hex = /^blobs\/sha256\/([a-f0-9]{64})$/.exec(name)?.[1];
  return hex === undefined ? null : `sha256:${hex}`;
}

/** The stream, and when its last byte was taken or it was given up. */
function watched(stream: ReadableStream<Uint8Array>): {
  source: ReadableStream<Uint8Array>;
  consumed: Promise<null>;
} {
  const consumed = Promise.withResolvers<null>();
  const reader = stream.getReader();
  const source = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          const { done, value } = await reader.read();
          if (!done) return controller.enqueue(value);
          controller.close();
        } catch (cause) {
          controller.error(cause);
        }
        consumed.resolve(null);
      },
      cancel: () => consumed.resolve(null),
    },
    { highWaterMark: 0 },
  );
  return { source, consumed: consumed.promise };
}

/** The files of an archive by name, links followed. */
export class ImageArchive {
  readonly #files: ReadonlyMap<string, ArchivedFile>;
  readonly #content: Pick<ContentStore, "readDocument">;

  constructor(
    files: ReadonlyMap<string, ArchivedFile>,
    content: Pick<ContentStore, "readDocument">,
  ) {
    this.#files = files;
    this.#content = content;
  }

  has(name: string): boolean {
    return this.#find(name) !== null;
  }

  /** @throws EngineError "notFound" or "invalid" */
  document(name: string): Uint8Array {
    const file = this.#find(name);
    if (!file) throw notFound(`open ${name}: no such file or directory`);
    if (file.kind === "stored" && file.sizeBytes <= IMAGE_CONFIG_LIMIT_BYTES) {
      return this.#content.readDocument(file.digest, IMAGE_CONFIG_LIMIT_BYTES);
    }
    if (file.kind !== "document") throw invalid(`${name} is not a JSON document`);
    return file.bytes;
  }

  /** Whatever lies under a digest and is no layer, checked. @throws EngineError "notFound" or "invalid" */
  blobOf(digest: Digest): ArchivedBlob {
    const file = this.#find(blobName(digest));
    if (file?.kind !== "stored") return { kind: "document", bytes: this.documentOf(digest) };
    if (file.digest !== digest) throw invalid(`${blobName(digest)} does not match its digest`);
    return { kind: "stored", digest };
  }

  /** A document under its digest, checked. */
  documentOf(digest: Digest): Uint8Array {
    const bytes = this.document(blobName(digest));
    if (digestOf(bytes) !== digest) throw invalid(`${blobName(digest)} does not match its digest`);
    return bytes;
  }

  /** @throws EngineError: what was wrong with the layer's bytes */
  async layer(name: string): Promise<ArchivedLayer> {
    const file = this.#find(name);
    if (!file) throw notFound(`open ${name}: no such file or directory`);
    if (file.kind !== "layer") throw invalid(`${name} is not a layer`);
    const layer = await file.written;
    if ("failure" in layer) throw layer.failure;
    return layer;
  }

  /** A layer under its digest, checked. */
  async layerOf(digest: Digest): Promise<ArchivedLayer> {
    const layer = await this.layer(blobName(digest));
    if (layer.digest !== digest) throw invalid(`${blobName(digest)} does not match its digest`);
    return layer;
  }

  #find(name: string): Exclude<ArchivedFile, { kind: "link" }> | null {
    let at = normalized(name);
    for (let links = 0; links < LINK_LIMIT; links += 1) {
      const file = this.#files.get(at);
      if (!file) return null;
      if (file.kind !== "link") return file;
      at = file.target;
    }
    throw invalid(`${name}: too many levels of symbolic links`);
  }
}

const blobName = (digest: Digest): string => {
  if (!isDigest(digest)) throw invalid("invalid checksum digest format");
  return `blobs/sha256/${digest.slice("sha256:".length)}`;
};
