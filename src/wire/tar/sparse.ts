/**
 * Files with holes. GNU tar has written them in four ways: the old type `S` with its map in the header and in
 * extension blocks, and as pax records 0.0, 0.1 and 1.0 (the map in front of the data).
 * Spec: GNU tar manual, "Storing Sparse Files". Stored pieces follow each other without gaps, as Go reads them.
 */
import { badHeader, parseNumber, paxNumber, type PaxRecord } from "./header.ts";
import type { SparseSegment } from "./entry.ts";

/** Segments of one sparse file: a map of 16 bytes each must stay in memory. */
const SEGMENT_LIMIT = 1_000_000;

/** What pax records say about holes. */
export interface PaxSparse {
  readonly sizeBytes: number;
  readonly name: string | null;
  /** null: the map stands in front of the data (format 1.0). */
  readonly segments: SparseSegment[] | null;
}

/** The sparse part of an entry's pax records; null when the file has none. @throws EngineError "invalid" */
export function paxSparse(records: readonly PaxRecord[]): PaxSparse | null {
  let name: string | null = null;
  let sizeBytes = -1;
  let numbers: number[] | null = null;
  const version = { major: "", minor: "" };
  for (const [key, value] of records) {
    if (!key.startsWith("GNU.sparse.")) continue;
    switch (key.slice("GNU.sparse.".length)) {
      case "major":
        version.major = value.toString("latin1");
        break;
      case "minor":
        version.minor = value.toString("latin1");
        break;
      case "name":
        name = value.toString("latin1");
        break;
      case "size":
      case "realsize":
        sizeBytes = paxNumber(value);
        break;
      case "offset":
      case "numbytes":
        (numbers ??= []).push(paxNumber(value));
        break;
      case "map":
        numbers = value.toString("latin1").split(",").filter(Boolean).map(wholeNumber);
        break;
      case "numblocks":
        numbers ??= [];
        break;
      default:
        break;
    }
  }
  const inData = version.major === "1" && version.minor === "0";
  if (!inData && numbers === null) return null;
  if (sizeBytes < 0) throw badHeader();
  return { sizeBytes, name, segments: inData ? null : segmentsOf(numbers ?? [], sizeBytes) };
}

function wholeNumber(text: string): number {
  const number = Number(text);
  if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(number)) throw badHeader();
  return number;
}

/** Pairs of offset and length, checked: in order, apart, inside the file. Empty ones are left out. */
export function segmentsOf(numbers: readonly number[], sizeBytes: number): SparseSegment[] {
  if (numbers.length % 2 !== 0 || numbers.length / 2 > SEGMENT_LIMIT) throw badHeader();
  const segments: SparseSegment[] = [];
  let end = 0;
  for (let index = 0; index < numbers.length; index += 2) {
    const [offset = 0, length = 0] = [numbers[index], numbers[index + 1]];
    if (offset < end || length < 0 || offset + length > sizeBytes) throw badHeader();
    end = offset + length;
    if (length > 0) segments.push({ offset, sizeBytes: length });
  }
  return segments;
}

/** The sum of the pieces: what must be stored. */
export const storedSize = (segments: readonly SparseSegment[]): number =>
  segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

/** The map of an old GNU header block (type `S`): four pairs, the real size, and whether blocks with more follow. */
export function oldGnuSparse(block: Buffer): {
  numbers: number[];
  sizeBytes: number;
  more: boolean;
} {
  const numbers: number[] = [];
  readPairs(block, 386, 4, numbers);
  return { numbers, sizeBytes: parseNumber(block, 483, 12), more: block[482] !== 0 };
}

/** The pairs of one extension block. @returns whether another follows */
export function oldGnuExtension(block: Buffer, numbers: number[]): boolean {
  readPairs(block, 0, 21, numbers);
  if (numbers.length / 2 > SEGMENT_LIMIT) throw badHeader();
  return block[504] !== 0;
}

function readPairs(block: Buffer, start: number, count: number, numbers: number[]): void {
  for (let pair = 0; pair < count; pair += 1) {
    const offset = start + pair * 24;
    // An unused pair starts with NUL.
    if (block[offset] === 0 || block[offset + 12] === 0) return;
    numbers.push(parseNumber(block, offset, 12), parseNumber(block, offset + 12, 12));
  }
}

/**
 * Reads a 1.0 map as its blocks arrive: the count, then offset and length of each, one decimal number a line.
 * The map ends with the block in which its last number ends.
 */
export class SparseMapReader {
  readonly #sizeBytes: number;
  readonly #numbers: number[] = [];
  #digits = "";
  #wanted = -1;

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  /** Takes one block. @returns the segments once the map is complete, else null. @throws EngineError "invalid" */
  take(block: Buffer): SparseSegment[] | null {
    for (const byte of block) {
      if (byte !== 0x0a) {
        if (byte < 0x30 || byte > 0x39 || this.#digits.length > 16) throw badHeader();
        this.#digits += String.fromCharCode(byte);
        continue;
      }
      const number = wholeNumber(this.#digits);
      this.#digits = "";
      if (this.#wanted < 0) {
        if (number > SEGMENT_LIMIT) throw badHeader();
        this.#wanted = number * 2;
      } else this.#numbers.push(number);
      if (this.#numbers.length === this.#wanted) return segmentsOf(this.#numbers, this.#sizeBytes);
    }
    return null;
  }
}
