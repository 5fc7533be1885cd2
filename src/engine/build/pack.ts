/** Images made into blobs that can be sent away: layers compressed into scratch files, documents around them. */
import { mkdirSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

import { newId } from "#base";
import { compressTar, layerTypeOf } from "#engine/layer";
import {
  type Descriptor,
  type Digest,
  digestHex,
  formatReference,
  isDigest,
  parseReference,
} from "#oci";
import { tarStream } from "#wire/tar";

import type { PackedBlob, PackedImage, PackRequest } from "./build-service.ts";
import type { Context } from "./context.ts";
import { documentImage } from "./image-documents.ts";

interface PackedLayer {
  readonly descriptor: Descriptor;
  readonly open: () => ReadableStream<Uint8Array>;
}

/** Layers as they are asked for, in scratch files until it is disposed of. */
export async function packLayers(
  context: Context,
  diffIds: Iterable<Digest>,
  request: Pick<PackRequest, "compression" | "isOci" | "signal">,
): Promise<{ readonly layers: readonly PackedLayer[] } & Disposable> {
  const scratch = join(context.paths.data, "scratch", newId());
  const drop = () => rmSync(scratch, { recursive: true, force: true });
  using undo = new DisposableStack();
  undo.defer(drop);
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  const layers: PackedLayer[] = [];
  for (const diffId of diffIds) {
    layers.push(await packLayer(context, diffId, { ...request, scratch }));
  }
  undo.move();
  return { layers, [Symbol.dispose]: drop };
}

/** Disposing takes the scratch files away. */
export async function packImage(context: Context, request: PackRequest): Promise<PackedImage> {
  const diffIds = [...new Set(request.images.flatMap(({ config }) => config.rootfs.diff_ids))];
  const { layers, [Symbol.dispose]: drop } = await packLayers(context, diffIds, request);
  const packed = new Map(
    diffIds.flatMap((diffId, at) => {
      const layer = layers[at];
      return layer === undefined ? [] : [[diffId, layer] as const];
    }),
  );
  using undo = new DisposableStack();
  undo.defer(drop);
  const layersOf = (diffIds: readonly Digest[]) =>
    diffIds.flatMap((diffId) => packed.get(diffId)?.descriptor ?? []);
  const { target, documents, manifests } = documentImage(
    request.images,
    ({ config }) => layersOf(config.rootfs.diff_ids),
    request,
  );
  undo.move();
  const blobs = new Map<Digest, PackedBlob>();
  for (const { descriptor, open: read } of packed.values()) {
    blobs.set(descriptor.digest, { sizeBytes: descriptor.size, open: read });
  }
  for (const [digest, bytes] of documents) {
    blobs.set(digest, { sizeBytes: bytes.length, open: () => new Blob([bytes]).stream() });
  }
  const dockerList = () =>
    dockerManifest(request, (diffIds) => layersOf(diffIds).map(({ digest }) => digest));
  return {
    target,
    manifests,
    documents,
    blobs,
    archive: (kind) =>
      archiveOf({ target, blobs, names: request.names }, kind === "docker" ? dockerList() : null),
    [Symbol.dispose]: drop,
  };
}

async function packLayer(
  { layers }: Context,
  diffId: Digest,
  {
    compression,
    isOci,
    scratch,
    signal,
  }: Pick<PackRequest, "compression" | "isOci" | "signal"> & { readonly scratch: string },
): Promise<PackedLayer> {
  const mediaType = layerTypeOf(compression, isOci);
  if (compression.type === "uncompressed") {
    const size = layers.info(diffId)?.tarSizeBytes ?? 0;
    return { descriptor: { mediaType, digest: diffId, size }, open: () => layers.tar(diffId) };
  }
  const path = join(scratch, digestHex(diffId));
  const hasher = new Bun.CryptoHasher("sha256");
  let size = 0;
  await using file = await open(path, "wx", 0o600);
  for await (const chunk of compressTar(layers.tar(diffId), compression)) {
    signal.throwIfAborted();
    hasher.update(chunk);
    size += chunk.length;
    await file.write(chunk);
  }
  const digest = `sha256:${hasher.digest("hex")}`;
  if (!isDigest(digest)) throw new Error("broken invariant: a digest of a layer");
  return { descriptor: { mediaType, digest, size }, open: () => Bun.file(path).stream() };
}

/** Docker's own list of what is in an archive. */
const dockerManifest = (
  { images, names }: PackRequest,
  layersOf: (diffIds: readonly Digest[]) => Digest[],
): object[] =>
  images.map(({ config, id }) => ({
    Config: blobPath(id),
    RepoTags: names.map((name) => {
      const { domain, path, tag } = parseReference(name);
      const short = domain === "docker.io" ? path.replace(/^library\//, "") : `${domain}/${path}`;
      return `${short}:${tag ?? "latest"}`;
    }),
    Layers: layersOf(config.rootfs.diff_ids).map(blobPath),
  }));

const blobPath = (digest: Digest): string => `blobs/sha256/${digestHex(digest)}`;

/** An OCI layout in a tar, and Docker's list where Docker is to read it. */
function archiveOf(
  {
    target,
    blobs,
    names,
  }: {
    readonly target: Descriptor;
    readonly blobs: ReadonlyMap<Digest, PackedBlob>;
    readonly names: readonly string[];
  },
  docker: object[] | null,
): ReadableStream<Uint8Array> {
  return tarStream(async (writer) => {
    await writer.add({ name: "blobs", type: "directory" });
    await writer.add({ name: "blobs/sha256", type: "directory" });
    for (const [digest, { sizeBytes, open: read }] of blobs) {
      await writer.add({ name: blobPath(digest), sizeBytes }, read());
    }
    const named = names.map((name) => ({
      ...target,
      annotations: {
        ...target.annotations,
        "io.containerd.image.name": formatReference(parseReference(name)),
        "org.opencontainers.image.ref.name": parseReference(name).tag ?? "latest",
      },
    }));
    const manifests = named.length === 0 ? [target] : named;
    const index = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests,
    };
    await writer.add({ name: "index.json", mode: 0o644 }, JSON.stringify(index));
    if (docker !== null) {
      await writer.add({ name: "manifest.json", mode: 0o644 }, JSON.stringify(docker));
    }
    const layout = JSON.stringify({ imageLayoutVersion: "1.0.0" });
    await writer.add({ name: "oci-layout", mode: 0o444 }, layout);
  });
}
