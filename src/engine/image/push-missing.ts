/**
 * Parts of an index that were never pulled, where Docker would refuse to choose what to push: the registry may have
 * them, in this repository or in another one of it that the index came from.
 */
import { kindOf } from "#base";
import type { Repository } from "#engine/registry-client";
import {
  type Descriptor,
  type Digest,
  parseManifestDocument,
  type Reference,
  repositoryOf,
} from "#oci";

import type { ImageContext } from "./context.ts";
import type { RegistryCredentials } from "./image-service.ts";

/** Other repositories asked for a part. */
const SOURCES_LIMIT = 3;

/** Paths of other repositories of the same registry that an index is known to lie in. */
export function sourcesOf({ records }: ImageContext, index: Digest, to: Reference): string[] {
  const prefix = `${to.domain}/`;
  const paths = records.indexes
    .namesOf(index)
    .filter((name) => name.includes("@") && name.startsWith(prefix))
    .map((name) => name.slice(prefix.length, name.indexOf("@")))
    .filter((path) => `${prefix}${path}` !== repositoryOf(to));
  return [...new Set(paths)].slice(0, SOURCES_LIMIT);
}

export interface MissingParts {
  readonly repository: Repository;
  readonly reference: Reference;
  readonly missing: readonly Descriptor[];
  /** As of `sourcesOf`. */
  readonly sources: readonly string[];
  readonly credentials?: RegistryCredentials;
  readonly signal: AbortSignal;
}

/** True when all of them are in the repository by now. */
export async function areThere(context: ImageContext, parts: MissingParts): Promise<boolean> {
  const { repository, missing, signal } = parts;
  for (const descriptor of missing) {
    if (await repository.hasManifest(descriptor.digest, signal)) continue;
    if (!(await isTaken(context, parts, descriptor))) return false;
  }
  return true;
}

async function isTaken(
  context: ImageContext,
  { repository, reference, sources, credentials, signal }: MissingParts,
  descriptor: Descriptor,
): Promise<boolean> {
  for (const from of sources) {
    const { domain } = reference;
    const asked = { domain, path: from, actions: "pull", signal } as const;
    const isDone = await context.registry.withRepository(
      { ...asked, ...(credentials ? { credentials } : {}) },
      (source) => take(repository, { source, from, descriptor, signal }),
    );
    if (isDone) return true;
  }
  return false;
}

/** A manifest with all of its blobs, from one repository of a registry to another. */
async function take(
  repository: Repository,
  request: { source: Repository; from: string; descriptor: Descriptor; signal: AbortSignal },
): Promise<boolean> {
  const { source, from, descriptor, signal } = request;
  const found = await source
    .manifest(descriptor.digest, { signal, sizeBytes: descriptor.size })
    .catch((thrown: unknown) => {
      if (kindOf(thrown) === "notFound") return null;
      throw thrown;
    });
  if (found === null) return false;
  const document = parseManifestDocument(found.bytes, descriptor.mediaType);
  if (document.kind !== "manifest") return false;
  const { config, layers } = document.manifest;
  for (const { digest, size } of [config, ...layers]) {
    if ((await repository.blobSize(digest, signal)) === size) continue;
    if (!(await repository.mount({ digest, from, signal }))) return false;
  }
  const { digest: tagOrDigest, mediaType } = descriptor;
  const bytes = new Uint8Array(found.bytes);
  await repository.putManifest({ tagOrDigest, bytes, mediaType, signal });
  return true;
}
