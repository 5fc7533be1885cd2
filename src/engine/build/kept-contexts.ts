/**
 * Contexts that stay: a client that builds the same folder again says what is in it, and sends only what changed.
 *
 *   <data>/kept/<key>/data    contents of files, one behind the other; only ever appended to
 *   <data>/kept/<key>/uses    as many bytes as builds have used it
 *   <data>/kept/<key>/index   where each path's content lies, under which stamp it came, and its digest (kept-index.ts)
 *
 * A stamp is the client's own sign that a file is the same (inode, size, times). Digests are the engine's: taken of the
 * bytes that arrived, so that a stamp can be wrong about its own client's folder only. Nothing is synced: an index of
 * another boot is not believed. What is larger than the limits is sent as an archive, as ever.
 */
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

import { breathe, conflict, invalid, newId } from "#base";
import { ArchiveTree, OffsetDigests } from "#engine/build/source";
import { LayerTree } from "#engine/layer";
import { type TarEntryType, type TarHeader, TarParser } from "#wire/tar";

import { collectSoonAfter } from "./collect.ts";
import { ContentWriter } from "./content-writer.ts";
import { type Kept, readKeptIndex, writeKeptIndex } from "./kept-index.ts";

/** One thing of an offered context; names and links are byte strings. */
export interface OfferedEntry {
  readonly path: string;
  readonly type: Exclude<TarEntryType, "hardlink">;
  readonly mode: number;
  readonly mtimeSec: number;
  readonly sizeBytes: number;
  readonly link: string;
  readonly stamp: string;
  readonly devMajor: number;
  readonly devMinor: number;
}

/** What of a client's listing is read here: see client-folder.ts. */
interface Listing {
  readonly key: string;
  readonly entries: readonly (OfferedEntry & {
    readonly xattrs: ReadonlyMap<string, Uint8Array> | null;
    readonly sameAs: number | null;
  })[];
  read(needed: readonly number[]): AsyncIterable<{ index: number; bytes: Uint8Array }>;
}

interface Offer {
  readonly key: string;
  readonly entries: readonly OfferedEntry[];
  readonly files: Map<string, Kept>;
  readonly needed: ReadonlySet<string>;
  readonly sinceMs: number;
}

/** A whole context; disposing says that nobody reads it any more. */
export interface ReceivedContext extends Disposable {
  readonly tree: ArchiveTree;
}

/** What is kept for one build only. */
const ONCE = "once-";
const OFFER_LIMIT = 16;
const OFFER_TIMEOUT_MS = 120_000;
const CONTEXTS_LIMIT = 32;
const CONTEXT_LIMIT_BYTES = 2 * 1024 ** 3;
const ALL_LIMIT_BYTES = 8 * 1024 ** 3;
/** Contents of files that are no longer there are thrown away when they are more than what is, and more than this. */
const DEAD_LIMIT_BYTES = 64 * 1024 ** 2;

/** Grows by a byte with each use: a count that no crash can leave half written. */
const USES = "uses";

/** A client's folder as it was built last. */
export interface KeptContext {
  readonly key: string;
  readonly sizeBytes: number;
  readonly createdMs: number;
  readonly usedMs: number;
  readonly uses: number;
  readonly isInUse: boolean;
}

export class KeptContexts {
  readonly #folder: string;
  readonly #offers = new Map<string, Offer>();
  /** How many builds read a context's data. */
  readonly #users = new Map<string, number>();
  /** Settles when what is being received is complete, or has failed. */
  readonly #receiving = new Map<string, Promise<void>>();
  readonly #boot: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.#boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    // Of builds of a daemon that is gone.
    for (const { key } of this.#list()) if (key.startsWith(ONCE)) this.#remove(key);
  }

  /** @returns the offer's name, and which of its entries are not here. @throws EngineError "conflict": send it whole */
  offer(key: string, entries: readonly OfferedEntry[]): { id: string; needed: number[] } {
    if (!/^[0-9a-f]{64}$/.test(key)) throw invalid("invalid key of a context");
    const sizeBytes = entries.reduce((sum, entry) => sum + entry.sizeBytes, 0);
    if (sizeBytes > CONTEXT_LIMIT_BYTES) throw conflict("the context is too large to be kept");
    const now = performance.now();
    for (const [id, { sinceMs }] of this.#offers) {
      if (now - sinceMs > OFFER_TIMEOUT_MS) this.#offers.delete(id);
    }
    if (this.#offers.size >= OFFER_LIMIT) throw conflict("too many contexts are being sent");
    const known = this.#known(key, sizeBytes);
    const files = new Map<string, Kept>();
    const needed: number[] = [];
    for (const [index, { path, type, stamp, sizeBytes: size }] of entries.entries()) {
      if (type !== "file") continue;
      const kept = known.get(path);
      if (kept?.stamp === stamp && kept.sizeBytes === size) files.set(path, kept);
      else needed.push(index);
    }
    const id = newId();
    const paths = new Set(needed.map((index) => entries[index]?.path ?? ""));
    this.#offers.set(id, { key, entries, files, needed: paths, sinceMs: now });
    return { id, needed };
  }

  /** What is kept under a key; nothing after too much of it has died. */
  #known(key: string, liveBytes: number): Map<string, Kept> {
    const folder = join(this.#folder, key);
    try {
      const { size } = statSync(join(folder, "data"));
      const isWasteful = size - liveBytes > Math.max(liveBytes, DEAD_LIMIT_BYTES);
      const known = readKeptIndex(join(folder, "index"), this.#boot);
      if (known.size > 0 && !(isWasteful && this.#isIdle(key))) return known;
    } catch {
      // Never made, or not to be read: it is sent again.
    }
    if (this.#isIdle(key)) rmSync(folder, { recursive: true, force: true });
    return new Map();
  }

  #isIdle(key: string): boolean {
    return !this.#receiving.has(key) && (this.#users.get(key) ?? 0) === 0;
  }

  /** Takes in what was missing. */
  async receive(
    id: string,
    archive: ReadableStream<Uint8Array>,
    signal: AbortSignal,
  ): Promise<ReceivedContext> {
    const offer = this.#offers.get(id);
    this.#offers.delete(id);
    if (offer === undefined) throw conflict("the offered context is not known any more");
    const { key, entries, files, needed } = offer;
    if (this.#receiving.has(key)) throw conflict("the same context is being sent by another build");
    const received = this.#begin(key);
    const dispose = this.#use(key);
    try {
      const folder = join(this.#folder, key);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const path = join(folder, "data");
      await append(path, { archive, files, offer, signal });
      if (needed.size > 0 || !existsSync(join(folder, "index"))) this.#save(folder, files);
      else utimesSync(join(folder, "index"), new Date(), new Date());
      appendFileSync(join(folder, USES), "\n", { mode: 0o600 });
      this.#evict(key);
      return receivedOf(await treeOf(path, entries, files), dispose);
    } catch (cause) {
      dispose();
      throw cause;
    } finally {
      received();
    }
  }

  /** @returns to be called when it is complete, or has failed */
  #begin(key: string): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#receiving.set(key, promise);
    return () => {
      this.#receiving.delete(key);
      resolve();
    };
  }

  /** @returns to be called when it is read no more; may be called twice */
  #use(key: string): () => void {
    this.#users.set(key, (this.#users.get(key) ?? 0) + 1);
    let isRead = true;
    return () => {
      if (!isRead) return;
      isRead = false;
      const left = (this.#users.get(key) ?? 1) - 1;
      if (left > 0) this.#users.set(key, left);
      else this.#users.delete(key);
      if (key.startsWith(ONCE)) this.#remove(key);
    };
  }

  /**
   * Takes in what of a client's folder is not here. Another build that just receives the same folder is waited for:
   * then nothing of it is missing.
   */
  async receiveListing(listing: Listing, signal: AbortSignal): Promise<ReceivedContext> {
    const { entries } = listing;
    const sizeBytes = entries.reduce((sum, entry) => sum + entry.sizeBytes, 0);
    const isKept = /^[0-9a-f]{64}$/.test(listing.key) && sizeBytes <= CONTEXT_LIMIT_BYTES;
    const key = isKept ? listing.key : `${ONCE}${newId()}`;
    for (;;) {
      const other = this.#receiving.get(key);
      if (other === undefined) break;
      await Promise.race([other, abortOf(signal)]);
      signal.throwIfAborted();
    }
    const known = isKept ? this.#known(key, sizeBytes) : new Map<string, Kept>();
    const received = this.#begin(key);
    const dispose = this.#use(key);
    try {
      const folder = join(this.#folder, key);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const path = join(folder, "data");
      const limitBytes = isKept ? 2 * CONTEXT_LIMIT_BYTES : 2 * sizeBytes + CONTEXT_LIMIT_BYTES;
      const { files, isChanged } = await take(path, { listing, known, limitBytes, signal });
      if (isKept && (isChanged || !existsSync(join(folder, "index")))) this.#save(folder, files);
      else if (isKept) utimesSync(join(folder, "index"), new Date(), new Date());
      appendFileSync(join(folder, USES), "\n", { mode: 0o600 });
      this.#evict(key);
      return receivedOf(await treeOf(path, entries, files), dispose);
    } catch (cause) {
      dispose();
      throw cause;
    } finally {
      received();
    }
  }

  #save(folder: string, files: ReadonlyMap<string, Kept>): void {
    writeKeptIndex(join(folder, "index"), { boot: this.#boot, files });
  }

  /** Last used first, as many as the limits let stay. */
  #evict(current: string): void {
    let [count, sizeBytes] = [0, 0];
    for (const one of this.#list()) {
      count += 1;
      sizeBytes += one.sizeBytes;
      const isOver = count > CONTEXTS_LIMIT || sizeBytes > ALL_LIMIT_BYTES;
      if (isOver && one.key !== current && this.#isIdle(one.key)) this.#remove(one.key);
    }
  }

  /** Last used first. */
  #list(): Omit<KeptContext, "isInUse">[] {
    if (!existsSync(this.#folder)) return [];
    return readdirSync(this.#folder)
      .map((key) => {
        const [data, index, uses, folder] = ["data", "index", USES, ""].map((name) =>
          statSync(join(this.#folder, key, name), { throwIfNoEntry: false }),
        );
        return {
          key,
          sizeBytes: data?.size ?? 0,
          usedMs: index?.mtimeMs ?? 0,
          createdMs: folder?.birthtimeMs ?? 0,
          uses: uses?.size ?? 0,
        };
      })
      .toSorted((a, b) => b.usedMs - a.usedMs);
  }

  /** What stays when builds end. */
  list(): KeptContext[] {
    return this.#list()
      .filter(({ key }) => !key.startsWith(ONCE))
      .map((one) => ({ ...one, isInUse: !this.#isIdle(one.key) }));
  }

  #remove(key: string): void {
    // Who was told that files are here has to send them all after all.
    for (const [id, offer] of this.#offers) if (offer.key === key) this.#offers.delete(id);
    rmSync(join(this.#folder, key), { recursive: true, force: true });
  }

  /** Throws it away unless a build reads it. @returns whether it is gone */
  remove(key: string): boolean {
    if (!this.#isIdle(key)) return false;
    this.#remove(key);
    return true;
  }
}

const receivedOf = (tree: ArchiveTree, dispose: () => void): ReceivedContext => ({
  tree,
  [Symbol.dispose]: () => {
    dispose();
    collectSoonAfter(tree.entries);
  },
});

interface Taking {
  readonly listing: Listing;
  readonly known: ReadonlyMap<string, Kept>;
  readonly limitBytes: number;
  readonly signal: AbortSignal;
}

/** Asks for the files that are not known under the stamp they have now. */
async function take(
  path: string,
  { listing, known, limitBytes, signal }: Taking,
): Promise<{ files: Map<string, Kept>; isChanged: boolean }> {
  const { entries } = listing;
  const files = new Map<string, Kept>();
  const needed: number[] = [];
  for (const [index, { path: name, type, stamp, sizeBytes, sameAs }] of entries.entries()) {
    if (type !== "file" || sameAs !== null) continue;
    const kept = known.get(name);
    if (kept?.stamp === stamp && kept.sizeBytes === sizeBytes) files.set(name, kept);
    else needed.push(index);
  }
  using writer = new ContentWriter(path, limitBytes);
  const missing = new Set(needed);
  for await (const { index, bytes } of listing.read(needed)) {
    signal.throwIfAborted();
    const entry = entries[index];
    if (entry === undefined || !missing.has(index)) throw invalid("a file was not asked for");
    if (bytes.length > 0) {
      writer.push(index, entry.sizeBytes, bytes);
      continue;
    }
    missing.delete(index);
    const attributes = entry.xattrs === null || entry.xattrs.size === 0 ? null : [...entry.xattrs];
    const encode = ([name, value]: [string, Uint8Array]) =>
      [name, Buffer.from(value).toString("base64")] as const;
    const xattrs = attributes?.map(encode) ?? null;
    files.set(entry.path, { ...writer.finish(index), stamp: entry.stamp, xattrs });
  }
  for (const { path: name, sameAs } of entries) {
    const first = sameAs === null ? undefined : files.get(entries[sameAs]?.path ?? "");
    if (first !== undefined) files.set(name, first);
  }
  const isChanged = needed.length > 0 || files.size !== known.size;
  return { files, isChanged };
}

const abortOf = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });

interface Arriving {
  readonly archive: ReadableStream<Uint8Array>;
  readonly files: Map<string, Kept>;
  readonly offer: Offer;
  readonly signal: AbortSignal;
}

interface ArrivingFile {
  readonly header: TarHeader;
  readonly offset: number;
  readonly hasher: Bun.CryptoHasher;
}

/** Writes the files of an archive behind what is there. */
async function append(path: string, { archive, files, offer, signal }: Arriving): Promise<void> {
  const stamps = new Map<string, string>();
  for (const { path: name, stamp } of offer.entries) {
    if (offer.needed.has(name)) stamps.set(name, stamp);
  }
  const fd = openSync(path, "a", 0o600);
  let end = statSync(path).size;
  const arriving: { file: ArrivingFile | null } = { file: null };
  const finish = () => {
    if (arriving.file === null) return;
    const { header, offset, hasher } = arriving.file;
    const xattrs = header.xattrs === null ? null : [...header.xattrs];
    files.set(header.rawName, {
      stamp: stamps.get(header.rawName) ?? "",
      offset,
      sizeBytes: header.sizeBytes,
      digest: hasher.digest("hex"),
      xattrs: xattrs?.map(([name, value]) => [name, Buffer.from(value).toString("base64")]) ?? null,
    });
    arriving.file = null;
  };
  const parser = new TarParser({
    entry: (header) => {
      finish();
      if (!offer.needed.has(header.rawName) || header.type !== "file" || header.sparse !== null) {
        throw invalid("the archive holds what was not asked for");
      }
      arriving.file = { header, offset: end, hasher: new Bun.CryptoHasher("sha256") };
    },
    data: (bytes) => {
      arriving.file?.hasher.update(bytes);
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
      end += bytes.length;
      if (end > 2 * CONTEXT_LIMIT_BYTES) throw invalid("the context has become too large");
    },
  });
  try {
    for await (const chunk of archive) {
      signal.throwIfAborted();
      parser.push(chunk);
    }
    parser.end();
    finish();
  } finally {
    closeSync(fd);
  }
}

/** A file that has vanished while it was sent is left out, as of any archive. */
async function treeOf(
  path: string,
  entries: readonly OfferedEntry[],
  files: ReadonlyMap<string, Kept>,
): Promise<ArchiveTree> {
  const tree = new LayerTree();
  const digests = new OffsetDigests();
  for (const entry of entries) {
    await breathe();
    const kept = files.get(entry.path);
    if (entry.type === "file" && kept === undefined) continue;
    const xattrs = kept?.xattrs?.map(([name, value]): [string, Uint8Array] => [
      name,
      Buffer.from(value, "base64"),
    ]);
    const sizeBytes = kept?.sizeBytes ?? 0;
    tree.add({
      rawName: entry.path,
      rawLink: entry.link,
      type: entry.type,
      mode: entry.mode,
      uid: 0,
      gid: 0,
      sizeBytes,
      mtimeSec: entry.mtimeSec,
      mtimeNsec: 0,
      devMajor: entry.devMajor,
      devMinor: entry.devMinor,
      xattrs: xattrs === undefined ? null : new Map(xattrs),
      // An empty file lies where the next one does.
      dataOffset: kept === undefined || sizeBytes === 0 ? -1 : kept.offset,
      storedBytes: sizeBytes,
      sparse: null,
    });
    if (kept !== undefined && sizeBytes > 0) digests.set(kept.offset, kept.digest);
  }
  return new ArchiveTree(path, tree.root, digests, tree.entries);
}
