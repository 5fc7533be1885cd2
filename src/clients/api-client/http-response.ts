/**
 * One HTTP/1.1 answer read from a wire: its head, then its body by length, by chunks or until the end.
 * Spec: RFC 9112. Bodies are pulled, so an answer that nobody reads stops at the socket.
 */
import { EngineError, joinBytes } from "#base";

import { HEAD_LIMIT_BYTES } from "./limits.ts";
import type { Wire } from "./wire.ts";

export interface ResponseHead {
  readonly status: number;
  /** Names in lower case; repeated headers are joined with a comma. */
  readonly headers: ReadonlyMap<string, string>;
}

const decoder = new TextDecoder();
const broken = (what: string): EngineError =>
  new EngineError("unavailable", `the daemon's answer is not HTTP: ${what}`);

/** Reads the head of an answer; what follows it stays in the wire. Informational answers are skipped, 101 is not. */
export async function readHead(wire: Wire): Promise<ResponseHead> {
  for (;;) {
    const head = parseHead(decoder.decode(await readUntilBlankLine(wire)));
    if (head.status >= 200 || head.status === 101) return head;
  }
}

async function readUntilBlankLine(wire: Wire): Promise<Uint8Array> {
  let received: Uint8Array = new Uint8Array(0);
  for (;;) {
    const chunk = await wire.read();
    if (chunk === undefined) throw broken("the connection closed before it was complete");
    const from = Math.max(0, received.length - 3);
    received = received.length === 0 ? chunk : joinBytes([received, chunk]);
    const end = indexOfBlankLine(received, from);
    if (end >= 0) {
      wire.unread(received.subarray(end));
      return received.subarray(0, end);
    }
    if (received.length > HEAD_LIMIT_BYTES) throw broken("its head is too long");
  }
}

/** The index behind `\r\n\r\n`, or -1. */
function indexOfBlankLine(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(13, from); at >= 0; at = bytes.indexOf(13, at + 1)) {
    if (bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at + 4;
  }
  return -1;
}

function parseHead(text: string): ResponseHead {
  const [first = "", ...lines] = text.split("\r\n");
  const match = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first);
  if (match === null) throw broken(JSON.stringify(first.slice(0, 60)));
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const earlier = headers.get(name);
    headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`);
  }
  return { status: Number(match[1]), headers };
}

/** The body of an answer; when it ends by itself the wire is at the next answer. */
export function readBody(wire: Wire, head: ResponseHead, method: string): BodyReader {
  const { status, headers } = head;
  if (method === "HEAD" || status === 204 || status === 304) return { reusable: true, read: done };
  if (/\bchunked\b/i.test(headers.get("transfer-encoding") ?? "")) {
    return { reusable: true, read: chunkedReader(wire) };
  }
  const length = headers.get("content-length");
  if (length === undefined) return { reusable: false, read: () => wire.read() };
  if (!/^\d+$/.test(length)) throw broken(`content-length ${JSON.stringify(length)}`);
  return { reusable: true, read: fixedReader(wire, Number(length)) };
}

export interface BodyReader {
  /** True when the wire can carry another request once the body is at its end. */
  readonly reusable: boolean;
  /** The next bytes, undefined at the end. */
  read(): Promise<Uint8Array | undefined>;
}

const done = (): Promise<undefined> => Promise.resolve(undefined);

function fixedReader(wire: Wire, lengthBytes: number): BodyReader["read"] {
  let remaining = lengthBytes;
  return async () => {
    if (remaining === 0) return undefined;
    const chunk = await take(wire, remaining);
    remaining -= chunk.length;
    return chunk;
  };
}

/** At most `limitBytes` bytes; the rest of the chunk goes back. */
async function take(wire: Wire, limitBytes: number): Promise<Uint8Array> {
  const chunk = await wire.read();
  if (chunk === undefined) throw new EngineError("unavailable", "unexpected EOF");
  if (chunk.length <= limitBytes) return chunk;
  wire.unread(chunk.subarray(limitBytes));
  return chunk.subarray(0, limitBytes);
}

function chunkedReader(wire: Wire): BodyReader["read"] {
  let remaining = 0;
  let first = true;
  let finished = false;
  return async () => {
    if (finished) return undefined;
    if (remaining === 0) {
      if (!first) await readLine(wire);
      first = false;
      const size = await readLine(wire);
      const digits = /^([0-9a-fA-F]{1,12})(?:;|\s*$)/.exec(size)?.[1];
      if (digits === undefined) throw broken(`chunk size ${JSON.stringify(size.slice(0, 20))}`);
      remaining = Number.parseInt(digits, 16);
      if (remaining === 0) {
        while ((await readLine(wire)) !== "") continue; // trailers
        finished = true;
        return undefined;
      }
    }
    const chunk = await take(wire, remaining);
    remaining -= chunk.length;
    return chunk;
  };
}

const LINE_LIMIT_BYTES = 8192;

async function readLine(wire: Wire): Promise<string> {
  let line: Uint8Array = new Uint8Array(0);
  for (;;) {
    const chunk = await wire.read();
    if (chunk === undefined) throw new EngineError("unavailable", "unexpected EOF");
    const end = chunk.indexOf(10);
    const part = end < 0 ? chunk : chunk.subarray(0, end);
    line = line.length === 0 ? part : joinBytes([line, part]);
    if (line.length > LINE_LIMIT_BYTES) throw broken("a line is too long");
    if (end < 0) continue;
    wire.unread(chunk.subarray(end + 1));
    return decoder.decode(line).replace(/\r$/, "");
  }
}
