/** `docker push`: an image's layers, its config, and the manifest that names them. */
import { IMAGE_CONFIG_LIMIT_BYTES, invalid, MANIFEST_LIMIT_BYTES, notFound } from "#base";
import type { Repository } from "#engine/registry-client";
import {
  type Descriptor,
  type Digest,
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
import { mountSources, uploadLayers } from "./layer-uploads.ts";

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
        alsoRead: mountSources(context, image.config.rootfs.diff_ids, named),
        signal,
        ...(credentials ? { credentials } : {}),
      },
      (repository) => new Push(context, { repository, reference, image, signal, onProgress }).run(),
    );
  }
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
  readonly #signal: AbortSignal;

  constructor(context: ImageContext, request: OnePush) {
    this.#context = context;
    this.#request = request;
    this.#name = repositoryOf(request.reference);
    this.#signal = request.signal;
  }

  async run(): Promise<void> {
    const { repository, reference, image, onProgress } = this.#request;
    const { diff_ids: diffIds } = image.config.rootfs;
    const layers = await uploadLayers(this.#context, { ...this.#request, diffIds });
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
