/** Layers on their way out: a plain tar compressed off the main thread, no faster than it is taken. */
import { Duplex } from "node:stream";
import { constants, createGzip, createZstdCompress } from "node:zlib";

import { MEDIA_TYPE } from "#oci";

export interface LayerCompression {
  readonly type: "gzip" | "zstd" | "uncompressed";
  /** As the program has it; null for what is quick and nearly as small. */
  readonly level: number | null;
}

/** Fast enough not to be the network's bottleneck, within a few percent of gzip -6. */
const GZIP_LEVEL = 4;
const ZSTD_LEVEL = 3;

export function compressTar(
  tar: ReadableStream<Uint8Array>,
  { type, level }: LayerCompression,
): ReadableStream<Uint8Array> {
  if (type === "uncompressed") return tar;
  const program =
    type === "gzip"
      ? createGzip({ level: level ?? GZIP_LEVEL })
      : createZstdCompress({
          params: { [constants.ZSTD_c_compressionLevel]: level ?? ZSTD_LEVEL },
        });
  const pair = Duplex.toWeb(program) as unknown as ReadableWritablePair<Uint8Array, Uint8Array>;
  return tar.pipeThrough(pair);
}

/** Docker has no name of its own for zstd. */
export function layerTypeOf({ type }: LayerCompression, isOci: boolean): string {
  switch (type) {
    case "gzip":
      return isOci ? MEDIA_TYPE.ociLayerGzip : MEDIA_TYPE.dockerLayerGzip;
    case "zstd":
      return isOci ? MEDIA_TYPE.ociLayerZstd : `${MEDIA_TYPE.dockerLayer}.zstd`;
    case "uncompressed":
      return isOci ? MEDIA_TYPE.ociLayer : MEDIA_TYPE.dockerLayer;
  }
}
