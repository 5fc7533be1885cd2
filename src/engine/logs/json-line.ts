/**
 * One entry as one line of a json-file log, byte for byte as Docker writes it:
 * `{"log":"hello\n","stream":"stdout","time":"2026-11-22T17:24:54.123456781Z"}`, `attrs` before `time`.
 *
 * The loop below is the hot path of every container's output: bytes in, bytes out, no strings, no allocation.
 * Escapes as Go's ffjson: quotes, backslash, \n and \r short; other controls, <, > and & as \u00xx; U+2028 and
 * U+2029; each byte that is not valid UTF-8 as \ufffd.
 */

import type { Line, LogEntry } from "./entry.ts";
import { fullTime } from "./timestamp.ts";

const encoder = new TextEncoder();
const bytesOf = (text: string) => encoder.encode(text);
const hex = bytesOf("0123456789abcdef");
const LINE_HEAD = bytesOf('{"log":"');
const LINE_TAIL = bytesOf('"}\n');

const PLAIN = 0;
const SHORT = 1;
const UNICODE = 2;
const MULTIBYTE = 3;

const kinds = new Uint8Array(256);
for (let byte = 0; byte < 256; byte += 1) {
  kinds[byte] = byte >= 0x80 ? MULTIBYTE : byte < 0x20 ? UNICODE : PLAIN;
}
for (const text of ['"', "\\", "\n", "\r"]) kinds[text.charCodeAt(0)] = SHORT;
for (const text of ["<", ">", "&"]) kinds[text.charCodeAt(0)] = UNICODE;

/** No byte grows to more than this. */
export const WORST_GROWTH = 6;
/** What stands around the text, beside `attrs`: head, stream, time. */
export const FRAME_BYTES = 100;

/** What stands between the text and the time: the same for every line of one stream of one container. */
export function middleOf(stream: string, attributes: Readonly<Record<string, string>>): Uint8Array {
  const attrs =
    Object.keys(attributes).length === 0
      ? ""
      : `,"attrs":${JSON.stringify(attributes).replaceAll(/[<>&\u2028\u2029]/g, escapeUnit)}`;
  return bytesOf(`","stream":"${stream}"${attrs},"time":"`);
}

const escapeUnit = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Appends one whole line to `out` at `offset`, which must have room for the worst case. @returns the new offset */
export function appendLine(out: Uint8Array, offset: number, entry: Line): number {
  let at = copy(out, offset, LINE_HEAD);
  at = appendEscaped(out, at, entry.text, entry.start, entry.end);
  at = copy(out, at, entry.middle);
  at = copy(out, at, entry.time);
  return copy(out, at, LINE_TAIL);
}

function copy(out: Uint8Array, offset: number, bytes: Uint8Array): number {
  const { length } = bytes;
  for (let index = 0; index < length; index += 1) out[offset + index] = bytes[index] as number;
  return offset + length;
}

/** Appends text[start, end) as the inside of a JSON string. @returns the new offset */
export function appendEscaped(
  out: Uint8Array,
  offset: number,
  text: Uint8Array,
  start: number,
  end: number,
): number {
  let at = offset;
  let index = start;
  while (index < end) {
    const byte = text[index] as number;
    const kind = kinds[byte];
    if (kind === PLAIN) {
      out[at++] = byte;
      index += 1;
    } else if (kind === SHORT) {
      out[at++] = 0x5c;
      out[at++] = byte === 0x0a ? 0x6e : byte === 0x0d ? 0x72 : byte;
      index += 1;
    } else if (kind === UNICODE) {
      at = appendUnicode(out, at, byte);
      index += 1;
    } else {
      const length = runeLength(text, index, end);
      if (length === 0) {
        at = appendUnicode(out, at, 0xfffd);
        index += 1;
      } else if (length === 3 && isLineSeparator(text, index)) {
        at = appendUnicode(out, at, 0x2000 | ((text[index + 2] as number) - 0x80));
        index += 3;
      } else {
        for (const stop = index + length; index < stop; index += 1)
          out[at++] = text[index] as number;
      }
    }
  }
  return at;
}

function appendUnicode(out: Uint8Array, offset: number, unit: number): number {
  out[offset] = 0x5c;
  out[offset + 1] = 0x75;
  out[offset + 2] = hex[unit >> 12] as number;
  out[offset + 3] = hex[(unit >> 8) & 15] as number;
  out[offset + 4] = hex[(unit >> 4) & 15] as number;
  out[offset + 5] = hex[unit & 15] as number;
  return offset + 6;
}

/** U+2028 and U+2029 are E2 80 A8 and E2 80 A9: legal JSON, but not legal JavaScript, so Go escapes them. */
const isLineSeparator = (text: Uint8Array, index: number): boolean =>
  text[index] === 0xe2 && text[index + 1] === 0x80 && ((text[index + 2] as number) & 0xfe) === 0xa8;

/** How many bytes the character at `index` has; 0 when they are not valid UTF-8 (overlong, surrogate, cut). */
function runeLength(text: Uint8Array, index: number, end: number): number {
  const lead = text[index] as number;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (index + length > end) return 0;
  const second = text[index + 1] as number;
  const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  for (let next = 2; next < length; next += 1) {
    if (((text[index + next] as number) & 0xc0) !== 0x80) return 0;
  }
  return length;
}

/** The entry of one line without its newline; null when it is none. */
export function decodeJsonLine(line: Uint8Array): LogEntry | null {
  const text = Buffer.from(line.buffer, line.byteOffset, line.length).toString("utf8");
  let value: { log?: unknown; stream?: unknown; time?: unknown; attrs?: unknown } | null;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (value === null || typeof value !== "object") return null;
  const { log = "", stream, time, attrs } = value;
  if (typeof log !== "string" || typeof time !== "string") return null;
  const full = fullTime(time);
  if (full === null) return null;
  return {
    stream: stream === "stderr" ? "stderr" : "stdout",
    time: full,
    bytes: encoder.encode(log),
    attributes: isText(attrs) ? attrs : null,
  };
}

const isText = (attrs: unknown): attrs is Record<string, string> =>
  typeof attrs === "object" &&
  attrs !== null &&
  Object.values(attrs).every((value) => typeof value === "string");
