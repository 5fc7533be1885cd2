/**
 * A build's context as a folder of this host: what of it is sent, after .dockerignore, and its archive. Links are sent
 * as links and never followed; owners are not sent, since COPY gives files to root anyway.
 */
import { readSync } from "node:fs";

import { invalid } from "#base";
import {
  FileDescriptor,
  type FileStat,
  isType,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  openPath,
  openWithoutLinks,
  readDirectory,
  readLinkAt,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  statFd,
  statPath,
} from "#linux/path";
import { ownXattrs } from "#linux/tree";
import { PatternMatcher } from "#wire/ignore";
import {
  bytesOf,
  encodeTarHeader,
  rawOf,
  TAR_TRAILER,
  type TarEntryType,
  tarPadding,
  textOf,
} from "#wire/tar";

/** One thing of a context. */
export interface ContextEntry {
  /** Relative, a byte string. */
  readonly path: string;
  readonly type: Exclude<TarEntryType, "hardlink">;
  readonly stat: FileStat;
  /** Of a symbolic link, a byte string. */
  readonly link: string;
}

/** More than this is a whole disk sent by mistake. */
const ENTRY_LIMIT = 2_000_000;
const PIECE_BYTES = 256 * 1024;

function typeOf({ mode }: FileStat): ContextEntry["type"] | null {
  if (isType(mode, S_IFREG)) return "file";
  if (isType(mode, S_IFDIR)) return "directory";
  if (isType(mode, S_IFLNK)) return "symlink";
  if (isType(mode, S_IFCHR)) return "character";
  if (isType(mode, S_IFBLK)) return "block";
  return isType(mode, S_IFIFO) ? "fifo" : null;
}

export class ContextTree implements Disposable {
  readonly entries: ContextEntry[] = [];
  readonly #root: FileDescriptor;
  readonly #isIgnored: (path: string) => boolean;
  readonly #prunes: boolean;

  /** @param keep paths that are sent whatever the patterns say: the Dockerfile, the ignore file */
  constructor(folder: string, patterns: readonly string[], keep: ReadonlySet<string>) {
    this.#root = new FileDescriptor(openPath(folder, O_RDONLY | O_DIRECTORY));
    const matcher = new PatternMatcher(patterns);
    this.#isIgnored = (path) =>
      !matcher.isEmpty && matcher.matches(textOf(path)) && !keep.has(textOf(path));
    // What is below an ignored folder may still be wanted where there are exceptions.
    this.#prunes = !matcher.hasExceptions && ![...keep].some((path) => path.includes("/"));
    try {
      this.#walk(this.#root.fd, "");
    } catch (cause) {
      this.#root[Symbol.dispose]();
      throw cause;
    }
  }

  #walk(fd: number, prefix: string): void {
    const names = readDirectory(fd).map(({ name }) => rawOf(name));
    for (const name of names.sort()) {
      const path = prefix + name;
      const isOut = this.#isIgnored(path);
      if (isOut && this.#prunes) continue;
      const bytes = bytesOf(name);
      const stat = statPath(bytes, fd);
      const type = stat === null ? null : typeOf(stat);
      if (stat === null || type === null || (isOut && type !== "directory")) continue;
      const link = type === "symlink" ? rawOf(readLinkAt(fd, bytes)) : "";
      const before = this.entries.length;
      this.entries.push({ path, type, stat, link });
      if (before >= ENTRY_LIMIT) throw invalid("the build context has too many files");
      if (type !== "directory") continue;
      const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
      using below = new FileDescriptor(openPath(bytes, flags, 0, fd));
      this.#walk(below.fd, `${path}/`);
      // An ignored folder is sent only for what is in it.
      if (isOut && this.entries.length === before + 1) this.entries.pop();
    }
  }

  /** The archive of entries. What vanished meanwhile is left out, what shrank is filled up. */
  *archive(entries: Iterable<ContextEntry>): Generator<Uint8Array, void, void> {
    for (const entry of entries) {
      if (entry.type === "file") yield* this.#file(entry);
      else yield headerOf(entry, entry.stat, null);
    }
  }

  *#file(entry: ContextEntry): Generator<Uint8Array, void, void> {
    const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
    using file = new FileDescriptor(
      openWithoutLinks({ rootFd: this.#root.fd, path: bytesOf(entry.path), flags }),
    );
    const stat = statFd(file.fd);
    if (typeOf(stat) !== "file") return;
    const { sizeBytes } = stat;
    yield headerOf(entry, stat, ownXattrs(file.fd));
    for (let done = 0; done < sizeBytes;) {
      const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, sizeBytes - done));
      const filled = readSync(file.fd, buffer, 0, buffer.length, done);
      if (filled === 0) buffer.fill(0);
      const piece = filled === 0 ? buffer : buffer.subarray(0, filled);
      done += piece.length;
      yield piece;
    }
    const padding = tarPadding(sizeBytes);
    if (padding.length > 0) yield padding;
  }

  [Symbol.dispose](): void {
    this.#root[Symbol.dispose]();
  }
}

function headerOf(
  { path, type, link }: ContextEntry,
  stat: FileStat,
  xattrs: Map<string, Uint8Array> | null,
): Uint8Array {
  const isDevice = type === "character" || type === "block";
  return encodeTarHeader({
    name: bytesOf(path),
    type,
    mode: stat.mode & 0o7777,
    // Whole seconds, as Docker's client sends them: a fraction would cost a header more.
    mtimeSec: stat.mtimeSec,
    sizeBytes: type === "file" ? stat.sizeBytes : 0,
    xattrs,
    ...(type === "symlink" ? { link: bytesOf(link) } : {}),
    ...(isDevice ? { devMajor: stat.rdevMajor, devMinor: stat.rdevMinor } : {}),
  });
}

/** A file that is in memory only. */
export function* archiveFile(name: string, content: Uint8Array): Generator<Uint8Array, void, void> {
  yield encodeTarHeader({ name, sizeBytes: content.length });
  yield content;
  yield tarPadding(content.length);
}

/** Joins small pieces, so that 20,000 files are not 60,000 writes. Ends the archive. */
export async function* asUpload(
  parts: Iterable<Iterable<Uint8Array>>,
): AsyncGenerator<Uint8Array, void, void> {
  let pieces: Uint8Array[] = [];
  let size = 0;
  for (const part of [...parts, [TAR_TRAILER]]) {
    for (const piece of part) {
      pieces.push(piece);
      size += piece.length;
      if (size < PIECE_BYTES) continue;
      yield Buffer.concat(pieces);
      pieces = [];
      size = 0;
    }
  }
  yield Buffer.concat(pieces);
}
