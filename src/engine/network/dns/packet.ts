/**
 * DNS messages, as much of them as a resolver of a few names needs: one question in, answers out. Whatever a container
 * sends is read with a bound on every length; nothing in a question is followed. Source: RFC 1035, RFC 6891.
 */

export const TYPE = { a: 1, ptr: 12, aaaa: 28, opt: 41 } as const;
export const CODE = {
  ok: 0,
  formatError: 1,
  serverFailure: 2,
  notFound: 3,
  notKnown: 4,
  refused: 5,
  /** Of EDNS; its upper bits are in the OPT record. */
  badVersion: 16,
};

const HEADER_BYTES = 12;
const CLASS_IN = 1;
const NAME_LIMIT_BYTES = 255;
const FLAG_ANSWER = 0x8000;
const FLAG_TRUNCATED = 0x0200;
const FLAG_RECURSION_DESIRED = 0x0100;
const FLAG_RECURSION = 0x0080;
const OPCODE_BITS = 0x7800;
/** What UDP carries without EDNS, and what we send, and take, at most with it. */
const UDP_BYTES = 512;
const UDP_LIMIT_BYTES = 4096;
const OPT_BYTES = 11;

export interface Query {
  readonly id: number;
  readonly flags: number;
  /** Lower case, without the last dot. */
  readonly name: string;
  readonly type: number;
  readonly isInternet: boolean;
  /** The question as it was asked. */
  readonly question: Uint8Array;
  /** What the client takes in one datagram. */
  readonly udpBytes: number;
  /** The version of EDNS it speaks; null: none. */
  readonly edns: number | null;
}

/** A whole query; null for what deserves no answer; a code for what deserves only that. */
export function parseQuery(message: Uint8Array): Query | { id: number; code: number } | null {
  if (message.length < HEADER_BYTES) return null;
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const id = view.getUint16(0);
  const flags = view.getUint16(2);
  // An answer that nobody asked for: answering it could start a loop.
  if ((flags & FLAG_ANSWER) !== 0) return null;
  if ((flags & OPCODE_BITS) !== 0) return { id, code: CODE.notKnown };
  const bad = { id, code: CODE.formatError };
  if (view.getUint16(4) !== 1) return bad;
  const named = readName(message, HEADER_BYTES);
  if (named === null || named.end + 4 > message.length) return bad;
  const end = named.end + 4;
  return {
    id,
    flags,
    name: named.name,
    type: view.getUint16(named.end),
    isInternet: view.getUint16(named.end + 2) === CLASS_IN,
    question: message.slice(HEADER_BYTES, end),
    ...ednsOf(view, end),
  };
}

/** A question's name: labels one after the other. A pointer in it is no question anybody asks. */
function readName(message: Uint8Array, start: number): { name: string; end: number } | null {
  const labels: string[] = [];
  let at = start;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return null;
    at += 1;
    if (length === 0) break;
    if (at + length > message.length || at + length - start > NAME_LIMIT_BYTES) return null;
    let label = "";
    for (const byte of message.subarray(at, at + length)) label += String.fromCharCode(byte);
    labels.push(label);
    at += length;
  }
  return { name: labels.join(".").toLowerCase(), end: at };
}

/** What an OPT record says, where it is the first thing after the question: nobody puts it elsewhere. */
function ednsOf(view: DataView, end: number): Pick<Query, "udpBytes" | "edns"> {
  const none = { udpBytes: UDP_BYTES, edns: null };
  const others = view.getUint16(6) + view.getUint16(8);
  if (others > 0 || view.getUint16(10) === 0 || end + OPT_BYTES > view.byteLength) return none;
  if (view.getUint8(end) !== 0 || view.getUint16(end + 1) !== TYPE.opt) return none;
  const udpBytes = Math.min(Math.max(view.getUint16(end + 3), UDP_BYTES), UDP_LIMIT_BYTES);
  return { udpBytes, edns: view.getUint8(end + 6) };
}

/** Who asked with EDNS is answered with it: an OPT record at the end of a message, and its count. */
function writeEdns(bytes: Uint8Array, query: Pick<Query, "edns">, code: number): void {
  if (query.edns === null) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = bytes.length - OPT_BYTES;
  view.setUint16(10, 1);
  view.setUint16(at + 1, TYPE.opt);
  view.setUint16(at + 3, UDP_LIMIT_BYTES);
  view.setUint8(at + 5, code >> 4);
}

const ednsBytes = ({ edns }: Pick<Query, "edns">): number => (edns === null ? 0 : OPT_BYTES);

export interface Answer {
  readonly type: number;
  readonly data: Uint8Array;
}

/**
 * A message with answers to a query.
 * @param request.limitBytes more than that is left out, and the message says so: the client asks again by TCP
 */
export function encodeAnswers(
  query: Query,
  request: { answers: readonly Answer[]; ttlSeconds: number; limitBytes: number },
): Uint8Array<ArrayBuffer> {
  const { answers, ttlSeconds, limitBytes } = request;
  const fixed = HEADER_BYTES + query.question.length;
  const recordBytes = ({ data }: Answer) => 12 + data.length;
  const fitting: Answer[] = [];
  let total = fixed + ednsBytes(query);
  for (const answer of answers) {
    if (total + recordBytes(answer) > limitBytes) break;
    fitting.push(answer);
    total += recordBytes(answer);
  }
  const isCut = fitting.length < answers.length;
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, query.id);
  view.setUint16(2, answerFlags(query, isCut ? FLAG_TRUNCATED : 0));
  view.setUint16(4, 1);
  view.setUint16(6, fitting.length);
  bytes.set(query.question, HEADER_BYTES);
  let at = fixed;
  for (const { type, data } of fitting) {
    // The name of the question, by reference.
    view.setUint16(at, 0xc000 | HEADER_BYTES);
    view.setUint16(at + 2, type);
    view.setUint16(at + 4, CLASS_IN);
    view.setUint32(at + 6, ttlSeconds);
    view.setUint16(at + 10, data.length);
    bytes.set(data, at + 12);
    at += 12 + data.length;
  }
  writeEdns(bytes, query, CODE.ok);
  return bytes;
}

const answerFlags = ({ flags }: Pick<Query, "flags">, more: number): number =>
  FLAG_ANSWER | FLAG_RECURSION | (flags & FLAG_RECURSION_DESIRED) | more;

/** A message that is only a code, with the question if there was one. */
export function encodeCode(query: Query | { readonly id: number }, code: number) {
  const { question, edns, flags } =
    "question" in query ? query : { question: new Uint8Array(0), edns: null, flags: 0 };
  const bytes = new Uint8Array(HEADER_BYTES + question.length + ednsBytes({ edns }));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, query.id);
  view.setUint16(2, answerFlags({ flags }, code & 0xf));
  view.setUint16(4, question.length === 0 ? 0 : 1);
  bytes.set(question, HEADER_BYTES);
  writeEdns(bytes, { edns }, code);
  return bytes;
}

/** A name as the data of a record. */
export function encodeName(name: string): Uint8Array {
  const parts = name.split(".").filter((label) => label !== "" && label.length < 64);
  const bytes = parts.flatMap((label) => [label.length, ...Buffer.from(label, "latin1")]);
  return Uint8Array.from([...bytes, 0]);
}

/** Whether a message from a server answers this query: id, direction and question agree. */
export function isAnswerTo(query: Query, message: Uint8Array, id: number): boolean {
  const { question } = query;
  if (message.length < HEADER_BYTES + question.length) return false;
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  if (view.getUint16(0) !== id || (view.getUint16(2) & FLAG_ANSWER) === 0) return false;
  if (view.getUint16(4) !== 1) return false;
  const echoed = message.subarray(HEADER_BYTES, HEADER_BYTES + question.length);
  const lower = (byte: number) => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte);
  return question.every((byte, index) => lower(byte) === lower(echoed[index] ?? -1));
}

export const codeOf = (message: Uint8Array): number => (message[3] ?? 0) & 0x0f;

/** The same message under another id. */
export function withId(message: Uint8Array, id: number): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(message);
  new DataView(copy.buffer).setUint16(0, id);
  return copy;
}

/** The same message cut to its question, for a client that cannot take it whole. */
export function truncated(query: Query, message: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = encodeCode(query, codeOf(message));
  bytes[2] = (bytes[2] ?? 0) | (FLAG_TRUNCATED >> 8);
  return bytes;
}
