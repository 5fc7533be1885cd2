/** How a layer arrives: recognised by its first bytes, as Docker does; and the end of a zstd stream, which node does not check. */
import { invalid } from "#base";

export type Compression = "plain" | "gzip" | "zstd" | "bzip2" | "xz";

/** Enough to recognise every format. */
export const MAGIC_BYTES = 6;

const MAGIC: readonly (readonly [Compression, readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["bzip2", [0x42, 0x5a, 0x68]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
];

const startsWith = (bytes: Uint8Array, magic: readonly number[]): boolean =>
  bytes.length >= magic.length && magic.every((byte, index) => bytes[index] === byte);

export function detectCompression(start: Uint8Array): Compression {
  const found = MAGIC.find(([, magic]) => startsWith(start, magic));
  return found?.[0] ?? (isSkippable(start) ? "zstd" : "plain");
}

const isSkippable = (start: Uint8Array): boolean =>
  ((start[0] ?? 0) & 0xf0) === 0x50 && startsWith(start.subarray(1), [0x2a, 0x4d, 0x18]);

const unexpectedEnd = () => invalid("unexpected EOF");

/**
 * Follows the frames and blocks of a zstd stream without decompressing it, to know whether it ends where it
 * may: a stream that is cut between two blocks decompresses without an error.
 * Spec: RFC 8878, section 3.1.
 */
export class ZstdEnd {
  #need = 4;
  #skip = 0;
  #have: number[] = [];
  #step: (bytes: number[]) => void = (bytes) => this.#magic(bytes);
  #checksum = false;
  #betweenFrames = true;

  push(bytes: Uint8Array): void {
    let index = 0;
    while (index < bytes.length) {
      if (this.#skip > 0) {
        const passed = Math.min(this.#skip, bytes.length - index);
        this.#skip -= passed;
        index += passed;
        continue;
      }
      this.#betweenFrames = false;
      this.#have.push(bytes[index] ?? 0);
      index += 1;
      if (this.#have.length < this.#need) continue;
      const have = this.#have;
      this.#have = [];
      this.#step(have);
    }
  }

  /** @throws EngineError "invalid" when the stream is cut */
  end(): void {
    if (this.#skip > 0 || !this.#betweenFrames) throw unexpectedEnd();
  }

  #expect(need: number, step: (bytes: number[]) => void): void {
    this.#need = need;
    this.#step = step;
  }

  #frame(): void {
    this.#expect(4, (bytes) => this.#magic(bytes));
    this.#betweenFrames = true;
  }

  #magic(bytes: number[]): void {
    if (isSkippable(Uint8Array.from(bytes))) {
      return this.#expect(4, ([a = 0, b = 0, c = 0, d = 0]) => {
        this.#skip = a + b * 0x100 + c * 0x10000 + d * 0x1000000;
        this.#frame();
      });
    }
    if (!startsWith(Uint8Array.from(bytes), [0x28, 0xb5, 0x2f, 0xfd])) {
      throw invalid("zstd: invalid frame");
    }
    this.#expect(1, ([descriptor = 0]) => {
      const single = (descriptor & 0x20) !== 0;
      const sizes = [single ? 1 : 0, 2, 4, 8];
      const dictionaries = [0, 1, 2, 4];
      this.#checksum = (descriptor & 4) !== 0;
      this.#skip =
        (single ? 0 : 1) + (dictionaries[descriptor & 3] ?? 0) + (sizes[descriptor >> 6] ?? 0);
      this.#expect(3, (header) => this.#block(header));
    });
  }

  #block([a = 0, b = 0, c = 0]: number[]): void {
    const header = a | (b << 8) | (c << 16);
    const type = (header >> 1) & 3;
    // An RLE block is one byte, however long it becomes.
    this.#skip = type === 1 ? 1 : header >> 3;
    if ((header & 1) === 0) return;
    if (this.#checksum) this.#skip += 4;
    this.#frame();
  }
}
