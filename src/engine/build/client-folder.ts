/**
 * Folders of a client with a session: it says what is in one, and sends what is asked for. What came before is kept
 * (kept-contexts.ts), so that of a folder that has not changed nothing is sent twice.
 */
import { invalid } from "#base";
import { ArchiveTree, OffsetDigests } from "#engine/build/source";
import { LayerTree } from "#engine/layer";
import { PatternMatcher, readIgnoreFile } from "#wire/ignore";
import { textOf } from "#wire/tar";

import type { Arrived } from "./arrival.ts";
import type { BuildRequest } from "./build-service.ts";
import { collectAfter } from "./collect.ts";
import type { Context } from "./context.ts";
import { areRead, contextReads } from "./context-reads.ts";
import type { OfferedEntry } from "./kept-contexts.ts";
import { mayLack } from "./shared-links.ts";

export interface ClientFolders {
  /** What the client calls the folders of the Dockerfile and of the context. */
  readonly dockerfile: string;
  readonly context: string;
  /** @throws EngineError in the client's words */
  list(folder: string, filter: FolderFilter, signal: AbortSignal): Promise<FolderListing>;
}

export interface FolderFilter {
  /** Only these, and what their links lead to; none: everything. */
  readonly followPaths: readonly string[];
  /** Patterns of an ignore file. */
  readonly excludes: readonly string[];
}

/** What is in a folder, parents before what is in them. Names are byte strings. */
export interface FolderListing extends Disposable {
  /** The client's name for the folder, 64 hexadecimal digits; "" when it has none. */
  readonly key: string;
  readonly entries: readonly FolderEntry[];
  /** Contents of some entries, by their place. Pieces of one file come in order; an empty one ends it. */
  read(needed: readonly number[]): AsyncIterable<FilePiece>;
}

export interface FolderEntry extends OfferedEntry {
  readonly xattrs: ReadonlyMap<string, Uint8Array> | null;
  /** The entry before that is the same file under another name. */
  readonly sameAs: number | null;
}

export interface FilePiece {
  readonly index: number;
  readonly bytes: Uint8Array;
}

/** No Dockerfile and no ignore file that a person wrote is larger. */
const TEXT_LIMIT_BYTES = 8 * 1024 * 1024;
const IGNORE_FILE = ".dockerignore";

/** The Dockerfile now, and the context when a step asks for it. */
export async function receiveFolder(
  context: Context,
  request: BuildRequest,
  folders: ClientFolders,
): Promise<Arrived> {
  const { name, text, ignore } = await readDockerfileOf(request, folders);
  const reads = contextReads(text, request);
  let asked: Promise<string> | null = null;
  const ignoreText = () => (asked ??= readIgnore(request, folders, { ignore }));
  const folder = new ArrivingFolder(async (paths) => {
    const options = { ignore: await ignoreText(), paths };
    const opened = await openFolder(context, request, folders.context, options);
    collectAfter(opened.tree.entries);
    return opened;
  });
  // It comes while the first steps are built; what goes wrong is told by the step that needs it.
  if (!request.checkOnly && reads?.length !== 0) folder.open(reads).catch(() => undefined);
  return {
    name,
    dockerfile: text,
    tree: async (sources) => {
      const isEnough = sources !== undefined && reads !== null && areRead(sources, reads);
      return (await folder.open(isEnough ? reads : null)).tree;
    },
    ignored: async () => new PatternMatcher(readIgnoreFile(await ignoreText())),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

type OpenedFolder = { readonly tree: ArchiveTree } & Disposable;

/** What a build reads of a folder, and where that is not enough, the whole; each opened once. */
class ArrivingFolder implements Disposable {
  readonly #open: (paths: readonly string[]) => Promise<OpenedFolder>;
  #some: Promise<OpenedFolder> | null = null;
  #whole: Promise<OpenedFolder> | null = null;

  constructor(open: (paths: readonly string[]) => Promise<OpenedFolder>) {
    this.#open = open;
  }

  /** @param reads null: all of it */
  async open(reads: readonly string[] | null): Promise<OpenedFolder> {
    if (reads === null) return await (this.#whole ??= this.#open([]));
    if (this.#whole !== null) return await this.#whole;
    const some = await (this.#some ??= this.#open(reads));
    return mayLack(some.tree, reads) ? await this.open(null) : some;
  }

  [Symbol.dispose](): void {
    for (const opened of [this.#some, this.#whole]) {
      void opened?.then(
        (folder) => folder[Symbol.dispose](),
        () => undefined,
      );
    }
  }
}

/** @param request.dockerfile its path in its folder. @throws EngineError "invalid" in BuildKit's words */
export async function readDockerfileOf(
  { dockerfile, signal }: BuildRequest,
  folders: ClientFolders,
): Promise<{ name: string; text: string; ignore: string | null }> {
  const name = dockerfile === "" ? "Dockerfile" : dockerfile;
  const lower = name.replace(/(^|\/)Dockerfile$/, "$1dockerfile");
  const own = `${name}.dockerignore`;
  const followPaths = [...new Set([name, own, lower])];
  const texts = await readTexts(folders, folders.dockerfile, { followPaths, signal });
  const text = texts.get(name) ?? texts.get(lower);
  if (text === undefined) {
    throw invalid(`failed to read dockerfile: open ${name}: no such file or directory`);
  }
  if (text === "") throw invalid(`the Dockerfile (${name}) cannot be empty`);
  return { name, text, ignore: texts.get(own) ?? null };
}

/** Small files of a folder as texts, by their paths. */
async function readTexts(
  folders: ClientFolders,
  folder: string,
  { followPaths, signal }: { followPaths: readonly string[]; signal: AbortSignal },
): Promise<Map<string, string>> {
  using listing = await folders.list(folder, { followPaths, excludes: [] }, signal);
  const { entries } = listing;
  const files = entries.flatMap(({ type, sameAs }, index) =>
    type === "file" && sameAs === null ? [index] : [],
  );
  const sizeBytes = files.reduce((sum, index) => sum + (entries[index]?.sizeBytes ?? 0), 0);
  if (sizeBytes > TEXT_LIMIT_BYTES) throw invalid(`${followPaths[0] ?? ""} is too large`);
  const pieces = new Map<number, Uint8Array[]>(files.map((index) => [index, []]));
  let received = 0;
  for await (const { index, bytes } of listing.read(files)) {
    received += bytes.length;
    if (received > TEXT_LIMIT_BYTES) throw invalid(`${followPaths[0] ?? ""} is too large`);
    pieces.get(index)?.push(bytes);
  }
  const texts = new Map<string, string>();
  const decode = (parts: readonly Uint8Array[]) => new TextDecoder().decode(Buffer.concat(parts));
  for (const [index, parts] of pieces) texts.set(entries[index]?.path ?? "", decode(parts));
  return followed(entries, texts);
}

/** A Dockerfile may be a link to another file of its folder. */
function followed(
  entries: readonly FolderEntry[],
  texts: Map<string, string>,
): Map<string, string> {
  const tree = new LayerTree();
  for (const entry of entries) tree.add({ ...headerOf(entry), sizeBytes: 0 });
  const shape = new ArchiveTree("", tree.root, new OffsetDigests());
  for (const { path, type, sameAs } of entries) {
    if (type !== "symlink" && sameAs === null) continue;
    const target =
      sameAs === null ? shape.find(path, { follow: true })?.path : entries[sameAs]?.path;
    const text = target === undefined ? undefined : texts.get(target);
    if (text !== undefined) texts.set(path, text);
  }
  return new Map([...texts].map(([path, text]) => [textOf(path), text]));
}

/** One thing of a folder as an archive would have it, without its contents. */
export const headerOf = (entry: OfferedEntry) => ({
  rawName: entry.path,
  rawLink: entry.link,
  type: entry.type,
  mode: entry.mode,
  uid: 0,
  gid: 0,
  sizeBytes: entry.sizeBytes,
  mtimeSec: entry.mtimeSec,
  mtimeNsec: 0,
  devMajor: entry.devMajor,
  devMinor: entry.devMinor,
  xattrs: null,
  dataOffset: -1,
  storedBytes: 0,
  sparse: null,
});

/** The text that says what of a folder is left out. @param options.ignore where that is known already */
async function readIgnore(
  { signal }: BuildRequest,
  folders: ClientFolders,
  options: { readonly ignore?: string | null; readonly folder?: string },
): Promise<string> {
  const { ignore, folder = folders.context } = options;
  if (typeof ignore === "string") return ignore;
  const followPaths = [IGNORE_FILE];
  return (await readTexts(folders, folder, { followPaths, signal })).get(IGNORE_FILE) ?? "";
}

/**
 * A folder of the client without what its ignore file names.
 * @param options.ignore in place of the folder's own
 * @param options.paths only these, and what their links lead to; none: everything
 */
export async function openFolder(
  context: Context,
  request: BuildRequest,
  folder: string,
  options: { readonly ignore?: string | null; readonly paths?: readonly string[] } = {},
): Promise<OpenedFolder> {
  const { folders, signal } = request;
  if (folders === null) throw invalid(`no local sources enabled: ${folder}`);
  const text = await readIgnore(request, folders, { ...options, folder });
  const filter = { followPaths: options.paths ?? [], excludes: [...readIgnoreFile(text)] };
  using listing = await folders.list(folder, filter, signal);
  return await context.kept.receiveListing(listing, signal);
}
