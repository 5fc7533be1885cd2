/**
 * `oci-layout://` as a context: an image in a folder of the client, read blob by blob. It becomes no image here: a
 * build stands on its layers, and what no result came to need goes when the build ends.
 */
import {
  IMAGE_CONFIG_LIMIT_BYTES,
  invalid,
  MANIFEST_LIMIT_BYTES,
  readAll,
  sentenceOf,
  unavailable,
} from "#base";
import {
  chooseManifest,
  type Digest,
  digestOf,
  formatPlatform,
  type ImageConfig,
  isDigest,
  isLayerType,
  type Manifest,
  parseImageConfig,
  parseManifestDocument,
  type Platform,
} from "#oci";

import type { GivenLayout } from "./build-service.ts";
import type { Context } from "./context.ts";

/** What a context says: `oci-layout://<store>[:<tag>]@<digest>`. */
export interface LayoutName {
  /** By which the client knows the layout. */
  readonly store: string;
  readonly digest: Digest;
}

export interface LayoutImage {
  readonly config: ImageConfig;
  /** Of what the context names: an index or a manifest. */
  readonly digest: Digest;
}

/** null for what is no layout. @throws EngineError "invalid" in BuildKit's words */
export function parseLayoutName(value: string): LayoutName | null {
  const [, text] = /^oci-layout:\/\/(.*)$/s.exec(value) ?? [];
  if (text === undefined) return null;
  const at = text.indexOf("@");
  const digest = at < 0 ? "" : text.slice(at + 1);
  const store = (at < 0 ? text : text.slice(0, at)).replace(/:[\w.-]+$/, "");
  if (store === "") throw invalid(`could not parse oci-layout reference ${JSON.stringify(text)}`);
  if (!isDigest(digest)) {
    throw invalid(`oci-layout reference ${JSON.stringify(text)} has no digest`);
  }
  return { store, digest };
}

interface LayoutRequest {
  readonly layout: GivenLayout;
  readonly name: LayoutName;
  readonly platform: Platform;
  readonly signal: AbortSignal;
  /** Before a layer is fetched: it has to be held. */
  readonly keep: (layers: readonly Digest[]) => void;
}

/** Makes the image's layers be here. @throws EngineError "invalid" for what is not as its digest says */
export async function fetchLayoutImage(
  { layers }: Context,
  request: LayoutRequest,
): Promise<LayoutImage> {
  const { name, layout, signal, keep } = request;
  const manifest = await manifestFor(request);
  const configBytes = await documentAt(request, manifest.config.digest, IMAGE_CONFIG_LIMIT_BYTES);
  const config = parseImageConfig(configBytes);
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== manifest.layers.length) {
    throw invalid("layers from manifest don't match image configuration");
  }
  keep(diffIds);
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const fetches = manifest.layers.map(async ({ digest, size, mediaType }, index) => {
    const diffId = diffIds[index];
    if (diffId === undefined || layers.has(diffId)) return;
    if (!isLayerType(mediaType)) {
      throw invalid(`unsupported layer media type ${JSON.stringify(mediaType)}`);
    }
    const source = layout.blob(digest, either);
    await layers.write({ source, descriptor: { digest, size }, diffId, signal: either });
  });
  // One layer's failure must not leave the others running behind the answer.
  const watched = fetches.map((fetch) =>
    fetch.catch((cause: unknown) => {
      if (!failed.signal.aborted) failed.abort(cause);
    }),
  );
  await Promise.all(watched);
  signal.throwIfAborted();
  if (failed.signal.aborted) {
    const { reason } = failed.signal;
    throw unavailable(`failed to read the OCI layout: ${sentenceOf(reason)}`, { cause: reason });
  }
  return { config, digest: name.digest };
}

/** The manifest for the platform, through at most one index. */
async function manifestFor(request: LayoutRequest): Promise<Manifest> {
  const { name, platform } = request;
  const bytes = await documentAt(request, name.digest, MANIFEST_LIMIT_BYTES);
  const document = parseManifestDocument(bytes);
  if (document.kind === "manifest") return document.manifest;
  const entries = document.kind === "index" ? document.index.manifests : [];
  const chosen = chooseManifest(entries, platform);
  if (chosen === null) {
    throw invalid(`${name.digest}: no match for platform in manifest ${formatPlatform(platform)}`);
  }
  const inner = await documentAt(request, chosen.digest, MANIFEST_LIMIT_BYTES);
  const innerDocument = parseManifestDocument(inner, chosen.mediaType);
  if (innerDocument.kind !== "manifest") throw invalid("an index inside an index is not an image");
  return innerDocument.manifest;
}

async function documentAt(
  { layout, signal }: LayoutRequest,
  digest: Digest,
  limitBytes: number,
): Promise<Uint8Array> {
  const tooLarge = () => invalid(`${digest} is larger than ${limitBytes} bytes`);
  const bytes = await readAll(layout.blob(digest, signal), { limitBytes, tooLarge });
  if (digestOf(bytes) !== digest) throw invalid(`verification failed for digest ${digest}`);
  return bytes;
}
