/**
 * Header fields as HTTP/2 has them. What is sent is spelled out and leaves nothing in the other side's memory; what
 * arrives may use all of it: the table of known fields, fields that came before, and Huffman's code.
 * Source: RFC 7541; its appendix B is a canonical code, so that the lengths say all of it.
 */

/** Names and values are byte strings. */
export type HeaderField = readonly [name: string, value: string];

/** What an answer's fields may hold together, as HTTP/2 counts them. */
const FIELDS_LIMIT_BYTES = 256 * 1024;
/** The size of the table that either side begins with; nobody here asks for another. */
const TABLE_LIMIT_BYTES = 4096;
/** What the table counts for a field beside its text. */
const FIELD_OVERHEAD_BYTES = 32;

/** A space in a value stands as "_": none has one of its own. */
const KNOWN: readonly HeaderField[] = (
  ":authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https" +
  " :status=200 :status=204 :status=206 :status=304 :status=400 :status=404 :status=500 accept-charset" +
  " accept-encoding=gzip,_deflate accept-language accept-ranges accept access-control-allow-origin age" +
  " allow authorization cache-control content-disposition content-encoding content-language content-length" +
  " content-location content-range content-type cookie date etag expect expires from host if-match" +
  " if-modified-since if-none-match if-range if-unmodified-since last-modified link location max-forwards" +
  " proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie" +
  " strict-transport-security transfer-encoding user-agent vary via www-authenticate"
)
  .split(" ")
  .map((field) => {
    const [name = "", value = ""] = field.split("=");
    return [name, value.replace("_", " ")] as const;
  });

/** A digit for each of 257 symbols, to base 36: the bits of its code less five. The last one ends a text. */
const CODE_LENGTHS =
  "8innnnnnnjpnnpnnnnnnnnpnnnnnnnnn1557813655363111000111111123a1758122222222222222222222" +
  "223238e891a01010111022111012100122222a698nfhffhhhihiiiiijijjhijiiiighihiijhgfhhiigihhj" +
  "ghiigghgihiifhhhihhillfehihklllmmljkeglmmlmjggllnmmmfjfghggihhkkjjlilmllmmmmmnmmmmmlp";
const SHORTEST_CODE = 5;
const LONGEST_CODE = 30;
const END_OF_TEXT = 256;

/** What cannot be read: the connection is of no more use, since its table is unknown from here on. */
export class HeaderError extends Error {}

/** Fields as one block, each spelled out. */
export function encodeFields(fields: Iterable<HeaderField>): Buffer {
  const parts: Buffer[] = [];
  for (const field of fields) {
    parts.push(Buffer.of(0));
    for (const text of field) parts.push(encodeLength(text.length), Buffer.from(text, "latin1"));
  }
  return Buffer.concat(parts);
}

/** A number behind a bit that says "no Huffman". */
function encodeLength(length: number): Buffer {
  if (length < 0x7f) return Buffer.of(length);
  const bytes = [0x7f];
  let rest = length - 0x7f;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Buffer.from([...bytes, rest]);
}

/** One direction of a connection: every block has to be read, in the order of arrival. */
export class FieldReader {
  /** Fields that came before, the latest first. */
  readonly #table: HeaderField[] = [];
  #tableBytes = 0;
  #tableLimit = TABLE_LIMIT_BYTES;

  /** @throws HeaderError */
  read(block: Uint8Array): HeaderField[] {
    const input = new Input(block);
    const fields: HeaderField[] = [];
    let size = 0;
    const add = (field: HeaderField) => {
      size += sizeOf(field);
      if (size > FIELDS_LIMIT_BYTES) throw new HeaderError("too many header fields");
      fields.push(field);
      return field;
    };
    while (input.more) {
      const first = input.peek();
      if (first >= 0x80) add(this.#field(input.number(7)));
      else if (first >= 0x40) this.#keep(add(this.#literal(input, 6)));
      else if (first >= 0x20) this.#resize(input.number(5));
      else add(this.#literal(input, 4));
    }
    return fields;
  }

  #literal(input: Input, prefix: number): HeaderField {
    const index = input.number(prefix);
    const name = index === 0 ? input.text() : this.#field(index)[0];
    return [name, input.text()];
  }

  #field(index: number): HeaderField {
    const field = index <= KNOWN.length ? KNOWN[index - 1] : this.#table[index - KNOWN.length - 1];
    if (field === undefined) throw new HeaderError("no such header field");
    return field;
  }

  #keep(field: HeaderField): void {
    this.#tableBytes += sizeOf(field);
    this.#table.unshift(field);
    this.#evict();
  }

  #resize(limit: number): void {
    if (limit > TABLE_LIMIT_BYTES) throw new HeaderError("the table of fields is too large");
    this.#tableLimit = limit;
    this.#evict();
  }

  #evict(): void {
    while (this.#tableBytes > this.#tableLimit) {
      const last = this.#table.pop();
      if (last === undefined) return;
      this.#tableBytes -= sizeOf(last);
    }
  }
}

const sizeOf = ([name, value]: HeaderField): number =>
  name.length + value.length + FIELD_OVERHEAD_BYTES;

class Input {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get more(): boolean {
    return this.#at < this.#bytes.length;
  }

  peek(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new HeaderError("the header fields were cut off");
    return byte;
  }

  /** @param prefix how many bits of its first byte belong to it */
  number(prefix: number): number {
    const mask = (1 << prefix) - 1;
    let value = this.peek() & mask;
    this.#at += 1;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.peek();
      this.#at += 1;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new HeaderError("a number of the header fields is too large");
  }

  text(): string {
    const isCoded = this.peek() >= 0x80;
    const length = this.number(7);
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new HeaderError("the header fields were cut off");
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return isCoded ? decodeText(bytes) : Buffer.from(bytes).toString("latin1");
  }
}

interface CodeLength {
  /** The first code of this length. */
  readonly first: number;
  readonly symbols: readonly number[];
}

/** By length: codes of one length count up, and a longer one goes on where the shorter ended. */
function makeCodes(): CodeLength[] {
  const codes: CodeLength[] = [];
  let first = 0;
  for (let length = 0; length <= LONGEST_CODE; length += 1) {
    const symbols = Array.from(CODE_LENGTHS).flatMap((digit, symbol) =>
      Number.parseInt(digit, 36) + SHORTEST_CODE === length ? [symbol] : [],
    );
    codes.push({ first, symbols });
    first = (first + symbols.length) * 2;
  }
  return codes;
}

let codes: readonly CodeLength[] | null = null;

function decodeText(bytes: Uint8Array): string {
  codes ??= makeCodes();
  const text: number[] = [];
  let [code, length] = [0, 0];
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit -= 1) {
      code = code * 2 + ((byte >>> bit) & 1);
      length += 1;
      const { first, symbols } = codes[length] ?? { first: 0, symbols: [] };
      const symbol = symbols[code - first];
      if (symbol === undefined) {
        if (length >= LONGEST_CODE) throw new HeaderError("a header field has no such code");
        continue;
      }
      if (symbol === END_OF_TEXT) throw new HeaderError("a header field ends within itself");
      text.push(symbol);
      [code, length] = [0, 0];
    }
  }
  // What is left over is the beginning of the longest code: ones.
  if (length > 7 || code !== 2 ** length - 1) throw new HeaderError("a header field was cut off");
  return Buffer.from(text).toString("latin1");
}
