/** `docker pull`: from a name at a registry to an image here. */
import {
  IMAGE_CONFIG_LIMIT_BYTES,
  invalid,
  notFound,
  notImplemented,
  shortId,
  unavailable,
} from "#base";
import { type FetchedManifest, pullError, type Repository } from "#engine/registry-client";
import {
  chooseManifest,
  type Descriptor,
  type Digest,
  digestHex,
  familiarName,
  familiarReference,
  formatPlatform,
  formatReference,
  hostPlatform,
  type ImageConfig,
  type Index,
  isConfigType,
  isLayerType,
  type Manifest,
  type ManifestDocument,
  parseImageConfig,
  parseManifestDocument,
  parseReference,
  type Platform,
  platformRank,
  type Reference,
  repositoryOf,
  withDefaultTag,
} from "#oci";

import { attestationsOf, fetchAttestations } from "./attestations.ts";
import { announce, type ImageContext, sizeOfLayers } from "./context.ts";
import type { ImageService, OnProgress } from "./image-service.ts";
import { layerProgress } from "./progress.ts";
import { storedName } from "./resolve.ts";

type PullRequest = Parameters<ImageService["pull"]>[0];

export async function pull(context: ImageContext, request: PullRequest): Promise<void> {
  const named = parseReference(request.reference);
  const { credentials, signal } = request;
  const { domain, path } = named;
  const all = request.all === true && named.tag === null && named.digest === null;
  await context.registry
    .withRepository(
      { domain, path, actions: "pull", signal, ...(credentials ? { credentials } : {}) },
      async (repository) => {
        const tags = all ? await repository.tags(signal) : [];
        const references = all ? tags.map((tag) => ({ ...named, tag })) : [withDefaultTag(named)];
        for (const reference of references) {
          await pullOne(context, { ...request, repository, reference });
        }
      },
    )
    .catch((cause: unknown) => {
      throw pullError(withDefaultTag(named), cause);
    });
}

interface OnePull {
  readonly repository: Repository;
  readonly reference: Reference;
  readonly platform?: Platform;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

/** A manifest of one platform, and the index it came from, if it did. */
interface Chosen {
  readonly manifest: Manifest;
  readonly document: FetchedManifest;
  readonly index: { readonly fetched: FetchedManifest; readonly content: Index } | null;
}

/** The digest people know it by. */
const shownDigest = ({ document, index }: Chosen): Digest => (index?.fetched ?? document).digest;

async function pullOne(context: ImageContext, request: OnePull): Promise<void> {
  const { reference, onProgress } = request;
  const { repository, signal } = request;
  const fetched = await repository.manifest(reference.digest ?? reference.tag ?? "", { signal });
  const id = reference.digest === null ? (reference.tag ?? "") : formatReference(reference);
  onProgress({ status: `Pulling from ${reference.path}`, id });
  const chosen = await choose(request, fetched);
  const { manifest } = chosen;
  checkTypes(manifest);
  using lease = context.gc.lease();
  lease.keep({ blobs: [manifest.config.digest, chosen.document.digest, shownDigest(chosen)] });
  const configBytes = await configOf(context, request, manifest.config);
  const config = parseImageConfig(configBytes);
  checkConfig(config, { manifest, request });
  lease.keep({ layers: config.rootfs.diff_ids });
  await fetchLayers(context, { request, manifest, config });
  await context.content.writeDocument(configBytes);
  await context.content.writeDocument(chosen.document.bytes);
  if (chosen.index) await context.content.writeDocument(chosen.index.fetched.bytes);
  const attestations = await fetchAttestations(context, {
    repository,
    attestations: chosen.index ? attestationsOf(chosen.index.content, chosen.document.digest) : [],
    lease,
    signal,
  });
  const isNew = record(context, { reference, chosen, config, attestations });
  onProgress({ status: `Digest: ${shownDigest(chosen)}` });
  const verdict = isNew ? "Downloaded newer image for" : "Image is up to date for";
  onProgress({ status: `Status: ${verdict} ${familiarReference(reference)}` });
  announce(context, {
    action: "pull",
    actorId: familiarReference(reference),
    name: familiarName(reference),
    imageId: manifest.config.digest,
  });
}

/** The manifest for the wanted platform, through at most one index. */
async function choose(request: OnePull, fetched: FetchedManifest): Promise<Chosen> {
  const { reference, repository, signal, platform = hostPlatform() } = request;
  const document = parseManifestDocument(fetched.bytes, fetched.mediaType);
  if (document.kind !== "index") {
    return { manifest: manifestIn(document, reference), document: fetched, index: null };
  }
  const descriptor = chooseManifest(document.index.manifests, platform);
  if (!descriptor) {
    throw notFound(
      `no matching manifest for ${formatPlatform(platform)} in the manifest list entries`,
    );
  }
  const sizeBytes = descriptor.size;
  const inner = await repository.manifest(descriptor.digest, { signal, sizeBytes });
  const innerDocument = parseManifestDocument(inner.bytes, descriptor.mediaType);
  const manifest = manifestIn(innerDocument, reference);
  return { manifest, document: inner, index: { fetched, content: document.index } };
}

function manifestIn(document: ManifestDocument, reference: Reference): Manifest {
  switch (document.kind) {
    case "manifest":
      return document.manifest;
    case "index":
      throw invalid("an index inside an index is not an image");
    case "schema1":
      throw notImplemented(
        `Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author of ${formatReference(reference)} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More information at https://docs.docker.com/go/deprecated-image-specs/`,
      );
  }
}

function checkTypes({ config, layers }: Manifest): void {
  // Old registries and tools left the config's type open.
  if (!isConfigType(config.mediaType) && config.mediaType !== "application/octet-stream") {
    throw invalid(`Encountered remote ${JSON.stringify(config.mediaType)}(unknown) when fetching`);
  }
  const foreign = layers.find(({ mediaType }) => !isLayerType(mediaType));
  if (foreign) throw invalid(`unsupported layer media type ${JSON.stringify(foreign.mediaType)}`);
}

async function configOf(
  { content }: ImageContext,
  { repository, signal }: OnePull,
  descriptor: Descriptor,
): Promise<Uint8Array> {
  const limitBytes = IMAGE_CONFIG_LIMIT_BYTES;
  if (content.sizeOf(descriptor.digest) === descriptor.size) {
    try {
      return content.readDocument(descriptor.digest, limitBytes);
    } catch {
      // Damaged here: the registry's copy replaces it.
    }
  }
  return await repository.blobDocument(descriptor, { signal, limitBytes });
}

function checkConfig(
  config: ImageConfig,
  { manifest, request }: { manifest: Manifest; request: OnePull },
): void {
  const { reference, platform } = request;
  if (config.rootfs.diff_ids.length !== manifest.layers.length) {
    throw invalid("layers from manifest don't match image configuration");
  }
  const os = config.os === "" ? "linux" : config.os;
  const wantedOs = platform?.os ?? "linux";
  if (os !== wantedOs || os !== "linux") {
    throw invalid(
      `cannot download image with operating system "${os}" when requested "${wantedOs}"`,
    );
  }
  const actual = { os, architecture: config.architecture, variant: config.variant ?? "" };
  if (platform && platformRank(platform, actual) === null) {
    throw notFound(
      `image with reference ${familiarReference(reference)} was found but its platform (${formatPlatform(actual)}) does not match the specified platform (${formatPlatform(platform)})`,
    );
  }
}

async function fetchLayers(
  { downloads, records }: ImageContext,
  { request, manifest, config }: { request: OnePull; manifest: Manifest; config: ImageConfig },
): Promise<void> {
  const { repository, signal } = request;
  // Of an image that is here nothing is told: only what is missing or damaged of it is brought.
  const isHere = records.has(manifest.config.digest);
  const onProgress = isHere ? () => undefined : request.onProgress;
  // One layer's failure must not leave the others running behind the answer.
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const fetches = manifest.layers.map(async (descriptor, index) => {
    const diffId = config.rootfs.diff_ids[index];
    if (!diffId) throw unavailable("a layer without a diff id");
    const progress = layerProgress(onProgress, shortId(digestHex(descriptor.digest)));
    try {
      await downloads.fetch({ repository, descriptor, diffId, progress, signal: either });
    } catch (cause) {
      failed.abort(cause);
      throw cause;
    }
  });
  const results = await Promise.allSettled(fetches);
  signal.throwIfAborted();
  if (results.some(({ status }) => status === "rejected")) throw failed.signal.reason;
}

/** Makes the image and its names visible at once. False when the name meant this image already. */
function record(
  context: ImageContext,
  request: {
    reference: Reference;
    chosen: Chosen;
    config: ImageConfig;
    attestations: readonly Digest[];
  },
): boolean {
  const { reference, chosen, config, attestations } = request;
  const { records, clock } = context;
  const { manifest, document } = chosen;
  const id = manifest.config.digest;
  const diffIds = config.rootfs.diff_ids;
  const repository = repositoryOf(reference);
  const name = storedName(reference);
  const index = chosen.index?.fetched.digest ?? null;
  const isNew = !isHere(context, { name, id, index });
  records.transact(() => {
    const sizeBytes = sizeOfLayers(context, diffIds);
    records.add({ id, diffIds, sizeBytes, parent: null, manifest: document.digest });
    for (const [position, descriptor] of manifest.layers.entries()) {
      const diffId = diffIds[position];
      if (diffId) records.addLayerBlob({ diffId, repository, descriptor });
    }
    records.setName(`${repository}@${shownDigest(chosen)}`, id, clock.now(), index);
    if (reference.digest === null) records.setName(name, id, clock.now(), index);
    if (index !== null) {
      const members = [{ manifest: document.digest, imageId: id }];
      records.addToIndex(index, { members, blobs: attestations });
    }
  });
  return isNew;
}

/** True when a name stands for this image already: by itself, or as a platform of the same index. */
function isHere(
  { records }: ImageContext,
  { name, id, index }: { name: string; id: Digest; index: Digest | null },
): boolean {
  if (records.idOfName(name) === id) return true;
  if (index === null || records.indexes.indexOfName(name) !== index) return false;
  return records.indexes.members(index).some(({ imageId }) => imageId === id);
}
