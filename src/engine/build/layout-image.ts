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
import type { SourceTree } from "#engine/build/source";
import {
  chooseManifest,
  type Digest,
  digestHex,
  digestOf,
  formatPlatform,
  type ImageConfig,
  isDigest,
  isLayerType,
  type Manifest,
  parseImageConfig,
  parseIndex,
  parseManifestDocument,
  type Platform,
} from "#oci";
import { rawOf } from "#wire/tar";

import type { GivenLayout } from "./build-service.ts";
import type { Context } from "./context.ts";
import { bytesIn } from "./file-bytes.ts";

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

/** What the opener of a context does for it. */
export interface ContextOwner {
  /** Called with what is to be given back when the build ends. */
  own(undo: () => void): void;
  /** Holds layers until then. */
  keep(layers: readonly Digest[]): void;
}

export interface LayoutContext {
  readonly kind: "layout";
  image(platform: Platform): Promise<LayoutImage>;
}

/** Each platform of it is fetched once. */
export function layoutContext(
  context: Context,
  asked: Pick<LayoutRequest, "layout" | "digest" | "signal">,
  owner: ContextOwner,
): LayoutContext {
  const images = new Map<string, Promise<LayoutImage>>();
  const keep = (layers: readonly Digest[]) => {
    owner.keep(layers);
    owner.own(() => context.gc.release({ layers }));
  };
  return {
    kind: "layout",
    image: (platform) => {
      const wanted = formatPlatform(platform);
      let image = images.get(wanted);
      if (image === undefined) {
        image = fetchLayoutImage(context, { ...asked, platform, keep });
        images.set(wanted, image);
      }
      return image;
    },
  };
}

/** A layout that came as an archive: the first image that it names. @throws EngineError "invalid" */
export async function layoutIn(
  tree: SourceTree,
): Promise<{ readonly layout: GivenLayout; readonly digest: Digest }> {
  const read = (path: string): ReadableStream<Uint8Array> => {
    const node = tree.at(rawOf(path));
    if (node?.type !== "file") throw invalid(`${path} is not in the OCI layout`);
    return bytesIn(node) ?? new Blob([]).stream();
  };
  const limitBytes = MANIFEST_LIMIT_BYTES;
  const tooLarge = () => invalid(`index.json is larger than ${limitBytes} bytes`);
  const index = parseIndex(await readAll(read("index.json"), { limitBytes, tooLarge }));
  const [first] = index.manifests;
  if (first === undefined) throw invalid("the OCI layout names no image");
  const layout = { blob: (digest: Digest) => read(`blobs/sha256/${digestHex(digest)}`) };
  return { layout, digest: first.digest };
}

interface LayoutRequest {
  readonly layout: GivenLayout;
  /** Of an index or a manifest. */
  readonly digest: Digest;
  readonly platform: Platform;
  readonly signal: AbortSignal;
  /** Before a layer is fetched: it has to be held. */
  readonly keep: (layers: readonly Digest[]) => void;
}

/** Makes the image's layers be here. @throws EngineError "invalid" for what is not as its digest says */
async function fetchLayoutImage({ layers }: Context, request: LayoutRequest): Promise<LayoutImage> {
  const { digest: named, layout, signal, keep } = request;
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
  return { config, digest: named };
}

/** The manifest for the platform, through at most one index. */
async function manifestFor(request: LayoutRequest): Promise<Manifest> {
  const { digest, platform } = request;
  const bytes = await documentAt(request, digest, MANIFEST_LIMIT_BYTES);
  const document = parseManifestDocument(bytes);
  if (document.kind === "manifest") return document.manifest;
  const entries = document.kind === "index" ? document.index.manifests : [];
  const chosen = chooseManifest(entries, platform);
  if (chosen === null) {
    throw invalid(`${digest}: no match for platform in manifest ${formatPlatform(platform)}`);
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
