/** One header block and pax records: bytes to values. Spec: POSIX pax, "ustar Interchange Format"; Go's archive/tar. */
import { invalid } from "#base";

import { TAR_BLOCK } from "./entry.ts";

/** The words of Go's archive/tar, which Docker shows. */
export const badHeader = (): Error => invalid("archive/tar: invalid tar header");

/** A header block's fields before pax records and long names are applied. */
export interface RawHeader {
  readonly typeFlag: number;
  readonly name: string;
  readonly link: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly gnu: boolean;
}

/**
 * A number field: octal digits, or binary when the first bit is set ("base-256", for what octal cannot hold).
 * @throws EngineError "invalid"
 */
export function parseNumber(block: Buffer, offset: number, length: number): number {
  const first = block[offset] ?? 0;
  if (first & 0x80) return parseBinary(block, offset, length);
  let index = offset;
  const end = offset + length;
  while (index < end && (block[index] === 0x20 || block[index] === 0)) index += 1;
  let value = 0;
  for (; index < end; index += 1) {
    const digit = (block[index] ?? 0) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  for (; index < end; index += 1) {
    if (block[index] !== 0x20 && block[index] !== 0) {
      // Whatever follows a NUL is old noise; anything else is a broken field.
      if (block.indexOf(0, offset) < index && block.indexOf(0, offset) >= offset) break;
      throw badHeader();
    }
  }
  return value;
}

function parseBinary(block: Buffer, offset: number, length: number): number {
  const first = block[offset] ?? 0;
  const negative = (first & 0x40) !== 0;
  let value = BigInt(negative ? first | ~0xff : first & 0x7f);
  for (let index = offset + 1; index < offset + length; index += 1) {
    value = value * 256n + BigInt(block[index] ?? 0);
  }
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw badHeader();
  return number;
}

/** A text field up to its first NUL, as a byte string. */
function parseText(block: Buffer, offset: number, length: number): string {
  let end = offset;
  while (end < offset + length && block[end] !== 0) end += 1;
  return block.toString("latin1", offset, end);
}

/** True when the checksum fits, as unsigned bytes or (some old writers) as signed ones. */
function isIntact(block: Buffer): boolean {
  const stored = parseNumber(block, 148, 8);
  let unsigned = 8 * 0x20;
  let high = 0;
  for (let index = 0; index < TAR_BLOCK; index += 1) {
    if (index === 148) index = 156;
    const byte = block[index] ?? 0;
    unsigned += byte;
    high += byte >> 7;
  }
  return stored === unsigned || stored === unsigned - 256 * high;
}

/** The fields of one header block. @throws EngineError "invalid" when the block is no header */
export function parseHeader(block: Buffer): RawHeader {
  if (!isIntact(block)) throw badHeader();
  const magic = block.toString("latin1", 257, 265);
  const gnu = magic === "ustar  \0";
  const posix = magic.startsWith("ustar\0");
  const name = parseText(block, 0, 100);
  // Only POSIX has a prefix there: GNU keeps times in those bytes, star the last 24 of them.
  const star = posix && block.toString("latin1", 508, 512) === "tar\0";
  const prefix = posix ? parseText(block, 345, star ? 131 : 155) : "";
  const typeFlag = block[156] ?? 0;
  const device = (posix || gnu) && (typeFlag === 0x33 || typeFlag === 0x34);
  return {
    typeFlag,
    name: prefix === "" ? name : `${prefix}/${name}`,
    link: parseText(block, 157, 100),
    mode: parseNumber(block, 100, 8),
    uid: parseNumber(block, 108, 8),
    gid: parseNumber(block, 116, 8),
    size: parseNumber(block, 124, 12),
    mtime: parseNumber(block, 136, 12),
    devMajor: device ? parseNumber(block, 329, 8) : 0,
    devMinor: device ? parseNumber(block, 337, 8) : 0,
    gnu,
  };
}

/** One record of a pax header; the key is a byte string, the value bytes of their own. */
export type PaxRecord = readonly [key: string, value: Buffer];

/** The records of a pax header, in order: "LENGTH KEY=VALUE\n" each. @throws EngineError "invalid" */
export function parsePax(data: Buffer): PaxRecord[] {
  const records: PaxRecord[] = [];
  let offset = 0;
  while (offset < data.length) {
    const space = data.indexOf(0x20, offset);
    if (space < 0 || space - offset > 10) throw badHeader();
    const digits = data.toString("latin1", offset, space);
    const end = offset + Number(digits);
    if (!/^[0-9]+$/.test(digits) || end > data.length || end <= space) throw badHeader();
    const equals = data.indexOf(0x3d, space);
    if (equals <= space + 1 || equals >= end || data[end - 1] !== 0x0a) throw badHeader();
    records.push([data.toString("latin1", space + 1, equals), data.subarray(equals + 1, end - 1)]);
    offset = end;
  }
  return records;
}

/** A decimal number of a pax record. @throws EngineError "invalid" */
export function paxNumber(value: Buffer): number {
  const text = value.toString("latin1");
  const number = Number(text);
  if (!/^-?[0-9]+$/.test(text) || !Number.isSafeInteger(number)) throw badHeader();
  return number;
}

/** A time of a pax record, "-12.5": whole seconds downwards and the nanoseconds above them. @throws EngineError "invalid" */
export function paxTime(value: Buffer): { seconds: number; nanoseconds: number } {
  const match = /^(-?)([0-9]+)(?:\.([0-9]*))?$/.exec(value.toString("latin1"));
  if (!match) throw badHeader();
  const [, sign, whole = "", fraction = ""] = match;
  const seconds = Number(whole);
  if (!Number.isSafeInteger(seconds)) throw badHeader();
  const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, "0"));
  if (sign === "") return { seconds, nanoseconds };
  if (nanoseconds === 0) return { seconds: -seconds, nanoseconds: 0 };
  return { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds };
}
