/**
 * Layers on their way to a registry. Compressed layers are not kept, only what their bytes were and where: a layer
 * that the registry has under a known digest is not sent, one that a neighbour repository has is mounted, others are
 * compressed anew, and for the registry that follows at once sent as they were compressed.
 */
import { shortId } from "#base";
import { compressTar, type LayerCompression, layerTypeOf } from "#engine/layer";
import type { Repository } from "#engine/registry-client";
import { type Descriptor, type Digest, digestHex, type Reference, repositoryOf } from "#oci";

import type { ImageContext } from "./context.ts";
import type { OnProgress } from "./image-service.ts";
import type { PackedLayer } from "./packed-layers.ts";
import { type LayerProgress, layerProgress } from "./progress.ts";
import type { LayerBlob } from "./records.ts";

/** Other repositories asked to give a layer. */
const MOUNT_SOURCES = 3;
const QUICK: LayerCompression = { type: "gzip", level: null };

type Uploaded = Pick<PackedLayer, "digest" | "sizeBytes">;

export interface UploadRequest {
  readonly repository: Repository;
  readonly reference: Reference;
  readonly diffIds: readonly Digest[];
  /** The blobs of the manifest that is meant: with others of the same layers it would be another manifest. */
  readonly preferred?: ReadonlyMap<Digest, Descriptor>;
  /** null: as it came, or as it is quickest. */
  readonly compression?: (LayerCompression & { readonly isForced: boolean }) | null;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

/** All layers at the registry, in the order given; a few travel at a time. */
export async function uploadLayers(
  context: ImageContext,
  request: UploadRequest,
): Promise<Descriptor[]> {
  return await new LayerUploads(context, request).run();
}

/** Paths of other repositories of the same registry that are known to have some of the layers. */
export function mountSources(
  { records }: ImageContext,
  diffIds: readonly Digest[],
  to: Reference,
): string[] {
  const prefix = `${to.domain}/`;
  const paths = diffIds
    .flatMap((diffId) => records.layerBlobs(diffId))
    .map(({ repository }) => repository)
    .filter((repository) => repository.startsWith(prefix) && repository !== repositoryOf(to))
    .map((repository) => repository.slice(prefix.length));
  return [...new Set(paths)].slice(0, MOUNT_SOURCES);
}

class LayerUploads {
  readonly #context: ImageContext;
  readonly #request: UploadRequest;
  readonly #name: string;
  readonly #cancelled = new AbortController();
  readonly #signal: AbortSignal;

  constructor(context: ImageContext, request: UploadRequest) {
    this.#context = context;
    this.#request = request;
    this.#name = repositoryOf(request.reference);
    this.#signal = AbortSignal.any([request.signal, this.#cancelled.signal]);
  }

  get #packing(): LayerCompression {
    return this.#request.compression ?? QUICK;
  }

  async run(): Promise<Descriptor[]> {
    const { diffIds } = this.#request;
    // From the top down, as Docker lists and sends them.
    const work = [...new Set(diffIds)].reverse().map((diffId) => {
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
    const { preferred = new Map<Digest, Descriptor>(), compression = null } = this.#request;
    const types = [layerTypeOf(this.#packing, true), layerTypeOf(this.#packing, false)];
    const known = this.#context.records
      .layerBlobs(diffId)
      .filter(({ descriptor }) => !compression?.isForced || types.includes(descriptor.mediaType));
    const isPreferred = ({ descriptor }: LayerBlob) => preferred.has(descriptor.digest);
    const meant = await this.#there(known.filter(isPreferred), progress);
    if (meant) return this.#sent(diffId, meant);
    const plain = compression?.isForced ? undefined : preferred.get(diffId);
    if (plain) return await this.#plain(diffId, plain, progress);
    const other = await this.#there(
      known.filter((blob) => !isPreferred(blob)),
      progress,
    );
    return other ? this.#sent(diffId, other) : await this.#packed(diffId, progress);
  }

  /** As it is: the manifest that is meant names the plain tar. */
  async #plain(
    diffId: Digest,
    descriptor: Descriptor,
    progress: LayerProgress,
  ): Promise<Descriptor> {
    const { digest, size, mediaType } = descriptor;
    if ((await this.#request.repository.blobSize(digest, this.#signal)) === size) {
      progress.status("Layer already exists");
    } else {
      await this.#upload(diffId, progress, (tar) => tar);
    }
    return this.#sent(diffId, { digest, size, mediaType });
  }

  async #packed(diffId: Digest, progress: LayerProgress): Promise<Descriptor> {
    const compression = this.#packing;
    const { packed } = this.#context;
    const again = packed.get({ diffId, compression });
    const sent = again === null ? null : await this.#sentAgain(again, progress);
    if (again !== null && sent === null) packed.drop({ diffId, compression });
    const { digest, sizeBytes: size } = sent ?? (await this.#compressed(diffId, progress));
    const mediaType = layerTypeOf(compression, compression.type === "zstd");
    return this.#sent(diffId, { digest, size, mediaType });
  }

  /** As it was packed for another registry a moment ago. @returns null when it is not there any more, or damaged */
  async #sentAgain(packed: PackedLayer, progress: LayerProgress): Promise<Uploaded | null> {
    const total = packed.sizeBytes;
    const onProgress = (done: number) => progress.bar("Pushing", done, total);
    try {
      const sent = await this.#request.repository.upload({
        open: () => counted(packed.open(), onProgress),
        signal: this.#signal,
      });
      if (sent.digest !== packed.digest) return null;
      progress.status("Pushed");
      return sent;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw cause;
    }
  }

  async #compressed(diffId: Digest, progress: LayerProgress): Promise<Uploaded> {
    const compression = this.#packing;
    using copy = this.#context.packed.copy({ diffId, compression });
    const sent = await this.#upload(diffId, progress, (tar) =>
      copy.of(compressTar(tar, compression)),
    );
    copy.keep(sent);
    return sent;
  }

  async #upload(
    diffId: Digest,
    progress: LayerProgress,
    pack: (tar: ReadableStream<Uint8Array>) => ReadableStream<Uint8Array>,
  ): Promise<Uploaded> {
    const { layers } = this.#context;
    const total = layers.info(diffId)?.tarSizeBytes ?? 0;
    const onProgress = (done: number) => progress.bar("Pushing", done, total);
    const uploaded = await this.#request.repository.upload({
      open: () => pack(counted(layers.tar(diffId), onProgress)),
      signal: this.#signal,
    });
    progress.status("Pushed");
    return uploaded;
  }

  /** The first of the blobs that the registry has, or takes from another of its repositories. */
  async #there(
    blobs: readonly LayerBlob[],
    progress: LayerProgress,
  ): Promise<LayerBlob["descriptor"] | null> {
    for (const { descriptor } of blobs) {
      const { digest, size } = descriptor;
      if ((await this.#request.repository.blobSize(digest, this.#signal)) !== size) continue;
      progress.status("Layer already exists");
      return descriptor;
    }
    const mounted = await this.#mounted(blobs);
    if (mounted) progress.status(`Mounted from ${mounted.from}`);
    return mounted?.descriptor ?? null;
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
}

/** Progress counts the plain bytes, as Docker's does; of what is sent again, what is sent. */
function counted(
  tar: ReadableStream<Uint8Array>,
  onProgress: (doneBytes: number) => void,
): ReadableStream<Uint8Array> {
  let done = 0;
  return tar.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        done += chunk.length;
        onProgress(done);
        controller.enqueue(chunk);
      },
    }),
  );
}
