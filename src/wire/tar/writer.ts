/**
 * Writing a tar: POSIX pax where the old header cannot say it, plain ustar where it can. The same entries give
 * the same bytes: no clock, no user names.
 */
import {
  bytesOf,
  paddingOf,
  rawOf,
  TAR_BLOCK,
  type TarAttributes,
  type TarEntryType,
} from "./entry.ts";

/** An entry to write; what is left out is 0 (mode: 0644, directories 0755, links 0777). */
export interface TarEntrySource extends Partial<Omit<TarAttributes, "type">> {
  /** Text, or bytes where the name is not UTF-8. Directories get their slash here. */
  readonly name: string | Uint8Array;
  readonly link?: string | Uint8Array;
  /** "file" if left out. */
  readonly type?: TarEntryType;
  /** Further pax records, such as those of a sparse file; values are byte strings. */
  readonly records?: readonly (readonly [key: string, value: string])[];
}

const flags: Readonly<Record<TarEntryType, string>> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  character: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};

/** The two blocks of zeros that end an archive. */
export const TAR_TRAILER: Uint8Array<ArrayBuffer> = new Uint8Array(2 * TAR_BLOCK);

/** The zeros behind data of this size. */
export const tarPadding = (sizeBytes: number): Uint8Array<ArrayBuffer> =>
  new Uint8Array(paddingOf(sizeBytes));

const OCTAL_SIZE_LIMIT = 0o77777777777;
const OCTAL_ID_LIMIT = 0o7777777;

/** Digits before one NUL; written by hand, since a header has seven numbers and an archive many headers. */
function octal(block: Buffer, offset: number, length: number, value: number): void {
  let rest = value;
  for (let at = offset + length - 2; at >= offset; at -= 1) {
    block[at] = ZERO + (rest % 8);
    rest = Math.floor(rest / 8);
  }
  block[offset + length - 1] = 0;
}

const ZERO = 0x30;
const MAGIC = Buffer.from("ustar\x0000", "latin1");

function defaultMode(type: TarEntryType): number {
  if (type === "directory") return 0o755;
  return type === "symlink" ? 0o777 : 0o644;
}

/** "12 key=value\n": the length counts its own digits. */
function paxRecord(key: string, value: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(` ${key}=`, "latin1"), value, Buffer.from("\n")]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length)
    length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

type TarNumbers = Pick<TarEntrySource, "uid" | "gid" | "mtimeSec" | "devMajor" | "devMinor">;

interface Block {
  readonly name: string;
  readonly prefix: string;
  readonly link: string;
  readonly flag: string;
  readonly entry: TarNumbers;
  readonly sizeBytes: number;
  readonly mode: number;
}

function headerBlock({ name, prefix, link, flag, entry, sizeBytes, mode }: Block): Buffer {
  const block = Buffer.alloc(TAR_BLOCK);
  const id = (value = 0) => (value > OCTAL_ID_LIMIT ? 0 : value);
  const mtime = entry.mtimeSec ?? 0;
  block.write(name, 0, 100, "latin1");
  octal(block, 100, 8, mode & 0o7777);
  octal(block, 108, 8, id(entry.uid));
  octal(block, 116, 8, id(entry.gid));
  octal(block, 124, 12, sizeBytes > OCTAL_SIZE_LIMIT ? 0 : sizeBytes);
  octal(block, 136, 12, mtime < 0 || mtime > OCTAL_SIZE_LIMIT ? 0 : mtime);
  block[156] = flag.charCodeAt(0);
  if (link !== "") block.write(link, 157, 100, "latin1");
  block.set(MAGIC, 257);
  octal(block, 329, 8, entry.devMajor ?? 0);
  octal(block, 337, 8, entry.devMinor ?? 0);
  if (prefix !== "") block.write(prefix, 345, 155, "latin1");
  block.fill(0x20, 148, 156);
  let sum = 0;
  // By index: an iterator over 512 bytes is most of the time that a header takes.
  for (let at = 0; at < TAR_BLOCK; at += 1) sum += block[at] ?? 0;
  // Six digits, NUL, and the blank that stands there already.
  octal(block, 148, 7, sum);
  return block;
}

// oxlint-disable-next-line no-control-regex
const isAscii = (raw: string): boolean => /^[\x01-\x7f]*$/.test(raw);

/** Where a name may be cut in two for ustar's prefix field; -1 where it cannot. */
function prefixEnd(raw: string): number {
  if (raw.length > 256) return -1;
  const cut = raw.lastIndexOf("/", 155);
  const rest = raw.length - cut - 1;
  return cut > 0 && rest > 0 && rest <= 100 ? cut : -1;
}

/** What the old header cannot hold, as pax records. */
function paxRecords(
  entry: RawTarEntrySource,
  raw: { name: string; link: string },
  size: number,
): Buffer[] {
  const records: Buffer[] = [];
  const add = (key: string, value: string) => records.push(paxRecord(key, bytesOf(value)));
  const fits = isAscii(raw.name) && (raw.name.length <= 100 || prefixEnd(raw.name) > 0);
  const linkFits = isAscii(raw.link) && raw.link.length <= 100;
  if (!fits) add("path", raw.name);
  if (!linkFits) add("linkpath", raw.link);
  if (size > OCTAL_SIZE_LIMIT) add("size", String(size));
  if ((entry.uid ?? 0) > OCTAL_ID_LIMIT) add("uid", String(entry.uid));
  if ((entry.gid ?? 0) > OCTAL_ID_LIMIT) add("gid", String(entry.gid));
  const mtime = entry.mtimeSec ?? 0;
  const nanoseconds = entry.mtimeNsec ?? 0;
  if (nanoseconds !== 0 || mtime < 0 || mtime > OCTAL_SIZE_LIMIT)
    add("mtime", timeText(mtime, nanoseconds));
  for (const [key, value] of entry.records ?? []) add(key, value);
  for (const name of [...(entry.xattrs?.keys() ?? [])].sort()) {
    records.push(paxRecord(`SCHILY.xattr.${name}`, entry.xattrs?.get(name) ?? new Uint8Array()));
  }
  return records;
}

function timeText(seconds: number, nanoseconds: number): string {
  if (nanoseconds === 0) return String(seconds);
  const negative = seconds < 0;
  const whole = negative ? -seconds - 1 : seconds;
  const rest = negative ? 1_000_000_000 - nanoseconds : nanoseconds;
  const fraction = String(rest).padStart(9, "0").replace(/0+$/, "");
  return `${negative ? "-" : ""}${whole}.${fraction}`;
}

/** The header of one entry, with its pax header in front when it needs one. The data and `tarPadding` follow. */
export const encodeTarHeader = (entry: TarEntrySource): Buffer =>
  encodeRawTarHeader({
    ...entry,
    rawName: rawOf(entry.name),
    rawLink: entry.link === undefined ? "" : rawOf(entry.link),
  });

/** The same of an entry whose names are byte strings already. */
export type RawTarEntrySource = Omit<TarEntrySource, "name" | "link"> & {
  readonly rawName: string;
  readonly rawLink?: string;
};

export function encodeRawTarHeader(entry: RawTarEntrySource): Buffer {
  const type = entry.type ?? "file";
  const { rawName: plain, rawLink: link = "" } = entry;
  const name = type === "directory" && !plain.endsWith("/") ? `${plain}/` : plain;
  const sizeBytes = type === "file" ? (entry.sizeBytes ?? 0) : 0;
  const mode = entry.mode ?? defaultMode(type);
  const records = paxRecords(entry, { name, link }, sizeBytes);
  const cut = name.length > 100 ? prefixEnd(name) : -1;
  const split = isAscii(name) && cut > 0;
  const block = headerBlock({
    name: (split ? name.slice(cut + 1) : name).slice(0, 100),
    prefix: split ? name.slice(0, cut) : "",
    link: link.slice(0, 100),
    flag: flags[type],
    entry,
    sizeBytes,
    mode,
  });
  if (records.length === 0) return block;
  const data = Buffer.concat(records);
  const pax = headerBlock({
    name: "PaxHeaders.0/x",
    prefix: "",
    link: "",
    flag: "x",
    entry: {},
    sizeBytes: data.length,
    mode: 0o644,
  });
  return Buffer.concat([pax, data, tarPadding(data.length), block]);
}

/** Where a writer's bytes go; it waits for each answer, so a slow sink slows the writer. */
export type TarSink = (bytes: Uint8Array) => Promise<void> | void;

/** Entries in, tar out: `add` each, then `end`. */
export class TarWriter {
  readonly #sink: TarSink;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /** Writes one entry. A body given as bytes tells its own size; a streamed one must be exactly `sizeBytes` long. */
  async add(
    entry: TarEntrySource,
    body?: Uint8Array | string | AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const whole = typeof body === "string" ? Buffer.from(body) : body;
    const sizeBytes = whole instanceof Uint8Array ? whole.length : (entry.sizeBytes ?? 0);
    await this.#sink(encodeTarHeader({ ...entry, sizeBytes }));
    let written = 0;
    if (whole instanceof Uint8Array) {
      await this.#sink(whole);
      written = whole.length;
    } else if (whole) {
      for await (const chunk of whole) {
        written += chunk.length;
        if (written > sizeBytes) break;
        await this.#sink(chunk);
      }
    }
    if (written !== sizeBytes) {
      throw new Error(
        `archive/tar: ${rawOf(entry.name)}: ${written} bytes instead of ${sizeBytes}`,
      );
    }
    const padding = tarPadding(sizeBytes);
    if (padding.length > 0) await this.#sink(padding);
  }

  /** Writes the end of the archive. */
  async end(): Promise<void> {
    await this.#sink(TAR_TRAILER);
  }
}

/** A tar that is written while it is read: `fill` adds the entries, the end is added here. */
export function tarStream(fill: (writer: TarWriter) => Promise<void>): ReadableStream<Uint8Array> {
  const channel = new TransformStream<Uint8Array, Uint8Array>();
  const out = channel.writable.getWriter();
  const run = async () => {
    const writer = new TarWriter((bytes) => out.write(bytes));
    await fill(writer);
    await writer.end();
    await out.close();
  };
  run().catch((error: unknown) => out.abort(error).catch(() => undefined));
  return channel.readable;
}
