/**
 * Attestations: manifests in an index that say something of another one, as buildx makes them. The engine keeps
 * their documents as they are, beside the image they are about, and sends them on.
 * Source: BuildKit's docs, "Attestation storage": two annotations, and the platform unknown/unknown.
 */
import { ATTESTATION_LIMIT_BYTES, EngineError, MANIFEST_LIMIT_BYTES } from "#base";
import type { Lease } from "#engine/gc";
import type { Repository } from "#engine/registry-client";
import {
  type Descriptor,
  type Digest,
  type Index,
  isDigest,
  type Manifest,
  parseManifestDocument,
} from "#oci";

import type { ImageContext } from "./context.ts";

const TYPE = "vnd.docker.reference.type";
const SUBJECT = "vnd.docker.reference.digest";

/** The manifest that an attestation is of; null for what is none. */
export function attestedBy({ annotations }: Descriptor): Digest | null {
  const subject = annotations?.[SUBJECT];
  const isOne = annotations?.[TYPE] === "attestation-manifest" && subject !== undefined;
  return isOne && isDigest(subject) ? subject : null;
}

/** The same attestation of the manifest that took its subject's place. */
export const attesting = (descriptor: Descriptor, subject: Digest): Descriptor => ({
  ...descriptor,
  annotations: { ...descriptor.annotations, [SUBJECT]: subject },
});

/** True for an index's entry that is neither an image nor about one. */
export const isPseudo = ({ platform }: Descriptor): boolean => platform?.os === "unknown";

export const attestationsOf = ({ manifests }: Index, subject: Digest): Descriptor[] =>
  manifests.filter((descriptor) => attestedBy(descriptor) === subject);

/** The documents that an attestation consists of. */
export const documentsOf = ({ config, layers }: Manifest): Descriptor[] => [config, ...layers];

/** An attestation that is here: its manifest and documents; null when something of it is not. */
export function attestationHere(
  { content }: Pick<ImageContext, "content">,
  descriptor: Descriptor,
): { bytes: Uint8Array<ArrayBuffer>; documents: Descriptor[] } | null {
  try {
    const bytes = content.readDocument(descriptor.digest, MANIFEST_LIMIT_BYTES);
    const document = parseManifestDocument(bytes, descriptor.mediaType);
    if (document.kind !== "manifest") return null;
    const documents = documentsOf(document.manifest);
    const isWhole = documents.every(({ digest, size }) => content.sizeOf(digest) === size);
    return isWhole ? { bytes, documents } : null;
  } catch (thrown) {
    // Not here, or damaged.
    if (thrown instanceof EngineError) return null;
    throw thrown;
  }
}

/**
 * Brings the attestations of a manifest that is pulled. What a registry does not give is left out: nothing of the
 * image's own depends on it.
 * @returns all digests, for the records
 */
export async function fetchAttestations(
  context: ImageContext,
  request: {
    readonly repository: Repository;
    readonly attestations: readonly Descriptor[];
    readonly lease: Lease;
    readonly signal: AbortSignal;
  },
): Promise<Digest[]> {
  const fetched: Digest[] = [];
  for (const descriptor of request.attestations) {
    try {
      fetched.push(...(await fetchOne(context, descriptor, request)));
    } catch (thrown) {
      request.signal.throwIfAborted();
      if (!(thrown instanceof Error)) throw thrown;
    }
  }
  return fetched;
}

async function fetchOne(
  { content }: ImageContext,
  descriptor: Descriptor,
  { repository, lease, signal }: Parameters<typeof fetchAttestations>[1],
): Promise<Digest[]> {
  const here = attestationHere({ content }, descriptor);
  if (here) return [descriptor.digest, ...here.documents.map(({ digest }) => digest)];
  const sizeBytes = descriptor.size;
  const { bytes } = await repository.manifest(descriptor.digest, { signal, sizeBytes });
  const document = parseManifestDocument(bytes, descriptor.mediaType);
  if (document.kind !== "manifest") return [];
  const documents = documentsOf(document.manifest);
  const total = documents.reduce((sum, { size }) => sum + size, bytes.length);
  if (total > ATTESTATION_LIMIT_BYTES) return [];
  const digests = [descriptor.digest, ...documents.map(({ digest }) => digest)];
  lease.keep({ blobs: digests });
  for (const part of documents) {
    if (content.sizeOf(part.digest) === part.size) continue;
    const source = repository.blob(part, signal);
    await content.write(source, { digest: part.digest, sizeBytes: part.size, signal });
  }
  await content.writeDocument(bytes);
  return digests;
}
