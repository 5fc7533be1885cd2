/**
 * The two libraries' decoders, which differ in names only: memory in, memory out, one call at a time.
 * Sources: lzma/base.h and lzma/container.h (xz 5), bzlib.h (bzip2 1.0).
 */
import { dlopen, FFIType, ptr } from "bun:ffi";

import { invalid, notImplemented, sentenceOf } from "#base";

/** One decompression; the memory it holds is the library's until `close`. */
export interface Codec {
  /**
   * Decodes what fits.
   * @param input never empty, since it has to have an address: `size` of its bytes count
   * @param last no more input will come
   * @throws EngineError "invalid" for a broken stream
   */
  step(
    input: Uint8Array,
    size: number,
    output: Uint8Array,
    last: boolean,
  ): { readonly taken: number; readonly made: number; readonly ended: boolean };
  close(): void;
}

const { i32, u32, u64, ptr: pointer } = FFIType;

function library<Symbols extends Parameters<typeof dlopen>[1]>(name: string, symbols: Symbols) {
  try {
    return dlopen(name, symbols).symbols;
  } catch (cause) {
    throw notImplemented(`${name} is not installed: use gzip or zstd (${sentenceOf(cause)})`, {
      cause,
    });
  }
}

/** Memory that stays where it is while the library keeps its address. */
const fixed = (size: number): Uint8Array => new Uint8Array(new ArrayBuffer(size));

const LZMA_STREAM_BYTES = 136;
/** `xz -9` needs 65 MiB to decode; a stream that wants more is refused. */
const LZMA_MEMORY_LIMIT = 256n * 1024n * 1024n;
const LZMA_CONCATENATED = 8;
const LZMA_RUN = 0;
const LZMA_FINISH = 3;
const LZMA_STREAM_END = 1;
const LZMA_BUF_ERROR = 10;

const openLzma = () =>
  library("liblzma.so.5", {
    lzma_stream_decoder: { args: [pointer, u64, u32], returns: i32 },
    lzma_code: { args: [pointer, i32], returns: i32 },
    lzma_end: { args: [pointer], returns: FFIType.void },
  });
const opened: { lzma?: ReturnType<typeof openLzma>; bzip2?: ReturnType<typeof openBz2> } = {};

export function openXz(): Codec {
  const lzma = (opened.lzma ??= openLzma());
  const stream = fixed(LZMA_STREAM_BYTES);
  const view = new DataView(stream.buffer);
  const began = lzma.lzma_stream_decoder(ptr(stream), LZMA_MEMORY_LIMIT, LZMA_CONCATENATED);
  if (began !== 0) throw invalid(`xz: error ${began}`);
  return {
    step(input, size, output, last) {
      view.setBigUint64(0, BigInt(ptr(input)), true);
      view.setBigUint64(8, BigInt(size), true);
      view.setBigUint64(24, BigInt(ptr(output)), true);
      view.setBigUint64(32, BigInt(output.length), true);
      const result = lzma.lzma_code(ptr(stream), last ? LZMA_FINISH : LZMA_RUN);
      const taken = size - Number(view.getBigUint64(8, true));
      const made = output.length - Number(view.getBigUint64(32, true));
      if (result === LZMA_BUF_ERROR && last) throw invalid("xz: unexpected EOF");
      const isFine = result === 0 || result === LZMA_STREAM_END || result === LZMA_BUF_ERROR;
      if (!isFine) throw invalid("xz: the data is damaged");
      return { taken, made, ended: result === LZMA_STREAM_END };
    },
    close: () => lzma.lzma_end(ptr(stream)),
  };
}

const BZ_STREAM_BYTES = 80;
const BZ_STREAM_END = 4;

const openBz2 = () =>
  library("libbz2.so.1.0", {
    BZ2_bzDecompressInit: { args: [pointer, i32, i32], returns: i32 },
    BZ2_bzDecompress: { args: [pointer], returns: i32 },
    BZ2_bzDecompressEnd: { args: [pointer], returns: i32 },
  });

export function openBzip2(): Codec {
  const bzip2 = (opened.bzip2 ??= openBz2());
  const stream = fixed(BZ_STREAM_BYTES);
  const view = new DataView(stream.buffer);
  const open = () => {
    stream.fill(0);
    const began = bzip2.BZ2_bzDecompressInit(ptr(stream), 0, 0);
    if (began !== 0) throw invalid(`bzip2: error ${began}`);
  };
  open();
  let between = false;
  return {
    step(input, size, output, last) {
      if (between && size === 0) return { taken: 0, made: 0, ended: last };
      between = false;
      view.setBigUint64(0, BigInt(ptr(input)), true);
      view.setUint32(8, size, true);
      view.setBigUint64(24, BigInt(ptr(output)), true);
      view.setUint32(32, output.length, true);
      const result = bzip2.BZ2_bzDecompress(ptr(stream));
      const taken = size - view.getUint32(8, true);
      const made = output.length - view.getUint32(32, true);
      if (result !== 0 && result !== BZ_STREAM_END) throw invalid("bzip2: the data is damaged");
      if (result === BZ_STREAM_END) {
        // Several streams one after another are one archive.
        bzip2.BZ2_bzDecompressEnd(ptr(stream));
        open();
        between = true;
      } else if (last && taken === 0 && made === 0) throw invalid("bzip2: unexpected EOF");
      return { taken, made, ended: false };
    },
    close: () => void bzip2.BZ2_bzDecompressEnd(ptr(stream)),
  };
}
