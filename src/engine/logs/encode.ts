/**
 * Entries as the API sends them: Docker's multiplexed frames, or raw bytes for a container with a terminal; with
 * the time and the attributes (`details`) in front of each when asked.
 */
import type { LogEntry, LogStream } from "./entry.ts";

const FRAME_HEAD_BYTES = 8;
const streamNumbers: Record<LogStream, number> = { stdout: 1, stderr: 2 };
const encoder = new TextEncoder();
const nothing = new Uint8Array(0);

export interface EncodeOptions {
  readonly timestamps: boolean;
  readonly details: boolean;
  /** Frames with a head of 8 bytes; false for a terminal. */
  readonly multiplexed: boolean;
}

/** Many entries as one array, ready to send. */
export function encodeLogEntries(
  entries: readonly LogEntry[],
  options: EncodeOptions,
): Uint8Array<ArrayBuffer> {
  const heads = entries.map((entry) => prefixOf(entry, options));
  const frame = options.multiplexed ? FRAME_HEAD_BYTES : 0;
  let size = 0;
  entries.forEach((entry, index) => {
    size += frame + (heads[index] ?? nothing).length + entry.bytes.length;
  });
  const out = new Uint8Array(size);
  let at = 0;
  entries.forEach((entry, index) => {
    const head = heads[index] ?? nothing;
    if (options.multiplexed) {
      writeFrameHead(out, at, entry.stream, head.length + entry.bytes.length);
      at += FRAME_HEAD_BYTES;
    }
    out.set(head, at);
    out.set(entry.bytes, at + head.length);
    at += head.length + entry.bytes.length;
  });
  return out;
}

/** What Docker's clients end a log with: the daemon's own words, in a frame that is nobody's output. */
const SYSTEM_ERROR = 3;

/** Tells a reader of what is missing, where it is missing. */
export function encodeLogNotice(
  text: string,
  { multiplexed }: Pick<EncodeOptions, "multiplexed">,
): Uint8Array<ArrayBuffer> {
  const bytes = encoder.encode(`Error grabbing logs: ${text}\n`);
  if (!multiplexed) return bytes;
  const out = new Uint8Array(FRAME_HEAD_BYTES + bytes.length);
  writeFrameHead(out, 0, "stdout", bytes.length);
  out[0] = SYSTEM_ERROR;
  out.set(bytes, FRAME_HEAD_BYTES);
  return out;
}

/** The head of one frame: stream, three zeros, length in big-endian. */
export function writeFrameHead(
  out: Uint8Array,
  offset: number,
  stream: LogStream,
  lengthBytes: number,
): void {
  out[offset] = streamNumbers[stream];
  out[offset + 1] = 0;
  out[offset + 2] = 0;
  out[offset + 3] = 0;
  out[offset + 4] = lengthBytes >>> 24;
  out[offset + 5] = lengthBytes >>> 16;
  out[offset + 6] = lengthBytes >>> 8;
  out[offset + 7] = lengthBytes;
}

function prefixOf(entry: LogEntry, { timestamps, details }: EncodeOptions): Uint8Array {
  if (!timestamps && !details) return nothing;
  const time = timestamps ? `${entry.time} ` : "";
  return encoder.encode(details ? `${time}${detailsOf(entry.attributes ?? {})} ` : time);
}

/** As Docker: sorted, each side query-escaped, joined by commas. */
const detailsOf = (attributes: Readonly<Record<string, string>>): string =>
  Object.keys(attributes)
    .sort()
    .map((name) => `${queryEscape(name)}=${queryEscape(attributes[name] ?? "")}`)
    .join(",");

/** Go's url.QueryEscape: everything but letters, digits and -_.~, a space as "+". */
const queryEscape = (text: string): string =>
  encodeURIComponent(text.toWellFormed())
    .replaceAll(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%20", "+");
