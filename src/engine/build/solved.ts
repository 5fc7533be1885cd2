/** What a build made: kept by a lease of its own until somebody has taken it. */
import type { RootTree } from "#engine/build/source";
import type { Digest, ImageConfig } from "#oci";
import { encodeTarHeader, TAR_TRAILER, tarPadding } from "#wire/tar";

import type { BuildRequest, SolvedBuild } from "./build-service.ts";
import { exportedLayers } from "./cache-export.ts";
import type { Context } from "./context.ts";
import { piecesOf } from "./file-bytes.ts";
import { rootOf } from "./run-mounts.ts";
import { scan } from "./scan.ts";

export function solvedBuild(
  context: Context,
  config: ImageConfig,
  {
    platform,
    materials,
    extras,
    request,
    cache,
  }: Pick<SolvedBuild, "platform" | "materials" | "cache"> & {
    /** What a scanner is to look at beside the result; held by the caller until this returns. */
    readonly extras: ReadonlyMap<string, readonly Digest[]>;
    readonly request: BuildRequest;
  },
): SolvedBuild {
  const { images, gc } = context;
  const layers = config.rootfs.diff_ids;
  const lease = gc.lease();
  const known = cache === null ? [] : exportedLayers({ cache: cache.shared, ...cache }, "max");
  lease.keep({ layers: [layers, known, ...extras.values()].flat() });
  let root: RootTree | null = null;
  const opened = () => (root ??= rootOf(context, layers));
  return {
    config,
    platform,
    materials,
    cache,
    keep: (references) => images.addBuilt({ config, references }),
    scan: (asked) => scan(context, { things: { layers, extras }, build: request }, asked),
    get tree() {
      return opened();
    },
    read: piecesOf,
    tar: (options) => partialTar(opened(), options),
    [Symbol.dispose]: () => {
      root?.[Symbol.dispose]();
      lease[Symbol.dispose]();
    },
  };
}

/** The tree's archive as a part of one: folders around it, more files at its end, and no end of its own. */
function* partialTar(
  root: RootTree,
  { prefix, files, isLast }: Parameters<SolvedBuild["tar"]>[0],
): Generator<Uint8Array, void, void> {
  if (prefix !== "") yield encodeTarHeader({ name: prefix, type: "directory", mode: 0o755 });
  yield* root.tar(prefix);
  for (const [name, bytes] of files) {
    yield encodeTarHeader({ name: prefix + name, sizeBytes: bytes.length, mode: 0o644 });
    yield bytes;
    yield tarPadding(bytes.length);
  }
  if (isLast) yield TAR_TRAILER;
}
