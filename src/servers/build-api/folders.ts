/**
 * A client's folders, by the protocol of fsutil: the client tells what is in one, in order, then sends the files that
 * are asked for by their place in that list, and is done when it hears so.
 * Source: tonistiigi/fsutil, receive.go; moby/buildkit, session/filesync.
 */
import { invalid } from "#base";
import type {
  ClientFolders,
  FilePiece,
  FolderEntry,
  FolderFilter,
  FolderListing,
} from "#engine/build";
import {
  create,
  decodeFilePacket,
  type FileStat,
  type GrpcStream,
  PacketSchema,
  toBinary,
} from "#wire/grpc";

import { cancelled } from "./failures.ts";
import { permissionsOfGoMode, typeOfGoMode } from "./go-mode.ts";
import { type Session, told } from "./session.ts";
import { pathChecker } from "./path-order.ts";

const PACKET = { stat: 0, request: 1, data: 2, fin: 3, error: 4 } as const;
/** More things are in no folder that anybody builds. */
const ENTRIES_LIMIT = 2_000_000;
/** Names and links of all of them. */
const NAMES_LIMIT_BYTES = 512 * 1024 * 1024;
const XATTRS_LIMIT_BYTES = 64 * 1024 * 1024;
/** Requests that go out in one piece. */
const REQUESTS_AT_ONCE = 512;
/** Of what a file carries besides, an image keeps these. */
const KEPT_XATTRS = /^(?:security\.capability|user\..+)$/;

/** Told while a folder arrives. */
export interface FolderProgress {
  (arriving: { readonly folder: string; readonly filter: FolderFilter }): {
    bytes(count: number): void;
    done(error: unknown): void;
  };
}

export function foldersOf(
  session: Session,
  names: { readonly dockerfile: string; readonly context: string },
  onProgress: FolderProgress,
): ClientFolders {
  return {
    ...names,
    list: async (folder, filter, signal) => {
      const progress = onProgress({ folder, filter });
      const stream = session.openFiles(metadataOf(folder, filter), signal);
      const listing = new Listing(stream, { key: keyOf(session, folder, filter), progress });
      try {
        await listing.receive();
        return listing;
      } catch (cause) {
        progress.done(signal.aborted ? cancelled() : cause);
        listing[Symbol.dispose]();
        throw told(cause);
      }
    },
  };
}

/** Kept under the client's own key for the folder, as BuildKit does; without one nothing is kept. */
function keyOf({ sharedKey }: Session, folder: string, { followPaths }: FolderFilter): string {
  const isIgnoreFile = followPaths.length === 1 && followPaths[0] === ".dockerignore";
  const isText = isIgnoreFile || folder === "dockerfile";
  if (sharedKey === "" || isText) return "";
  const hasher = new Bun.CryptoHasher("sha256");
  const part = followPaths.length === 0 ? [] : [followPaths];
  return hasher.update(JSON.stringify([sharedKey, folder, ...part])).digest("hex");
}

function metadataOf(folder: string, { followPaths, excludes }: FolderFilter) {
  return {
    ...headersOf("dir-name", [folder]),
    ...headersOf("followpaths", followPaths),
    ...headersOf("exclude-patterns", excludes),
  };
}

const isAscii = (text: string): boolean => /^[\x20-\x7e]*$/.test(text);

/** What is no ASCII goes as Go escapes a query, and says so. */
function headersOf(name: string, values: readonly string[]): Record<string, string | string[]> {
  if (values.length === 0) return {};
  if (values.every(isAscii)) return { [name]: [...values] };
  return { [name]: values.map((value) => encodeURIComponent(value)), [`${name}-encoded`]: "1" };
}

/** Where files stand in a list, for their other names: looked up by path from the first such name on. */
class FilePlaces {
  readonly #entries: readonly FolderEntry[];
  #places: Map<string, number> | null = null;

  constructor(entries: readonly FolderEntry[]) {
    this.#entries = entries;
  }

  /** A file that comes next. */
  add(path: string): void {
    this.#places?.set(path, this.#entries.length);
  }

  get(path: string): number | undefined {
    return (this.#places ??= this.#all()).get(path);
  }

  #all(): Map<string, number> {
    return new Map(
      this.#entries.flatMap(({ path, type, sameAs }, index) =>
        type === "file" && sameAs === null ? [[path, index] as const] : [],
      ),
    );
  }
}

class Listing implements FolderListing {
  readonly key: string;
  readonly entries: FolderEntry[] = [];
  /** The client's number of each entry, which counts what is left out here too. */
  readonly #numbers: number[] = [];
  readonly #stream: GrpcStream;
  readonly #messages: AsyncGenerator<Uint8Array[]>;
  readonly #progress: ReturnType<FolderProgress>;
  /** What came together with the end of the list. */
  #rest: Uint8Array[] = [];
  #isDone = false;

  constructor(
    stream: GrpcStream,
    { key, progress }: { key: string; progress: ReturnType<FolderProgress> },
  ) {
    this.#stream = stream;
    this.#messages = stream.messages();
    this.#progress = progress;
    this.key = key;
  }

  /** Takes the list in. @throws EngineError "invalid" for what is no folder's */
  async receive(): Promise<void> {
    const check = pathChecker();
    const places = new FilePlaces(this.entries);
    let [number, nameBytes, xattrBytes] = [0, 0, 0];
    for (;;) {
      const { done, value } = await this.#messages.next();
      if (done === true) throw invalid("the client ended before it told all of its files");
      for (const [at, bytes] of value.entries()) {
        const { type, stat, data } = decodeFilePacket(bytes);
        if (type === PACKET.error) throw clientError(data);
        if (type !== PACKET.stat) throw invalid("the client sent a file before it was asked for");
        if (stat === null) {
          this.#rest = value.slice(at + 1);
          return;
        }
        this.#progress.bytes(bytes.length);
        nameBytes += stat.path.length + stat.link.length;
        for (const [name, one] of stat.xattrs ?? []) xattrBytes += name.length + one.length;
        const isTooMuch = nameBytes > NAMES_LIMIT_BYTES || xattrBytes > XATTRS_LIMIT_BYTES;
        if (number >= ENTRIES_LIMIT || isTooMuch) throw invalid("the folder holds too much");
        this.#add(stat, number, { check, places });
        number += 1;
      }
    }
  }

  #add(
    stat: FileStat,
    number: number,
    { check, places }: { check: ReturnType<typeof pathChecker>; places: FilePlaces },
  ): void {
    const { path, link, sizeBytes, modTime, mode } = stat;
    const type = typeOfGoMode(mode);
    check(path, type === "directory");
    if (type === null) return;
    const sameAs = type === "file" && link !== "" ? places.get(link) : null;
    if (sameAs === undefined) throw invalid(`${path}: its other name ${link} was not told before`);
    const mtimeSec = Number(modTime / 1_000_000_000n);
    if (!Number.isSafeInteger(sizeBytes)) throw invalid(`${path}: no size`);
    if (type === "file" && sameAs === null) places.add(path);
    this.#numbers.push(number);
    this.entries.push({
      path,
      type,
      mode: permissionsOfGoMode(mode),
      mtimeSec,
      sizeBytes: type === "file" ? sizeBytes : 0,
      link: type === "symlink" ? link : "",
      stamp: `${modTime} ${mode}${xattrStamp(stat.xattrs)}`,
      devMajor: stat.devMajor,
      devMinor: stat.devMinor,
      xattrs: xattrsOf(stat.xattrs),
      sameAs,
    });
  }

  async *read(needed: readonly number[]): AsyncGenerator<FilePiece> {
    const places = new Map(needed.map((index) => [this.#numbers[index] ?? -1, index]));
    const asking = this.#ask([...places.keys()]);
    asking.catch(() => undefined);
    try {
      if (places.size === 0) await this.#fin();
      else {
        for await (const { id, data } of this.#data()) {
          const index = places.get(id);
          if (index === undefined) throw invalid(`invalid file request ${id}`);
          this.#progress.bytes(data.length);
          yield { index, bytes: data };
          if (data.length > 0) continue;
          places.delete(id);
          if (places.size > 0) continue;
          await asking;
          await this.#fin();
          break;
        }
      }
      this.#isDone = true;
      this.#progress.done(null);
    } catch (cause) {
      this.#isDone = true;
      this.#progress.done(cause);
      throw told(cause);
    }
  }

  /** While data comes already: the client takes no more requests than it can serve. */
  async #ask(numbers: readonly number[]): Promise<void> {
    for (let from = 0; from < numbers.length; from += REQUESTS_AT_ONCE) {
      const some = numbers.slice(from, from + REQUESTS_AT_ONCE);
      await this.#stream.send(...some.map((id) => packet({ type: PACKET.request, id })));
    }
  }

  async *#data(): AsyncGenerator<{ id: number; data: Uint8Array }> {
    for (let messages = this.#rest; ;) {
      for (const bytes of messages) {
        const { type, id, data } = decodeFilePacket(bytes);
        if (type === PACKET.error) throw clientError(data);
        if (type !== PACKET.data) throw invalid("the client sent what was not asked for");
        yield { id, data };
      }
      const { done, value } = await this.#messages.next();
      if (done === true) throw invalid("the client ended before it sent all files");
      messages = value;
    }
  }

  /** Says that nothing more is wanted, and waits until the client has understood. */
  async #fin(): Promise<void> {
    await this.#stream.send(packet({ type: PACKET.fin }));
    this.#stream.end();
    for (;;) {
      const { done } = await this.#messages.next();
      if (done === true) return;
    }
  }

  [Symbol.dispose](): void {
    if (!this.#isDone) this.#progress.done(null);
    this.#stream[Symbol.dispose]();
  }
}

const packet = (init: { type: number; id?: number }): Uint8Array =>
  toBinary(PacketSchema, create(PacketSchema, init));

const clientError = (data: Uint8Array): Error =>
  invalid(`error from sender: ${new TextDecoder().decode(data)}`);

type Xattrs = ReadonlyMap<string, Uint8Array> | null;

function xattrsOf(all: Xattrs): Xattrs {
  const kept = [...(all ?? [])].filter(([name]) => KEPT_XATTRS.test(name));
  return kept.length === 0 ? null : new Map(kept);
}

const xattrStamp = (all: Xattrs): string =>
  [...(all ?? [])]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => ` ${name}=${Buffer.from(value).toString("base64")}`)
    .join("");
