/**
 * `docker save`: Docker's archive and an OCI layout in one, as Docker 25 and later write it. Layers are plain
 * tars under their diff ids, so loading them again needs no decompression and, where they are here, no reading.
 */
import { kindOf, notFound, wrap } from "#base";
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
  repositoryOf,
} from "#oci";
import { type TarWriter, tarStream } from "#wire/tar";

import { attestationHere, attestationsOf, attesting } from "./attestations.ts";
import { announce, type ImageContext } from "./context.ts";
import type { Image, ImageService } from "./image-service.ts";
import { createdMs } from "./list.ts";
import { encodeManifest, readIndex, type StoredIndex } from "./manifests.ts";
import { imageFor, imagesOf } from "./platforms.ts";
import { resolveNamed, storedName } from "./resolve.ts";

interface Saved {
  /** What is meant without a platform. */
  readonly image: Image;
  /** Whole names. */
  readonly names: Set<string>;
  /** The index that the names stand for, and what of it is here. */
  readonly index: StoredIndex | null;
  readonly images: readonly Image[];
}

/** Names are resolved before this returns; the bytes come as they are read. */
export function save(
  context: ImageContext,
  names: readonly string[],
  { platform, signal }: Parameters<ImageService["save"]>[1],
): ReadableStream<Uint8Array> {
  const chosen = chooseImages(context, names, platform ?? null);
  const lease = context.gc.lease();
  for (const { images, index } of chosen) {
    for (const image of images) {
      lease.keep({ blobs: [image.id], layers: image.config.rootfs.diff_ids });
    }
    if (index) lease.keep({ blobs: context.records.indexes.blobs(index.descriptor.digest) });
  }
  return tarStream(async (writer) => {
    try {
      const archive = new ArchiveWriter(context, writer, signal);
      for (const saved of chosen) await archive.add(saved);
      await archive.end();
    } finally {
      lease[Symbol.dispose]();
    }
    for (const { image } of chosen) {
      announce(context, { action: "save", actorId: image.id, name: image.id, imageId: image.id });
    }
  });
}

/** An id saves an image without names, a repository all of its tags. */
function chooseImages(
  context: ImageContext,
  asked: readonly string[],
  platform: Platform | null,
): Saved[] {
  const { records } = context;
  const chosen = new Map<Digest, Saved>();
  const entry = (name: string): Saved => {
    const { index } = resolveNamed(records, name);
    const image = exported(context, name, platform);
    const stored = platform === null && index !== null ? readIndex(context, index) : null;
    const key = stored?.descriptor.digest ?? image.id;
    const images = stored ? imagesOf(context, stored.descriptor.digest) : [image];
    const saved = chosen.get(key) ?? { image, names: new Set(), index: stored, images };
    chosen.set(key, saved);
    return saved;
  };
  for (const text of asked) {
    const reference = parseAnyReference(text);
    const isBare = !("id" in reference) && reference.tag === null && reference.digest === null;
    const tags = isBare ? records.tagsOf(repositoryOf(reference)) : [];
    for (const name of tags) entry(name).names.add(name);
    if (tags.length > 0) continue;
    const saved = entry(text);
    if ("id" in reference || reference.digest !== null) continue;
    const name = storedName(reference);
    if (records.idOfName(name) !== null) saved.names.add(name);
  }
  return [...chosen.values()];
}

function exported(context: ImageContext, name: string, platform: Platform | null): Image {
  const { id, index } = resolveNamed(context.records, name);
  try {
    return imageFor(context, name, platform);
  } catch (cause) {
    if (platform === null || kindOf(cause) !== "notFound" || !context.records.has(id)) throw cause;
    if (index !== null) throw wrap("no suitable export target found", cause);
    const asked = formatPlatform(platform);
    throw notFound(`no suitable export target found for platform ${asked}`, { cause });
  }
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

  async add({ image, names, index, images }: Saved): Promise<void> {
    if (this.#written.size === 0) {
      await this.#writer.add({ name: "blobs", type: "directory" });
      await this.#writer.add({ name: "blobs/sha256", type: "directory" });
    }
    const manifests: Descriptor[] = [];
    for (const one of images) {
      const { manifest, layers } = await this.#image(one);
      const attestations = index ? await this.#attestations(index, one, manifest) : [];
      manifests.push(manifest, ...attestations);
      if (one.id === image.id) this.#tellDocker(image, { names: [...names], layers });
    }
    const [only] = manifests;
    const target =
      only && manifests.length === 1
        ? withoutPlatform(only)
        : await this.#document(MEDIA_TYPE.ociIndex, { manifests });
    if (names.size === 0) this.#manifests.push(target);
    for (const name of names) {
      const annotations = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": parseReference(name).tag ?? "",
      };
      this.#manifests.push({ ...target, annotations });
    }
  }

  /** Its blobs, and what they are in an index. */
  async #image(image: Image): Promise<{ manifest: Descriptor; layers: Descriptor[] }> {
    const mtimeSec = mtimeOf(image);
    const layers: Descriptor[] = [];
    for (const diffId of image.config.rootfs.diff_ids) {
      const size = this.#context.layers.info(diffId)?.tarSizeBytes;
      if (size === undefined) throw new Error(`layer ${diffId} of image ${image.id} is missing`);
      layers.push({ mediaType: MEDIA_TYPE.ociLayer, digest: diffId, size });
      await this.#layer(diffId, size, mtimeSec);
    }
    const config = this.#context.content.readDocument(image.id, Number.MAX_SAFE_INTEGER);
    await this.#blob(config, mtimeSec);
    const bytes = encodeManifest(image.id, config.length, layers);
    await this.#blob(bytes, mtimeSec);
    const { os, architecture, variant } = image.config;
    const platform = { architecture, os, ...(variant === undefined ? {} : { variant }) };
    const mediaType = MEDIA_TYPE.ociManifest;
    return {
      layers,
      manifest: { mediaType, digest: digestOf(bytes), size: bytes.length, platform },
    };
  }

  /** What the index says of an image, said of the manifest over plain layers that is written for it. */
  async #attestations(
    { descriptor, index }: StoredIndex,
    image: Image,
    manifest: Descriptor,
  ): Promise<Descriptor[]> {
    const subjects = this.#context.records.indexes
      .members(descriptor.digest)
      .flatMap(({ manifest: subject, imageId }) => (imageId === image.id ? [subject] : []));
    const written: Descriptor[] = [];
    for (const one of subjects.flatMap((subject) => attestationsOf(index, subject))) {
      const here = attestationHere(this.#context, one);
      if (!here) continue;
      for (const document of here.documents) await this.#stored(document, mtimeOf(image));
      await this.#blob(here.bytes, mtimeOf(image));
      written.push(attesting(one, manifest.digest));
    }
    return written;
  }

  async #document(mediaType: string, content: object): Promise<Descriptor> {
    const bytes = encodeJson({ schemaVersion: 2, mediaType, ...content });
    await this.#blob(bytes, 0);
    return { mediaType, digest: digestOf(bytes), size: bytes.length };
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

  /** Docker's own list, which knows an image's one platform. */
  #tellDocker(image: Image, request: { names: readonly string[]; layers: readonly Descriptor[] }) {
    const { names, layers } = request;
    const references = names.map((name) => parseReference(name));
    for (const reference of references) {
      const tags = (this.#repositories[familiarName(reference)] ??= {});
      const top = layers.at(-1);
      if (top) tags[reference.tag ?? ""] = digestHex(top.digest);
    }
    this.#dockerManifests.push({
      Config: blobPath(image.id),
      RepoTags: references.length > 0 ? references.map(familiarReference) : null,
      Layers: layers.map(({ digest }) => blobPath(digest)),
      LayerSources: Object.fromEntries(layers.map((layer) => [layer.digest, layer])),
    });
  }

  async #layer(diffId: Digest, sizeBytes: number, mtimeSec: number): Promise<void> {
    this.#signal.throwIfAborted();
    if (this.#written.has(diffId)) return;
    this.#written.add(diffId);
    const name = blobPath(diffId);
    await this.#writer.add({ name, sizeBytes, mtimeSec }, this.#context.layers.tar(diffId));
  }

  /** A document of any size, as it lies in the store. */
  async #stored({ digest, size }: Descriptor, mtimeSec: number): Promise<void> {
    this.#signal.throwIfAborted();
    if (this.#written.has(digest)) return;
    this.#written.add(digest);
    const bytes = Bun.file(this.#context.content.pathOf(digest)).stream();
    await this.#writer.add({ name: blobPath(digest), sizeBytes: size, mtimeSec }, bytes);
  }

  async #blob(bytes: Uint8Array, mtimeSec: number): Promise<void> {
    const digest = digestOf(bytes);
    if (this.#written.has(digest)) return;
    this.#written.add(digest);
    await this.#writer.add({ name: blobPath(digest), mtimeSec }, bytes);
  }
}

const mtimeOf = ({ config }: Image): number => Math.max(0, Math.floor(createdMs(config) / 1000));

const encodeJson = (value: unknown): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(JSON.stringify(value));

/** Beside its own config a platform says nothing new. */
const withoutPlatform = ({ mediaType, digest, size }: Descriptor): Descriptor => ({
  mediaType,
  digest,
  size,
});
