/**
 * `docker push`: an image by its manifest; an index whole if all of it is here, else, as Docker does, the one
 * platform that is meant; where Docker would not choose, whole if the registry has the rest. What had to be compressed anew has another digest, so an index may be written anew too.
 */
import { conflict, invalid, notFound } from "#base";
import type { Repository } from "#engine/registry-client";
import {
  type Descriptor,
  type Digest,
  digestOf,
  familiarName,
  familiarReference,
  hostPlatform,
  type Index,
  parseReference,
  type Platform,
  type Reference,
  repositoryOf,
} from "#oci";

import { aboutManifest, attestationHere, attestedBy, attesting } from "./attestations.ts";
import { announce, type ImageContext } from "./context.ts";
import type { Image, ImageService, OnProgress, RegistryCredentials } from "./image-service.ts";
import { mountSources } from "./layer-uploads.ts";
import { readIndex, type StoredIndex } from "./manifests.ts";
import { bestFor, imageFor, imagesOf, isExactly, isMissing } from "./platforms.ts";
import { pushImage, type PushedManifest } from "./push-image.ts";
import { areThere, sourcesOf } from "./push-missing.ts";

type PushRequest = Parameters<ImageService["push"]>[0];

export async function push(context: ImageContext, request: PushRequest): Promise<void> {
  const { records, registry } = context;
  const { credentials, signal, onProgress, compression = null } = request;
  const known = credentials ? { credentials } : {};
  const named = parseReference(request.reference);
  if (named.digest !== null) throw invalid("cannot push a digest reference");
  const name = repositoryOf(named);
  onProgress({ status: `The push refers to repository [${name}]` });
  const tags = tagsToPush(context, named);
  for (const tag of tags) {
    const plan = planOf(context, tag, request.platform ?? null);
    const diffIds = plan.images.flatMap(({ config }) => config.rootfs.diff_ids);
    using lease = context.gc.lease();
    lease.keep({ blobs: plan.images.map(({ id }) => id), layers: diffIds });
    if (plan.index) lease.keep({ blobs: records.indexes.blobs(plan.index.descriptor.digest) });
    const reference = parseReference(tag);
    const { domain, path } = reference;
    await registry.withRepository(
      {
        domain,
        path,
        actions: "pull,push",
        alsoRead: sourcesFor(context, { plan, diffIds, named }),
        signal,
        ...known,
      },
      (repository) =>
        pushTag(context, {
          repository,
          reference,
          plan,
          compression,
          signal,
          onProgress,
          ...known,
        }),
    );
  }
}

/** Paths of the repositories that blobs may be mounted from. */
function sourcesFor(
  context: ImageContext,
  { plan, diffIds, named }: { plan: Plan; diffIds: readonly Digest[]; named: Reference },
): string[] {
  const ofLayers = mountSources(context, diffIds, named);
  if (plan.index === null || plan.missing.length === 0) return ofLayers;
  const ofIndex = sourcesOf(context, plan.index.descriptor.digest, named);
  return [...new Set([...ofLayers, ...ofIndex])];
}

/** All tags of a repository, or the one that is named. */
function tagsToPush({ records }: ImageContext, named: Reference): string[] {
  const name = repositoryOf(named);
  const all = records.tagsOf(name);
  if (all.length === 0) {
    throw notFound(`An image does not exist locally with the tag: ${familiarName(named)}`);
  }
  if (named.tag === null) return all;
  const tag = `${name}:${named.tag}`;
  if (all.includes(tag)) return [tag];
  throw notFound(`tag does not exist: ${familiarReference(named)}`);
}

/** What is sent under a tag. */
interface Plan {
  readonly images: readonly [Image, ...Image[]];
  /** Sent whole. */
  readonly index: StoredIndex | null;
  /** The manifests that the images are known by. */
  readonly manifests: ReadonlyMap<Digest, Digest>;
  /** The index that one image of it is sent instead of. */
  readonly insteadOf: StoredIndex | null;
  /** What of the index only the registry may have. */
  readonly missing: readonly Descriptor[];
}

/** @throws EngineError "notFound" for a platform that is not here; "conflict" where Docker will not choose */
function planOf(context: ImageContext, tag: string, platform: Platform | null): Plan {
  const { records } = context;
  const digest = records.indexes.indexOfName(tag);
  const stored = digest === null ? null : readIndex(context, digest);
  if (stored === null) {
    const image = imageFor(context, familiarReference(parseReference(tag)), platform);
    const manifest = records.factsOf(image.id).manifest;
    const manifests = new Map(manifest === null ? [] : [[image.id, manifest] as const]);
    return { images: [image], index: null, insteadOf: null, manifests, missing: [] };
  }
  const members = records.indexes.members(stored.descriptor.digest);
  const manifests = new Map(members.map(({ manifest, imageId }) => [imageId, manifest] as const));
  const [first, ...others] = imagesOf(context, stored.descriptor.digest);
  if (!first) throw notFound(`tag does not exist: ${familiarReference(parseReference(tag))}`);
  const images: Plan["images"] = [first, ...others];
  const one = (image: Image, insteadOf: StoredIndex | null): Plan => ({
    images: [image],
    index: null,
    manifests,
    insteadOf,
    missing: [],
  });
  if (platform !== null) {
    const exact = images.find(({ config }) => isExactly(platform, config));
    if (!exact) throw isMissing(familiarReference(parseReference(tag)), platform);
    return one(exact, null);
  }
  const here = new Set(members.map(({ manifest }) => manifest));
  const missing = stored.index.manifests.filter(
    (descriptor) => !here.has(descriptor.digest) && attestationHere(context, descriptor) === null,
  );
  const chosen = others.length === 0 ? first : bestFor(hostPlatform(), images);
  if (missing.length > 0 && chosen) return one(chosen, stored);
  return { images, index: stored, manifests, insteadOf: null, missing };
}

/** @throws EngineError "conflict" in Docker's words when the registry has not what is not here either */
async function requireMissing(context: ImageContext, push: TagPush): Promise<void> {
  const { index, missing } = push.plan;
  if (index === null || missing.length === 0) return;
  const sources = sourcesOf(context, index.descriptor.digest, push.reference);
  if (await areThere(context, { ...push, missing, sources })) return;
  throw conflict("multiple matching manifests found but no specific platform requested");
}

interface TagPush {
  readonly repository: Repository;
  readonly reference: Reference;
  readonly plan: Plan;
  readonly compression: NonNullable<PushRequest["compression"]> | null;
  readonly credentials?: RegistryCredentials;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

async function pushTag(context: ImageContext, push: TagPush): Promise<void> {
  const { records, clock } = context;
  const { repository, reference, plan, compression, signal, onProgress } = push;
  const pushed: PushedManifest[] = [];
  await requireMissing(context, push);
  for (const image of plan.images) {
    const request = { repository, reference, image, compression, signal, onProgress };
    pushed.push(await pushImage(context, request, plan.manifests.get(image.id) ?? null));
  }
  const [first] = pushed;
  if (!first) throw notFound(`tag does not exist: ${familiarReference(reference)}`);
  const target = plan.index
    ? await pushIndex(context, { ...push, index: plan.index, pushed })
    : first;
  const tag = reference.tag ?? "";
  const { mediaType, digest, size } = target.descriptor;
  await repository.putManifest({ tagOrDigest: tag, bytes: target.bytes, mediaType, signal });
  const name = repositoryOf(reference);
  // The tag may mean something else by now.
  const [{ id }] = plan.images;
  const meant = plan.index ? (records.idOfName(`${name}:${tag}`) ?? id) : id;
  const index = plan.index?.descriptor.digest ?? null;
  records.setName(`${name}@${digest}`, meant, clock.now(), index);
  onProgress({ status: `${tag}: digest: ${digest} size: ${size}` });
  onProgress({ aux: { Tag: tag, Digest: digest, Size: size } });
  if (plan.insteadOf) {
    onProgress({
      aux: {
        manifestPushedInsteadOfIndex: true,
        originalIndex: plan.insteadOf.descriptor,
        selectedManifest: target.descriptor,
      },
    });
  }
  announce(context, {
    action: "push",
    actorId: familiarReference(reference),
    name: familiarName(reference),
    imageId: id,
  });
}

/** Sends what an index lists, by digest. @returns the index as it is, or with the new digests of what changed */
async function pushIndex(
  context: ImageContext,
  request: TagPush & { index: StoredIndex; pushed: readonly PushedManifest[] },
): Promise<PushedManifest> {
  const { repository, plan, signal, index: stored, pushed } = request;
  const replaced = new Map<Digest, Descriptor>();
  for (const [position, { bytes, descriptor }] of pushed.entries()) {
    const { mediaType, digest: tagOrDigest } = descriptor;
    await repository.putManifest({ tagOrDigest, bytes, mediaType, signal });
    const image = plan.images[position];
    const before = image ? plan.manifests.get(image.id) : undefined;
    if (before) replaced.set(before, descriptor);
  }
  const missing = new Set(plan.missing.map(({ digest }) => digest));
  for (const descriptor of stored.index.manifests) {
    const subject = attestedBy(descriptor);
    if (subject === null || missing.has(descriptor.digest)) continue;
    const now = replaced.get(subject)?.digest ?? subject;
    const sent = await pushAttestation(context, request, { descriptor, subject, now });
    replaced.set(descriptor.digest, sent);
  }
  return withDigests(stored, replaced);
}

/** @returns the attestation, which speaks of the manifest that took its subject's place */
async function pushAttestation(
  context: ImageContext,
  { repository, signal }: TagPush,
  about: { readonly descriptor: Descriptor; readonly subject: Digest; readonly now: Digest },
): Promise<Descriptor> {
  const here = attestationHere(context, about.descriptor);
  if (!here) throw notFound(`content ${about.descriptor.digest}: not found`);
  const said = aboutManifest(context, about, here);
  for (const { digest, size, open } of said.documents) {
    if ((await repository.blobSize(digest, signal)) === size) continue;
    await repository.upload({ open, signal });
  }
  const { mediaType } = about.descriptor;
  const digest = digestOf(said.bytes);
  await repository.putManifest({ tagOrDigest: digest, bytes: said.bytes, mediaType, signal });
  return { ...about.descriptor, digest, size: said.bytes.length };
}

/** An index whose entries name what took their place; the same bytes where nothing changed. */
function withDigests(
  { descriptor, index, bytes }: StoredIndex,
  replaced: ReadonlyMap<Digest, Descriptor>,
): PushedManifest {
  if ([...replaced].every(([before, { digest }]) => before === digest)) {
    return { bytes, descriptor };
  }
  const manifests = index.manifests.map((entry) => {
    const now = replaced.get(entry.digest);
    const written = now ? { ...entry, ...now } : entry;
    const subject = attestedBy(entry);
    const attested = subject === null ? undefined : replaced.get(subject);
    return attested ? attesting(written, attested.digest) : written;
  });
  const content: Index = { ...index, mediaType: descriptor.mediaType, manifests };
  const written = new TextEncoder().encode(JSON.stringify(content));
  const { mediaType } = descriptor;
  return {
    bytes: written,
    descriptor: { mediaType, digest: digestOf(written), size: written.length },
  };
}
