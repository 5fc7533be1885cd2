/** The tar format: archives in and out, and what they may be compressed with. */
export { tarChunks } from "./chunks.ts";
export {
  bytesOf,
  paddingOf,
  rawOf,
  type SparseSegment,
  type TarEntryType,
  type TarHeader,
  textOf,
} from "./entry.ts";
export { TarParser, type TarHandler } from "./parser.ts";
export { peek, plainArchive } from "./plain-archive.ts";
export { readTarEntries, type TarEntry } from "./reader.ts";
export {
  encodeRawTarHeader,
  encodeTarHeader,
  TAR_TRAILER,
  tarPadding,
  tarStream,
  TarWriter,
  type RawTarEntrySource,
  type TarEntrySource,
  type TarSink,
} from "./writer.ts";
