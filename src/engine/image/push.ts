/**
 * `docker push`. Compressed layers are not kept, only what their bytes were and where: a layer that the registry
 * has under a known digest is not sent, one that a neighbour repository has is mounted, others are compressed anew.
 */
import { createGzip } from "node:zlib";
import { Duplex } from "node:stream";

import { IMAGE_CONFIG_LIMIT_BYTES, invalid, MANIFEST_LIMIT_BYTES, notFound, shortId } from "#base";
import type { Repository } from "#engine/registry-client";
import {
  type Descriptor,
  type Digest,
  digestHex,
  familiarName,
  familiarReference,
  isConfigType,
  type Manifest,
  MEDIA_TYPE,
  parseManifestDocument,
  parseReference,
  type Reference,
  repositoryOf,
} from "#oci";

import { announce, type ImageContext } from "./context.ts";
import type { Image, ImageService, OnProgress } from "./image-service.ts";
import { type LayerProgress, layerProgress } from "./progress.ts";
import type { LayerBlob } from "./records.ts";

/** Other repositories asked to give a layer. */
const MOUNT_SOURCES = 3;
/** Fast enough not to be the network's bottleneck, within a few percent of gzip -6. */
const GZIP_LEVEL = 4;

type PushRequest = Parameters<ImageService["push"]>[0];

export async function push(context: ImageContext, request: PushRequest): Promise<void> {
  const { records, registry } = context;
  const { credentials, signal, onProgress } = request;
  const named = parseReference(request.reference);
  if (named.digest !== null) throw invalid("cannot push a digest reference");
  const name = repositoryOf(named);
  const references = (named.tag === null ? records.tagsOf(name) : [`${name}:${named.tag}`])
    .map((tag) => ({ reference: parseReference(tag), id: records.idOfName(tag) }))
    .filter((entry): entry is { reference: Reference; id: Digest } => entry.id !== null);
  if (references.length === 0) {
    throw notFound(`An image does not exist locally with the tag: ${familiarName(named)}`);
  }
  onProgress({ status: `The push refers to repository [${name}]` });
  for (const { reference, id } of references) {
    const image = records.get(id);
    using lease = context.gc.lease();
    lease.keep({ blobs: [id], layers: image.config.rootfs.diff_ids });
    const { domain, path } = reference;
    await registry.withRepository(
      {
        domain,
        path,
        actions: "pull,push",
        alsoRead: mountSources(context, image, named),
        signal,
        ...(credentials ? { credentials } : {}),
      },
      (repository) => new Push(context, { repository, reference, image, signal, onProgress }).run(),
    );
  }
}

/** Paths of other repositories of the same registry that are known to have some of the image's layers. */
function mountSources({ records }: ImageContext, image: Image, to: Reference): string[] {
  const prefix = `${to.domain}/`;
  const paths = image.config.rootfs.diff_ids
    .flatMap((diffId) => records.layerBlobs(diffId))
    .map(({ repository }) => repository)
    .filter((repository) => repository.startsWith(prefix) && repository !== repositoryOf(to))
    .map((repository) => repository.slice(prefix.length));
  return [...new Set(paths)].slice(0, MOUNT_SOURCES);
}

interface OnePush {
  readonly repository: Repository;
  readonly reference: Reference;
  readonly image: Image;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

class Push {
  readonly #context: ImageContext;
  readonly #request: OnePush;
  readonly #name: string;
  readonly #cancelled = new AbortController();
  readonly #signal: AbortSignal;

  constructor(context: ImageContext, request: OnePush) {
    this.#context = context;
    this.#request = request;
    this.#name = repositoryOf(request.reference);
    this.#signal = AbortSignal.any([request.signal, this.#cancelled.signal]);
  }

  async run(): Promise<void> {
    const { repository, reference, image, onProgress } = this.#request;
    const layers = await this.#layers();
    const config = await this.#config();
    const { bytes, mediaType } = this.#manifest(config, layers);
    const tag = reference.tag ?? "";
    const signal = this.#signal;
    const digest = await repository.putManifest({ tagOrDigest: tag, bytes, mediaType, signal });
    const { records, clock } = this.#context;
    records.setName(`${this.#name}@${digest}`, image.id, clock.now());
    onProgress({ status: `${tag}: digest: ${digest} size: ${bytes.length}` });
    onProgress({ aux: { Tag: tag, Digest: digest, Size: bytes.length } });
    announce(this.#context, {
      action: "push",
      actorId: familiarReference(reference),
      name: familiarName(reference),
      imageId: image.id,
    });
  }

  /** All layers at the registry, bottom first; a few at a time. */
  async #layers(): Promise<Descriptor[]> {
    const diffIds = this.#request.image.config.rootfs.diff_ids;
    const work = [...new Set(diffIds)].map((diffId) => {
      const progress = layerProgress(this.#request.onProgress, shortId(digestHex(diffId)));
      progress.status("Preparing");
      return { diffId, progress };
    });
    const { uploads } = this.#context.concurrency;
    for (const { progress } of work.slice(uploads)) progress.status("Waiting");
    const descriptors = new Map<Digest, Descriptor>();
    const run = async () => {
      for (let next = work.shift(); next; next = work.shift()) {
        descriptors.set(next.diffId, await this.#layer(next.diffId, next.progress));
      }
    };
    const workers = Array.from({ length: uploads }, () =>
      run().catch((cause: unknown) => {
        this.#cancelled.abort(cause);
        throw cause;
      }),
    );
    await Promise.allSettled(workers);
    if (this.#cancelled.signal.aborted) throw this.#cancelled.signal.reason;
    return diffIds.map((diffId) => {
      const descriptor = descriptors.get(diffId);
      if (!descriptor) throw new Error(`broken invariant: layer ${diffId} was pushed`);
      return descriptor;
    });
  }

  async #layer(diffId: Digest, progress: LayerProgress): Promise<Descriptor> {
    const { repository } = this.#request;
    const known = this.#context.records.layerBlobs(diffId);
    for (const { descriptor } of known) {
      const { digest, size } = descriptor;
      if ((await repository.blobSize(digest, this.#signal)) !== size) continue;
      progress.status("Layer already exists");
      return this.#sent(diffId, descriptor);
    }
    const mounted = await this.#mounted(known);
    if (mounted) {
      progress.status(`Mounted from ${mounted.from}`);
      return this.#sent(diffId, mounted.descriptor);
    }
    const { layers } = this.#context;
    const total = layers.info(diffId)?.tarSizeBytes ?? 0;
    const uploaded = await repository.upload({
      open: () => compressed(layers.tar(diffId), (done) => progress.bar("Pushing", done, total)),
      signal: this.#signal,
    });
    progress.status("Pushed");
    return this.#sent(diffId, {
      digest: uploaded.digest,
      size: uploaded.sizeBytes,
      mediaType: MEDIA_TYPE.dockerLayerGzip,
    });
  }

  /** Asks the registry to take the layer from another of its repositories. */
  async #mounted(
    known: readonly LayerBlob[],
  ): Promise<{ from: string; descriptor: LayerBlob["descriptor"] } | null> {
    const { repository, reference } = this.#request;
    const prefix = `${reference.domain}/`;
    const sources = known.filter(
      (blob) => blob.repository.startsWith(prefix) && blob.repository !== this.#name,
    );
    for (const { repository: source, descriptor } of sources.slice(0, MOUNT_SOURCES)) {
      const from = source.slice(prefix.length);
      const signal = this.#signal;
      if (await repository.mount({ digest: descriptor.digest, from, signal })) {
        return { from, descriptor };
      }
    }
    return null;
  }

  #sent(diffId: Digest, descriptor: LayerBlob["descriptor"]): Descriptor {
    this.#context.records.addLayerBlob({ diffId, repository: this.#name, descriptor });
    return { ...descriptor };
  }

  async #config(): Promise<Descriptor> {
    const { repository, image } = this.#request;
    const bytes = this.#context.content.readDocument(image.id, IMAGE_CONFIG_LIMIT_BYTES);
    if ((await repository.blobSize(image.id, this.#signal)) === null) {
      const open = () => new Blob([bytes]).stream();
      await repository.upload({ open, signal: this.#signal });
    }
    return { mediaType: MEDIA_TYPE.dockerConfig, digest: image.id, size: bytes.length };
  }

  /** The manifest the image came by, if it still says the truth; else one in Docker's form, as Docker pushes. */
  #manifest(
    config: Descriptor,
    layers: readonly Descriptor[],
  ): { bytes: Uint8Array<ArrayBuffer>; mediaType: string } {
    const kept = this.#keptManifest(layers);
    if (kept) return kept;
    const isOci = layers.some(({ mediaType }) => mediaType.startsWith("application/vnd.oci."));
    const mediaType = isOci ? MEDIA_TYPE.ociManifest : MEDIA_TYPE.dockerManifest;
    const manifest: Manifest = {
      schemaVersion: 2,
      mediaType,
      config: isOci ? { ...config, mediaType: MEDIA_TYPE.ociConfig } : config,
      layers: layers.map(({ digest, size, mediaType }) => ({ mediaType, size, digest })),
    };
    const text = JSON.stringify(manifest, null, 3);
    return { bytes: new TextEncoder().encode(text), mediaType };
  }

  #keptManifest(
    layers: readonly Descriptor[],
  ): { bytes: Uint8Array<ArrayBuffer>; mediaType: string } | null {
    const { records, content } = this.#context;
    const digest = records.factsOf(this.#request.image.id).manifest;
    if (digest === null || content.sizeOf(digest) === null) return null;
    const bytes = content.readDocument(digest, MANIFEST_LIMIT_BYTES);
    const document = parseManifestDocument(bytes);
    if (document.kind !== "manifest") return null;
    const { manifest, mediaType } = document;
    const isSame =
      isConfigType(manifest.config.mediaType) &&
      manifest.layers.length === layers.length &&
      manifest.layers.every((layer, index) => layer.digest === layers[index]?.digest);
    return isSame ? { bytes, mediaType } : null;
  }
}

/** The tar as gzip, compressed off the main thread; progress counts the plain bytes, as Docker's does. */
function compressed(
  tar: ReadableStream<Uint8Array>,
  onProgress: (doneBytes: number) => void,
): ReadableStream<Uint8Array> {
  let done = 0;
  const counted = tar.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        done += chunk.length;
        onProgress(done);
        controller.enqueue(chunk);
      },
    }),
  );
  const gzip = Duplex.toWeb(createGzip({ level: GZIP_LEVEL })) as unknown as ReadableWritablePair<
    Uint8Array,
    Uint8Array
  >;
  return counted.pipeThrough(gzip);
}
