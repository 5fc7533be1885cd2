/** Layers: the store of change sets, and the tar codec they are made of. */
export type * from "./layer-store.ts";
export { openLayerStore, type LayerStoreOptions } from "./store.ts";
export {
  bytesOf,
  rawOf,
  type SparseSegment,
  type TarAttributes,
  type TarEntryType,
  type TarHeader,
} from "./tar-entry.ts";
export { TarParser, type TarHandler } from "./tar-parser.ts";
export { readTarEntries, type TarEntry } from "./tar-reader.ts";
export {
  encodeTarHeader,
  TAR_TRAILER,
  tarStream,
  TarWriter,
  type TarEntrySource,
  type TarSink,
} from "./tar-writer.ts";
