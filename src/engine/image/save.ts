/**
 * `docker save`: Docker's archive and an OCI layout in one, as Docker 25 and later write it. Layers are plain
 * tars under their diff ids, so loading them again needs no decompression and, where they are here, no reading.
 */
import { notFound } from "#base";
import {
  type Descriptor,
  type Digest,
  digestHex,
  digestOf,
  familiarName,
  familiarReference,
  formatPlatform,
  MEDIA_TYPE,
  parseAnyReference,
  parseReference,
  type Platform,
  platformRank,
  repositoryOf,
} from "#oci";
import { type TarWriter, tarStream } from "#wire/tar";

import { announce, type ImageContext } from "./context.ts";
import type { Image, ImageService } from "./image-service.ts";
import { createdMs } from "./list.ts";
import { resolveImage, storedName } from "./resolve.ts";
import { encodeManifest } from "./usage.ts";

interface Saved {
  readonly image: Image;
  /** Whole names. */
  readonly names: Set<string>;
}

/** Names are resolved before this returns; the bytes come as they are read. */
export function save(
  context: ImageContext,
  names: readonly string[],
  { platform, signal }: Parameters<ImageService["save"]>[1],
): ReadableStream<Uint8Array> {
  const images = chooseImages(context, names);
  if (platform) for (const { image } of images) requirePlatform(image, platform);
  const lease = context.gc.lease();
  for (const { image } of images) {
    lease.keep({ blobs: [image.id], layers: image.config.rootfs.diff_ids });
  }
  return tarStream(async (writer) => {
    try {
      const archive = new ArchiveWriter(context, writer, signal);
      for (const { image, names } of images) await archive.image(image, [...names]);
      await archive.end();
    } finally {
      lease[Symbol.dispose]();
    }
    for (const { image } of images) {
      announce(context, { action: "save", actorId: image.id, name: image.id, imageId: image.id });
    }
  });
}

function requirePlatform({ id, config, references }: Image, platform: Platform): void {
  if (platformRank(platform, config) !== null) return;
  const [name] = references;
  const shown = name === undefined ? id : familiarReference(parseReference(name));
  throw notFound(
    `image with reference ${shown} was found but does not provide the specified platform (${formatPlatform(platform)})`,
  );
}

/** An id saves an image without names, a repository all of its tags. */
function chooseImages({ records }: ImageContext, asked: readonly string[]): Saved[] {
  const images = new Map<Digest, Saved>();
  const entry = (id: Digest): Saved => {
    const saved = images.get(id) ?? { image: records.get(id), names: new Set<string>() };
    images.set(id, saved);
    return saved;
  };
  for (const text of asked) {
    const reference = parseAnyReference(text);
    const isBare = !("id" in reference) && reference.tag === null && reference.digest === null;
    const tags = isBare ? records.tagsOf(repositoryOf(reference)) : [];
    for (const name of tags) {
      const id = records.idOfName(name);
      if (id) entry(id).names.add(name);
    }
    if (tags.length > 0) continue;
    const saved = entry(resolveImage(records, text));
    if ("id" in reference || reference.digest !== null) continue;
    const name = storedName(reference);
    if (records.idOfName(name) === saved.image.id) saved.names.add(name);
  }
  return [...images.values()];
}

interface DockerManifest {
  readonly Config: string;
  readonly RepoTags: readonly string[] | null;
  readonly Layers: readonly string[];
  readonly LayerSources?: Readonly<Record<string, Descriptor>>;
}

const blobPath = (digest: Digest): string => `blobs/sha256/${digestHex(digest)}`;

class ArchiveWriter {
  readonly #context: ImageContext;
  readonly #writer: TarWriter;
  readonly #signal: AbortSignal;
  readonly #written = new Set<Digest>();
  readonly #dockerManifests: DockerManifest[] = [];
  readonly #manifests: Descriptor[] = [];
  readonly #repositories: Record<string, Record<string, string>> = {};

  constructor(context: ImageContext, writer: TarWriter, signal: AbortSignal) {
    this.#context = context;
    this.#writer = writer;
    this.#signal = signal;
  }

  async image(image: Image, names: readonly string[]): Promise<void> {
    const { content, layers } = this.#context;
    if (this.#written.size === 0) {
      await this.#writer.add({ name: "blobs", type: "directory" });
      await this.#writer.add({ name: "blobs/sha256", type: "directory" });
    }
    const mtimeSec = Math.max(0, Math.floor(createdMs(image.config) / 1000));
    const descriptors: Descriptor[] = [];
    for (const diffId of image.config.rootfs.diff_ids) {
      const size = layers.info(diffId)?.tarSizeBytes;
      if (size === undefined) throw new Error(`layer ${diffId} of image ${image.id} is missing`);
      descriptors.push({ mediaType: MEDIA_TYPE.ociLayer, digest: diffId, size });
      await this.#layer(diffId, size, mtimeSec);
    }
    const config = content.readDocument(image.id, Number.MAX_SAFE_INTEGER);
    await this.#blob(config, mtimeSec);
    this.#index(image, { names, descriptors, configSize: config.length });
    const manifest = encodeManifest(image.id, config.length, descriptors);
    await this.#blob(manifest, mtimeSec);
  }

  /** The documents that name everything, in Docker's order. */
  async end(): Promise<void> {
    const add = (name: string, value: unknown) =>
      this.#writer.add({ name, mode: 0o644 }, JSON.stringify(value));
    await add("index.json", {
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociIndex,
      manifests: this.#manifests,
    });
    await add("manifest.json", this.#dockerManifests);
    await add("oci-layout", { imageLayoutVersion: "1.0.0" });
    if (Object.keys(this.#repositories).length > 0) await add("repositories", this.#repositories);
  }

  #index(
    image: Image,
    request: { names: readonly string[]; descriptors: readonly Descriptor[]; configSize: number },
  ): void {
    const { names, descriptors, configSize } = request;
    const references = names.map((name) => parseReference(name));
    const manifest = encodeManifest(image.id, configSize, descriptors);
    const base: Descriptor = {
      mediaType: MEDIA_TYPE.ociManifest,
      digest: digestOf(manifest),
      size: manifest.length,
    };
    if (references.length === 0) this.#manifests.push(base);
    for (const [index, reference] of references.entries()) {
      const annotations = {
        "io.containerd.image.name": names[index] ?? "",
        "org.opencontainers.image.ref.name": reference.tag ?? "",
      };
      this.#manifests.push({ ...base, annotations });
      const tags = (this.#repositories[familiarName(reference)] ??= {});
      const top = descriptors.at(-1);
      if (top) tags[reference.tag ?? ""] = digestHex(top.digest);
    }
    this.#dockerManifests.push({
      Config: blobPath(image.id),
      RepoTags: references.length > 0 ? references.map(familiarReference) : null,
      Layers: descriptors.map(({ digest }) => blobPath(digest)),
      LayerSources: Object.fromEntries(descriptors.map((layer) => [layer.digest, layer])),
    });
  }

  async #layer(diffId: Digest, sizeBytes: number, mtimeSec: number): Promise<void> {
    this.#signal.throwIfAborted();
    if (this.#written.has(diffId)) return;
    this.#written.add(diffId);
    const name = blobPath(diffId);
    await this.#writer.add({ name, sizeBytes, mtimeSec }, this.#context.layers.tar(diffId));
  }

  async #blob(bytes: Uint8Array, mtimeSec: number): Promise<void> {
    const digest = digestOf(bytes);
    if (this.#written.has(digest)) return;
    this.#written.add(digest);
    await this.#writer.add({ name: blobPath(digest), mtimeSec }, bytes);
  }
}
