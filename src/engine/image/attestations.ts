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
  digestOf,
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

/** A document of an attestation on its way. */
interface SentDocument {
  readonly digest: Digest;
  readonly size: number;
  readonly open: () => ReadableStream<Uint8Array>;
}

/** A statement that is written anew; a larger one goes as it is. */
const STATEMENT_LIMIT_BYTES = 64 * 1024 * 1024;
const STATEMENT_TYPE = "application/vnd.in-toto+json";

/**
 * An attestation as it is sent: where its subject has another digest now, since layers had to be packed anew, its
 * statements name that one. Content is the same: the config with its layers' diff ids is.
 */
export function aboutManifest(
  { content }: Pick<ImageContext, "content">,
  { subject, now }: { readonly subject: Digest; readonly now: Digest },
  { bytes, documents }: NonNullable<ReturnType<typeof attestationHere>>,
): { bytes: Uint8Array<ArrayBuffer>; documents: SentDocument[] } {
  const asIs = ({ digest, size }: Descriptor): SentDocument => ({
    digest,
    size,
    open: () => Bun.file(content.pathOf(digest)).stream(),
  });
  const document = parseManifestDocument(bytes);
  if (subject === now || document.kind !== "manifest") {
    return { bytes, documents: documents.map(asIs) };
  }
  const { manifest } = document;
  const [from, to] = [subject.replace("sha256:", ""), now.replace("sha256:", "")];
  const sent: SentDocument[] = [asIs(manifest.config)];
  const layers = manifest.layers.map((layer) => {
    if (layer.mediaType !== STATEMENT_TYPE || layer.size > STATEMENT_LIMIT_BYTES) {
      sent.push(asIs(layer));
      return layer;
    }
    const text = new TextDecoder().decode(
      content.readDocument(layer.digest, STATEMENT_LIMIT_BYTES),
    );
    const said = text.replaceAll(from, to);
    const changed = new TextEncoder().encode(said);
    const digest = said === text ? layer.digest : digestOf(changed);
    sent.push(
      said === text
        ? asIs(layer)
        : { digest, size: changed.length, open: () => new Blob([changed]).stream() },
    );
    return said === text ? layer : { ...layer, digest, size: changed.length };
  });
  const written = new TextEncoder().encode(JSON.stringify({ ...manifest, layers }));
  return { bytes: written, documents: sent };
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
