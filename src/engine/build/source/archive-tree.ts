/**
 * An archive that lies in one file, as a tree: read once while it arrives, hashed on the way, never unpacked. Its
 * links lead nowhere but into itself, since there is no file system they could be followed in.
 */
import { closeSync, openSync, writeSync } from "node:fs";

import { LayerTree, type LayerNode } from "#engine/layer";
import { isType, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG } from "#linux/path";
import { TarParser } from "#wire/tar";

import { OffsetDigests } from "./digests.ts";
import { type Found, type SourceNode, type SourceTree } from "./tree.ts";

const LINK_LIMIT = 40;

/** Bytes of a plain archive in, a tree out. The file is the caller's to delete. */
export class ArchiveWriter {
  readonly #path: string;
  readonly #fd: number;
  readonly #tree = new LayerTree();
  readonly #digests = new OffsetDigests();
  readonly #parser: TarParser;
  #hasher: Bun.CryptoHasher | null = null;
  #offset = -1;
  sizeBytes = 0;

  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, "wx", 0o600);
    this.#parser = new TarParser({
      entry: (header) => {
        this.#endFile();
        this.#tree.add(header);
        if (header.type !== "file" || header.storedBytes === 0) return;
        this.#offset = header.dataOffset;
        this.#hasher = new Bun.CryptoHasher("sha256");
      },
      data: (bytes) => void this.#hasher?.update(bytes),
    });
  }

  /** @throws EngineError "invalid" for what is no archive */
  push(bytes: Uint8Array): void {
    this.#parser.push(bytes);
    for (let done = 0; done < bytes.length;) {
      done += writeSync(this.#fd, bytes, done, bytes.length - done);
    }
    this.sizeBytes += bytes.length;
  }

  /** @throws EngineError "invalid" for an archive that was cut off */
  end(): ArchiveTree {
    this.#parser.end();
    this.#endFile();
    this.close();
    return new ArchiveTree(this.#path, this.#tree.root, this.#digests, this.#tree.entries);
  }

  /** Gives the descriptor back; once. */
  close(): void {
    closeSync(this.#fd);
  }

  #endFile(): void {
    if (this.#hasher !== null) this.#digests.set(this.#offset, this.#hasher.digest("hex"));
    this.#hasher = null;
  }
}

const EMPTY_DIGEST = new Bun.CryptoHasher("sha256").digest("hex");

export class ArchiveTree implements SourceTree {
  readonly path: string;
  /** How many things it was told to hold. */
  readonly entries: number;
  readonly #root: LayerNode;
  readonly #digests: OffsetDigests;
  readonly #identities = new Map<LayerNode, string>();
  #last: { readonly path: string; readonly node: LayerNode } | null = null;

  constructor(path: string, root: LayerNode, digests: OffsetDigests, entries = 0) {
    this.path = path;
    this.entries = entries;
    this.#root = root;
    this.#digests = digests;
  }

  find(path: string, { follow }: { readonly follow: boolean }): Found | null {
    const pending = path.split("/").toReversed();
    let parts: { name: string; node: LayerNode }[] = [];
    let links = 0;
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === "" || name === ".") continue;
      if (name === "..") {
        parts.pop();
        continue;
      }
      const directory = parts.at(-1)?.node ?? this.#root;
      const node = directory.children?.get(name);
      if (node === undefined || isWhiteout(node)) return null;
      const isLast = pending.every((rest) => rest === "");
      if (node.link === null || (isLast && !follow)) {
        parts.push({ name, node });
        continue;
      }
      links += 1;
      if (links > LINK_LIMIT) return null;
      if (node.link.startsWith("/")) parts = [];
      pending.push(...node.link.split("/").toReversed());
    }
    const node = parts.at(-1)?.node ?? this.#root;
    return { path: parts.map(({ name }) => name).join("/"), node: this.#described(node) };
  }

  list(path: string): readonly string[] {
    const children = this.#node(path)?.children;
    const names = [...(children ?? [])].flatMap(([name, node]) => (isWhiteout(node) ? [] : [name]));
    return names.sort();
  }

  at(path: string): SourceNode | null {
    const node = this.#node(path);
    return node === null ? null : this.#described(node);
  }

  digestOf(_path: string, { data }: SourceNode): string {
    if (data?.kind !== "file") return EMPTY_DIGEST;
    return this.#digests.get(data.offset) ?? EMPTY_DIGEST;
  }

  #node(path: string): LayerNode | null {
    if (path === "") return this.#root;
    const cut = path.lastIndexOf("/");
    const node = this.#directory(cut < 0 ? "" : path.slice(0, cut))?.children?.get(
      path.slice(cut + 1),
    );
    return node === undefined || isWhiteout(node) ? null : node;
  }

  /** Whoever walks the tree asks for one neighbour after the other. */
  #directory(path: string): LayerNode | undefined {
    if (this.#last?.path === path) return this.#last.node;
    let node: LayerNode | undefined = this.#root;
    for (const name of path === "" ? [] : path.split("/")) node = node?.children?.get(name);
    if (node !== undefined) this.#last = { path, node };
    return node;
  }

  #described(node: LayerNode): SourceNode {
    const type = typeOf(node.mode);
    const data = { kind: "file", path: this.path, offset: node.dataOffset, sparse: node.sparse };
    return {
      type,
      mode: node.mode & 0o7777,
      uid: node.uid,
      gid: node.gid,
      sizeBytes: type === "file" ? node.sizeBytes : 0,
      mtimeSec: node.mtimeSec,
      devMajor: (node.rdev >>> 8) & 0xfff,
      devMinor: (node.rdev & 0xff) | ((node.rdev >>> 12) & ~0xff),
      link: node.link,
      xattrs: node.xattrs,
      data: type === "file" ? ({ ...data, kind: "file" } as const) : null,
      identity: this.#identity(node),
    };
  }

  #identity(node: LayerNode): string {
    if (!node.isLinked) return "";
    let identity = this.#identities.get(node);
    if (identity === undefined) {
      identity = `${this.path}:${this.#identities.size}`;
      this.#identities.set(node, identity);
    }
    return identity;
  }
}

/** Nothing at all. */
export const EMPTY_TREE: SourceTree = new ArchiveTree(
  "",
  new LayerTree().root,
  new OffsetDigests(),
);

const isWhiteout = (node: LayerNode): boolean => isType(node.mode, S_IFCHR) && node.rdev === 0;

export function typeOf(mode: number): SourceNode["type"] {
  if (isType(mode, S_IFREG)) return "file";
  if (isType(mode, S_IFDIR)) return "directory";
  if (isType(mode, S_IFLNK)) return "symlink";
  if (isType(mode, S_IFCHR)) return "character";
  if (isType(mode, S_IFBLK)) return "block";
  if (isType(mode, S_IFIFO)) return "fifo";
  return "fifo";
}
