/**
 * What a build shares through a registry: layers and a config that is no image's. Documents come with their bounds
 * checked, a layer comes as a pull takes it: only the bytes that its digest and its diff id promise.
 */
import { IMAGE_CONFIG_LIMIT_BYTES, invalid, notFound, shortId } from "#base";
import type { Repository } from "#engine/registry-client";
import {
  cacheManifestIn,
  chooseManifest,
  type Descriptor,
  type Digest,
  digestHex,
  digestOf,
  formatPlatform,
  hostPlatform,
  type Manifest,
  MEDIA_TYPE,
  parseManifestDocument,
  parseReference,
  type Platform,
  type Reference,
  withDefaultTag,
} from "#oci";

import type { ImageContext } from "./context.ts";
import type { ImageService, RemoteRequest } from "./image-service.ts";
import { mountSources, uploadLayers } from "./layer-uploads.ts";
import { layerProgress } from "./progress.ts";

async function withRemote<T>(
  { registry }: ImageContext,
  request: RemoteRequest & { actions: "pull" | "pull,push"; alsoRead?: readonly string[] },
  work: (repository: Repository, reference: Reference) => Promise<T>,
): Promise<T> {
  const { credentials, signal, actions, alsoRead = [] } = request;
  const reference = withDefaultTag(parseReference(request.reference));
  const { domain, path } = reference;
  const asked = { domain, path, actions, alsoRead, signal };
  return await registry.withRepository(
    { ...asked, ...(credentials ? { credentials } : {}) },
    (repository) => work(repository, reference),
  );
}

export async function fetchDocuments(
  context: ImageContext,
  request: Parameters<ImageService["fetchDocuments"]>[0],
): ReturnType<ImageService["fetchDocuments"]> {
  const { signal, platform = hostPlatform() } = request;
  return await withRemote(
    context,
    { ...request, actions: "pull" },
    async (repository, reference) => {
      const manifest = await manifestAt(repository, reference, { platform, signal });
      const limitBytes = IMAGE_CONFIG_LIMIT_BYTES;
      const config = await repository.blobDocument(manifest.config, { signal, limitBytes });
      return { manifest, config };
    },
  );
}

async function manifestAt(
  repository: Repository,
  reference: Reference,
  { platform, signal }: { readonly platform: Platform; readonly signal: AbortSignal },
): Promise<Manifest> {
  const name = reference.digest ?? reference.tag ?? "";
  const fetched = await repository.manifest(name, { signal });
  const document = parseManifestDocument(fetched.bytes, fetched.mediaType);
  if (document.kind === "manifest") return document.manifest;
  const entries = document.kind === "index" ? document.index.manifests : [];
  const cache = cacheManifestIn({ manifests: entries });
  if (cache !== null) return cache;
  const descriptor = chooseManifest(entries, platform);
  if (!descriptor) {
    throw notFound(
      `no matching manifest for ${formatPlatform(platform)} in the manifest list entries`,
    );
  }
  const inner = await repository.manifest(descriptor.digest, {
    signal,
    sizeBytes: descriptor.size,
  });
  const innerDocument = parseManifestDocument(inner.bytes, descriptor.mediaType);
  if (innerDocument.kind !== "manifest") throw invalid("an index inside an index is not a cache");
  return innerDocument.manifest;
}

export async function fetchLayer(
  context: ImageContext,
  request: Parameters<ImageService["fetchLayer"]>[0],
): Promise<void> {
  const { descriptor, diffId, signal, onProgress } = request;
  const progress = layerProgress(onProgress, shortId(digestHex(descriptor.digest)));
  await withRemote(context, { ...request, actions: "pull" }, (repository) =>
    context.downloads.fetch({ repository, descriptor, diffId, progress, signal }),
  );
}

export async function pushCache(
  context: ImageContext,
  request: Parameters<ImageService["pushCache"]>[0],
): Promise<Digest> {
  const { diffIds, encode, signal, onProgress, compression = null } = request;
  const alsoRead = mountSources(context, diffIds, parseReference(request.reference));
  return await withRemote(
    context,
    { ...request, actions: "pull,push", alsoRead },
    async (repository, reference) => {
      const sent = { repository, reference, diffIds, compression, signal, onProgress };
      const layers = (await uploadLayers(context, sent)).map(ociDescriptor);
      const { manifest, config, mediaType } = encode(layers);
      const digest = digestOf(config);
      if ((await repository.blobSize(digest, signal)) === null) {
        await repository.upload({ open: () => new Blob([config]).stream(), signal });
      }
      const tagOrDigest = reference.tag ?? "";
      return await repository.putManifest({ tagOrDigest, bytes: manifest, mediaType, signal });
    },
  );
}

/** The same bytes, named as the manifest around them. */
const ociDescriptor = ({ mediaType, digest, size }: Descriptor): Descriptor => ({
  mediaType: mediaType === MEDIA_TYPE.dockerLayerGzip ? MEDIA_TYPE.ociLayerGzip : mediaType,
  digest,
  size,
});
