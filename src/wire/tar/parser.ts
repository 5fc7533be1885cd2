/**
 * The push parser: give it the archive's bytes in any pieces, it calls back with entries and their data.
 * It copies nothing but what straddles two pieces, and remembers nothing but the headers of the current entry.
 * What Go's archive/tar accepts is accepted, since that is what Docker pulls: see each rule.
 */
import { invalid, joinBytes, TAR_EXTENSION_LIMIT_BYTES } from "#base";

import {
  badHeader,
  parseHeader,
  parsePax,
  paxNumber,
  type PaxRecord,
  paxTime,
  type RawHeader,
} from "./header.ts";
import {
  oldGnuExtension,
  oldGnuSparse,
  paxSparse,
  segmentsOf,
  SparseMapReader,
  storedSize,
} from "./sparse.ts";
import {
  paddingOf,
  type SparseSegment,
  TAR_BLOCK,
  type TarEntryType,
  type TarHeader,
} from "./entry.ts";

export interface TarHandler {
  /** A header is complete; the entry's data follows. */
  entry(header: TarHeader): void;
  /** Stored data of the entry before; a view, valid during the call. Leave it out to skip data fast. */
  data?(bytes: Buffer): void;
}

/** Bytes that may follow the end of an archive: writers pad to a record, bombs pad for ever. */
const TRAILER_LIMIT_BYTES = 16 * 1024 * 1024;
/** Global pax attributes in force at one time. */
const GLOBAL_RECORD_LIMIT = 1024;
const ID_LIMIT = 0xffff_ffff;

type State =
  | { readonly kind: "header" }
  | {
      readonly kind: "extension";
      readonly typeFlag: number;
      chunks: Buffer[];
      readonly size: number;
    }
  | {
      readonly kind: "oldSparse";
      readonly draft: Draft;
      readonly numbers: number[];
      readonly sizeBytes: number;
    }
  | {
      readonly kind: "sparseMap";
      readonly draft: Draft;
      readonly reader: SparseMapReader;
      stored: number;
    }
  | { readonly kind: "data" }
  | { readonly kind: "trailer" };

type Draft = Omit<TarHeader, "dataOffset" | "storedBytes" | "sparse">;

const types: Readonly<Record<string, TarEntryType>> = {
  "\0": "file",
  "0": "file",
  "7": "file",
  S: "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "character",
  "4": "block",
  "5": "directory",
  "6": "fifo",
};

const unexpectedEnd = (): Error => invalid("unexpected EOF");
const zeroBlock = Buffer.alloc(TAR_BLOCK);
const headerState: State = { kind: "header" };
const dataState: State = { kind: "data" };

export class TarParser {
  readonly #handler: TarHandler;
  readonly #scratch = Buffer.alloc(TAR_BLOCK);
  #scratchSize = 0;
  #state: State = headerState;
  #position = 0;
  /** Stored bytes of the current data or extension still to come, and the padding behind them. */
  #left = 0;
  #padding = 0;
  #zeroBlocks = 0;
  #trailerSize = 0;
  #longName: string | null = null;
  #longLink: string | null = null;
  #local: PaxRecord[] | null = null;
  readonly #global = new Map<string, Buffer>();

  constructor(handler: TarHandler) {
    this.#handler = handler;
  }

  /** Takes the next bytes. @throws EngineError "invalid" for what is no tar; the parser is unusable afterwards */
  push(bytes: Uint8Array): void {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    let index = 0;
    while (index < chunk.length) {
      const start = index;
      if (this.#state.kind === "trailer") index = chunk.length;
      else if (this.#left > 0) index = this.#takeData(chunk, index);
      else if (this.#padding > 0) {
        index = Math.min(chunk.length, index + this.#padding);
        this.#padding -= index - start;
      } else index = this.#takeBlock(chunk, index);
      this.#position += index - start;
      if (this.#state.kind === "trailer") this.#countTrailer(index - start);
    }
  }

  /** The archive is over. @throws EngineError "invalid" when it ends inside an entry */
  end(): void {
    const pending = this.#longName ?? this.#longLink ?? this.#local;
    const between = this.#state.kind === "header" || this.#state.kind === "data";
    const complete = this.#left === 0 && this.#scratchSize === 0 && pending === null && between;
    if (this.#state.kind !== "trailer" && !complete) throw unexpectedEnd();
  }

  #countTrailer(size: number): void {
    this.#trailerSize += size;
    if (this.#trailerSize > TRAILER_LIMIT_BYTES) {
      throw invalid(`more than ${TRAILER_LIMIT_BYTES} bytes follow the end of the tar archive`);
    }
  }

  #takeData(chunk: Buffer, index: number): number {
    const end = Math.min(chunk.length, index + this.#left);
    this.#left -= end - index;
    const state = this.#state;
    if (state.kind === "extension") {
      state.chunks.push(Buffer.from(chunk.subarray(index, end)));
      if (this.#left === 0)
        this.#extension(state.typeFlag, Buffer.from(joinBytes(state.chunks).buffer));
    } else if (this.#handler.data) this.#handler.data(chunk.subarray(index, end));
    return end;
  }

  #takeBlock(chunk: Buffer, index: number): number {
    if (this.#scratchSize === 0 && chunk.length - index >= TAR_BLOCK) {
      this.#block(chunk.subarray(index, index + TAR_BLOCK), this.#position + TAR_BLOCK);
      return index + TAR_BLOCK;
    }
    const end = Math.min(chunk.length, index + TAR_BLOCK - this.#scratchSize);
    chunk.copy(this.#scratch, this.#scratchSize, index, end);
    this.#scratchSize += end - index;
    if (this.#scratchSize === TAR_BLOCK) {
      this.#scratchSize = 0;
      this.#block(this.#scratch, this.#position + end - index);
    }
    return end;
  }

  /** @param after the position behind the block */
  #block(block: Buffer, after: number): void {
    const state = this.#state;
    switch (state.kind) {
      case "oldSparse": {
        if (oldGnuExtension(block, state.numbers)) return;
        const { draft, sizeBytes } = state;
        const stored = this.#rawSize;
        return this.#begin(draft, after, stored, segmentsOf(state.numbers, sizeBytes));
      }
      case "sparseMap": {
        state.stored -= TAR_BLOCK;
        if (state.stored < 0) throw badHeader();
        const segments = state.reader.take(block);
        if (segments) this.#begin(state.draft, after, state.stored, segments);
        return;
      }
      case "header":
      case "data":
        return this.#header(block, after);
      case "extension":
      case "trailer":
        throw new Error(`broken invariant: a block while in ${state.kind}`);
    }
  }

  #rawSize = 0;

  #header(block: Buffer, after: number): void {
    if (block[0] === 0 && block.equals(zeroBlock)) {
      this.#zeroBlocks += 1;
      if (this.#zeroBlocks === 2) this.#state = { kind: "trailer" };
      return;
    }
    // Go: one block of zeros must be followed by another.
    if (this.#zeroBlocks > 0) throw badHeader();
    const raw = parseHeader(block);
    if (raw.size < 0) throw badHeader();
    const flag = String.fromCharCode(raw.typeFlag);
    if (flag === "L" || flag === "K" || flag === "x" || flag === "g") {
      if (raw.size > TAR_EXTENSION_LIMIT_BYTES) throw invalid("archive/tar: header field too long");
      this.#state = { kind: "extension", typeFlag: raw.typeFlag, chunks: [], size: raw.size };
      this.#left = raw.size;
      this.#padding = paddingOf(raw.size);
      if (raw.size === 0) this.#extension(raw.typeFlag, Buffer.alloc(0));
      return;
    }
    this.#entry(raw, block, after);
  }

  #extension(typeFlag: number, data: Buffer): void {
    this.#state = headerState;
    const untilNul = () => {
      const end = data.indexOf(0);
      return data.toString("latin1", 0, end < 0 ? data.length : end);
    };
    switch (String.fromCharCode(typeFlag)) {
      case "L":
        this.#longName = untilNul();
        return;
      case "K":
        this.#longLink = untilNul();
        return;
      case "x":
        this.#local = parsePax(data);
        return;
      default:
        for (const [key, value] of parsePax(data)) {
          if (!isAttribute(key)) continue;
          if (value.length === 0) this.#global.delete(key);
          else this.#global.set(key, value);
        }
        if (this.#global.size > GLOBAL_RECORD_LIMIT)
          throw invalid("archive/tar: header field too long");
    }
  }

  #entry(raw: RawHeader, block: Buffer, after: number): void {
    const local = this.#local ?? [];
    const records: readonly PaxRecord[] =
      this.#global.size === 0 ? local : [...this.#global, ...local];
    const { draft, size } = this.#draft(raw, records);
    this.#longName = this.#longLink = this.#local = null;
    this.#rawSize = size;
    // Go: only files have data, whatever the size field of a link or a device says.
    if (draft.type !== "file") {
      const stored = raw.typeFlag === 0 ? size : 0;
      return this.#begin({ ...draft, sizeBytes: 0 }, after, stored, null);
    }
    if (raw.typeFlag === 0x53) {
      if (!raw.gnu) throw badHeader();
      const { numbers, sizeBytes, more } = oldGnuSparse(block);
      const sparse = { ...draft, sizeBytes };
      if (!more) return this.#begin(sparse, after, size, segmentsOf(numbers, sizeBytes));
      this.#state = { kind: "oldSparse", draft: sparse, numbers, sizeBytes };
      return;
    }
    const holes = local.length > 0 ? paxSparse(local) : null;
    if (holes === null) return this.#begin(draft, after, size, null);
    const named = holes.name === null ? draft : { ...draft, rawName: holes.name };
    const sparse = { ...named, sizeBytes: holes.sizeBytes };
    if (holes.segments) return this.#begin(sparse, after, size, holes.segments);
    const reader = new SparseMapReader(holes.sizeBytes);
    this.#state = { kind: "sparseMap", draft: sparse, reader, stored: size };
    return;
  }

  #begin(
    draft: Draft,
    dataOffset: number,
    storedBytes: number,
    sparse: SparseSegment[] | null,
  ): void {
    if (sparse && storedSize(sparse) > storedBytes) throw badHeader();
    this.#left = storedBytes;
    this.#padding = paddingOf(storedBytes);
    this.#state = dataState;
    this.#handler.entry({ ...draft, dataOffset, storedBytes, sparse });
  }

  #draft(raw: RawHeader, records: readonly PaxRecord[]): { draft: Draft; size: number } {
    const fields = {
      rawName: raw.name,
      rawLink: raw.link,
      uid: raw.uid,
      gid: raw.gid,
      size: raw.size,
      time: { seconds: raw.mtime, nanoseconds: 0 },
    };
    let xattrs: Map<string, Uint8Array> | null = null;
    for (const [key, value] of records) {
      const attribute = xattrOf(key, value);
      if (attribute) (xattrs ??= new Map()).set(...attribute);
      // An empty value takes the record back; the block's own field counts (POSIX).
      else if (value.length > 0) applyRecord(fields, key, value);
    }
    const rawName = this.#longName ?? fields.rawName;
    const rawLink = this.#longLink ?? fields.rawLink;
    const type = typeOf(raw.typeFlag, rawName);
    const { uid, gid, size } = fields;
    if (rawName.includes("\0") || rawLink.includes("\0") || size < 0) throw badHeader();
    if (uid < 0 || gid < 0 || uid > ID_LIMIT || gid > ID_LIMIT) {
      throw invalid(`archive/tar: owner ${uid}:${gid} is out of range`);
    }
    const draft: Draft = {
      rawName,
      rawLink,
      type,
      uid,
      gid,
      mode: raw.mode & 0o7777,
      sizeBytes: size,
      mtimeSec: fields.time.seconds,
      mtimeNsec: fields.time.nanoseconds,
      devMajor: raw.devMajor,
      devMinor: raw.devMinor,
      xattrs,
    };
    return { draft, size };
  }
}

function typeOf(typeFlag: number, name: string): TarEntryType {
  const type = types[String.fromCharCode(typeFlag)];
  // Docker's own words.
  if (!type) throw invalid(`unhandled tar header type ${typeFlag}`);
  // Before POSIX a directory was a file whose name ends with a slash.
  return typeFlag === 0 && name.endsWith("/") ? "directory" : type;
}

/**
 * Global records set attributes. Docker takes none at all and GNU tar takes every one: a global path or size
 * would make two readers see different archives, so those are left out.
 */
const isAttribute = (key: string): boolean =>
  key === "uid" || key === "gid" || key === "mtime" || xattrOf(key, Buffer.alloc(0)) !== null;

interface Fields {
  rawName: string;
  rawLink: string;
  uid: number;
  gid: number;
  size: number;
  time: { seconds: number; nanoseconds: number };
}

function applyRecord(fields: Fields, key: string, value: Buffer): void {
  switch (key) {
    case "path":
      fields.rawName = value.toString("latin1");
      break;
    case "linkpath":
      fields.rawLink = value.toString("latin1");
      break;
    case "uid":
      fields.uid = paxNumber(value);
      break;
    case "gid":
      fields.gid = paxNumber(value);
      break;
    case "size":
      fields.size = paxNumber(value);
      break;
    case "mtime":
      fields.time = paxTime(value);
      break;
    default:
      break;
  }
}

/** star and Go write the value as it is, libarchive in base64 under a percent-encoded name. */
function xattrOf(key: string, value: Buffer): [string, Uint8Array] | null {
  if (key.startsWith("SCHILY.xattr.")) return [key.slice(13), value];
  if (!key.startsWith("LIBARCHIVE.xattr.")) return null;
  const name = key
    .slice(17)
    .replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
  return [name, Buffer.from(value.toString("latin1"), "base64")];
}
