/**
 * One entry as one line of our own log format, for the `local` driver and for the copies of what goes to log servers:
 *
 *   F TTTTTTTTTTTTTTTTTTTTTTTTTTTTTT [attributes TAB] bytes NEWLINE
 *
 * F is a letter: o, e for a whole line of stdout or stderr, O, E for a piece that has no newline of its own; p, f and
 * P, F are the same with attributes, as JSON, in front. T is the time, 30 bytes. What a container prints is cut at
 * its newlines before it gets here, so that bytes need no escape: binary output comes back exactly.
 */
import type { Line, LogEntry, LogStream } from "./entry.ts";
import { fullTime } from "./timestamp.ts";

const NEWLINE = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
const TIME_BYTES = 30;
const HEAD_BYTES = 2 + TIME_BYTES;

/** letter, stream, whole, attributes. */
const LETTERS: Readonly<
  Record<string, { stream: LogStream; isWhole: boolean; hasAttributes: boolean }>
> = {
  o: { stream: "stdout", isWhole: true, hasAttributes: false },
  O: { stream: "stdout", isWhole: false, hasAttributes: false },
  e: { stream: "stderr", isWhole: true, hasAttributes: false },
  E: { stream: "stderr", isWhole: false, hasAttributes: false },
  p: { stream: "stdout", isWhole: true, hasAttributes: true },
  P: { stream: "stdout", isWhole: false, hasAttributes: true },
  f: { stream: "stderr", isWhole: true, hasAttributes: true },
  F: { stream: "stderr", isWhole: false, hasAttributes: true },
};

/** The two letters of a stream, whole and piece, and what stands in front of each entry's bytes. */
export function rawMiddleOf(
  stream: LogStream,
  attributes: Readonly<Record<string, string>>,
): Uint8Array {
  const hasAttributes = Object.keys(attributes).length > 0;
  const letters = Object.keys(LETTERS).filter(
    (letter) =>
      LETTERS[letter]?.stream === stream && LETTERS[letter].hasAttributes === hasAttributes,
  );
  const front = hasAttributes ? `${JSON.stringify(attributes)}\t` : "";
  return new TextEncoder().encode(letters.join("") + front);
}

/** Appends one entry to `out` at `offset`, which must have room. @returns the new offset */
export function appendRawLine(out: Uint8Array, offset: number, entry: Line): number {
  const { text, start, middle, time } = entry;
  const isWhole = entry.end > start && text[entry.end - 1] === NEWLINE;
  const end = isWhole ? entry.end - 1 : entry.end;
  let at = offset;
  out[at++] = middle[isWhole ? 0 : 1] as number;
  for (let index = 0; index < TIME_BYTES; index += 1) out[at++] = time[index] as number;
  out[at++] = SPACE;
  for (let index = 2; index < middle.length; index += 1) out[at++] = middle[index] as number;
  out.set(text.subarray(start, end), at);
  at += end - start;
  out[at++] = NEWLINE;
  return at;
}

/** The entry of one line without its newline; null when it is none. The bytes are a view of `line` where they can be. */
export function decodeRawLine(line: Uint8Array): LogEntry | null {
  if (line.length < HEAD_BYTES || line[HEAD_BYTES - 1] !== SPACE) return null;
  const kind = LETTERS[String.fromCharCode(line[0] as number)];
  const time = fullTime(latin1(line.subarray(1, 1 + TIME_BYTES)));
  if (kind === undefined || time === null) return null;
  const tab = kind.hasAttributes ? line.indexOf(TAB, HEAD_BYTES) : HEAD_BYTES - 1;
  if (tab < 0) return null;
  const attributes = kind.hasAttributes ? parse(line.subarray(HEAD_BYTES, tab)) : null;
  const content = line.subarray(tab + 1);
  if (!kind.isWhole) return { stream: kind.stream, time, bytes: content, attributes };
  const bytes = new Uint8Array(content.length + 1);
  bytes.set(content);
  bytes[content.length] = NEWLINE;
  return { stream: kind.stream, time, bytes, attributes };
}

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");

function parse(json: Uint8Array): Readonly<Record<string, string>> | null {
  try {
    return JSON.parse(new TextDecoder().decode(json));
  } catch {
    return null;
  }
}
