/**
 * A layer's file tree in memory, built from its tar's headers: what extraction with Docker would leave behind.
 * Later entries win; whiteouts become 0:0 character devices and opaque directories, as overlayfs wants them.
 *
 * Links on the way to an entry are followed inside the tree, as they would be below a chroot, and never name
 * anything outside. File data stays in the tar: a file knows its place there.
 * Specs: OCI image-spec 1.1, layer.md; overlayfs documentation, "whiteouts and opaque directories".
 */
import { invalid, LAYER_ENTRY_LIMIT } from "#base";
import { isType, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG } from "#linux/path";

import { cleanParts, shownPath } from "./path-name.ts";
import type { SparseSegment, TarEntryType, TarHeader } from "#wire/tar";
import { textOf } from "#wire/tar";
import { keptXattrs } from "./xattr-filter.ts";

/** One inode of the tree; hard links share it. */
export interface LayerNode {
  mode: number;
  uid: number;
  gid: number;
  mtimeSec: number;
  mtimeNsec: number;
  /** Of a file; a link's target length is its own. */
  sizeBytes: number;
  /** Where a file's stored data starts in the tar. */
  dataOffset: number;
  sparse: readonly SparseSegment[] | null;
  /** A symbolic link's target, a byte string. */
  link: string | null;
  /** A device's number as the kernel encodes it. */
  rdev: number;
  xattrs: ReadonlyMap<string, Uint8Array> | null;
  /** A directory's entries by byte string; null for all others. */
  children: Map<string, LayerNode> | null;
  /** A directory's parent; the root's is itself. */
  parent: LayerNode | null;
  /** A directory that hides what lower layers have below it. */
  opaque: boolean;
  /** It has had a second name. */
  isLinked: boolean;
  /** Its place in what `inodesOf` answered last. */
  inode: number;
}

const WHITEOUT_PREFIX = ".wh.";
const META_PREFIX = ".wh..wh.";
const OPAQUE_MARKER = ".wh..wh..opq";
const LINK_LIMIT = 40;
const LINK_TARGET_LIMIT_BYTES = 4095;
/** Names, link targets and attributes of one layer: they are held in memory until the index is written. */
const TEXT_LIMIT_BYTES = 256 * 1024 * 1024;

const typeBits: Readonly<Record<TarEntryType, number>> = {
  file: S_IFREG,
  hardlink: S_IFREG,
  symlink: S_IFLNK,
  character: S_IFCHR,
  block: S_IFBLK,
  directory: S_IFDIR,
  fifo: S_IFIFO,
};

const emptyNode = (mode: number): LayerNode => ({
  mode,
  uid: 0,
  gid: 0,
  mtimeSec: 0,
  mtimeNsec: 0,
  sizeBytes: 0,
  dataOffset: 0,
  sparse: null,
  link: null,
  rdev: 0,
  xattrs: null,
  children: null,
  parent: null,
  opaque: false,
  isLinked: false,
  inode: -1,
});

const isWhiteout = (node: LayerNode): boolean => isType(node.mode, S_IFCHR) && node.rdev === 0;

/** Linux's 32-bit device number (include/linux/kdev_t.h, new_encode_dev). */
function encodeDevice({ devMajor, devMinor, rawName }: TarHeader): number {
  if (devMajor < 0 || devMinor < 0 || devMajor > 0xfff || devMinor > 0xfffff) {
    throw invalid(`mknod ${textOf(rawName)}: invalid device number ${devMajor}:${devMinor}`);
  }
  return ((devMinor & 0xff) | (devMajor << 8) | ((devMinor & ~0xff) << 12)) >>> 0;
}

export class LayerTree {
  readonly root: LayerNode;
  /** Entries of the tar, those that were replaced later included. */
  entries = 0;
  #textBytes = 0;
  /** The last entry's directory: neighbours in a tar share it. */
  #lastPath = "";
  #lastDirectory: LayerNode | null = null;

  constructor() {
    this.root = emptyNode(S_IFDIR | 0o755);
    this.root.children = new Map();
    this.root.parent = this.root;
  }

  /** Takes the next entry of the tar. @throws EngineError "invalid" for one that could not be extracted */
  add(header: TarHeader): void {
    this.entries += 1;
    if (this.entries > LAYER_ENTRY_LIMIT) {
      throw invalid(`the layer has more than ${LAYER_ENTRY_LIMIT} entries`);
    }
    const parts = cleanParts(header.rawName);
    const name = parts.pop();
    if (name === undefined) return this.#setRoot(header);
    // Bookkeeping of aufs, which only aufs could use.
    const meta = parts.some((part) => part.startsWith(META_PREFIX));
    if (meta || (name.startsWith(META_PREFIX) && name !== OPAQUE_MARKER)) return;
    const directory = this.#directory(parts);
    if (name === OPAQUE_MARKER) directory.opaque = true;
    else if (name.startsWith(WHITEOUT_PREFIX)) {
      this.#whiteout(directory, name.slice(WHITEOUT_PREFIX.length), header);
    } else this.#place(directory, name, header, parts);
  }

  #setRoot(header: TarHeader): void {
    if (header.type !== "directory")
      throw invalid(`"${textOf(header.rawName)}" is not a directory`);
    this.#describe(this.root, header);
  }

  #describe(node: LayerNode, header: TarHeader): void {
    node.mode = typeBits[header.type] | header.mode;
    node.uid = header.uid;
    node.gid = header.gid;
    node.mtimeSec = header.mtimeSec;
    node.mtimeNsec = header.mtimeNsec;
    node.xattrs = keptXattrs(header.xattrs, node.mode);
    for (const [name, value] of node.xattrs ?? []) this.#countText(name.length + value.length);
  }

  #countText(bytes: number): void {
    this.#textBytes += bytes;
    if (this.#textBytes > TEXT_LIMIT_BYTES) {
      throw invalid(`the layer's names and attributes are larger than ${TEXT_LIMIT_BYTES} bytes`);
    }
  }

  /**
   * A whiteout is about lower layers only, wherever it stands among its own layer's entries: what this
   * layer itself has under that name stays, and a directory hides what was below.
   */
  #whiteout(directory: LayerNode, name: string, { uid, gid, rawName }: TarHeader): void {
    if (name === "" || name === "." || name === "..") {
      throw invalid(`invalid whiteout "${textOf(rawName)}"`);
    }
    const existing = directory.children?.get(name);
    if (existing) {
      if (existing.children) existing.opaque = true;
      return;
    }
    this.#countText(name.length);
    directory.children?.set(name, { ...emptyNode(S_IFCHR), uid, gid });
  }

  #place(directory: LayerNode, name: string, header: TarHeader, parts: readonly string[]): void {
    const siblings = directory.children ?? new Map<string, LayerNode>();
    const existing = siblings.get(name);
    if (header.type === "directory" && existing?.children) return this.#describe(existing, header);
    const hides = existing !== undefined && isWhiteout(existing);
    if (existing) this.#forget();
    siblings.delete(name);
    this.#countText(name.length);
    if (header.type === "hardlink") {
      siblings.set(name, this.#linkTarget(header, parts, name, existing));
      return;
    }
    const node = emptyNode(0);
    this.#describe(node, header);
    switch (header.type) {
      case "directory":
        node.children = new Map();
        node.parent = directory;
        node.opaque = hides;
        break;
      case "symlink":
        this.#countText(header.rawLink.length);
        node.link = checkedLink(header);
        // No file system keeps another one, whatever an archive says.
        node.mode = S_IFLNK | 0o777;
        node.sizeBytes = node.link.length;
        break;
      case "character":
      case "block":
        node.rdev = encodeDevice(header);
        break;
      case "file":
        node.sizeBytes = header.sizeBytes;
        node.dataOffset = header.dataOffset;
        node.sparse = header.sparse;
        break;
      case "fifo":
        break;
    }
    siblings.set(name, node);
  }

  /** The inode that a hard link names, which must have come before. */
  #linkTarget(
    header: TarHeader,
    parts: readonly string[],
    name: string,
    existing: LayerNode | undefined,
  ): LayerNode {
    const shown = shownPath([...parts, name]);
    let target: string[];
    try {
      target = cleanParts(header.rawLink);
    } catch (cause) {
      // Docker's words.
      throw invalid(`invalid hardlink "${shown}" -> "${textOf(header.rawLink)}"`, { cause });
    }
    const last = target.pop();
    const directory = this.#find(target);
    const node = last === undefined ? this.root : directory?.children?.get(last);
    // A link to its own name: GNU tar writes one when a file is listed twice.
    const found = node ?? (target.join("/") === parts.join("/") && last === name ? existing : null);
    const to = shownPath(last === undefined ? [] : [...target, last]);
    if (!found) throw invalid(`link ${to} ${shown}: no such file or directory`);
    if (found.children) throw invalid(`link ${to} ${shown}: operation not permitted`);
    found.isLinked = true;
    return found;
  }

  /** A directory that must exist, links followed. */
  #find(parts: readonly string[]): LayerNode | null {
    return this.#walk(parts, false);
  }

  /** A directory, made with its parents where it is missing. */
  #directory(parts: readonly string[]): LayerNode {
    const path = parts.join("/");
    if (this.#lastDirectory && path === this.#lastPath) return this.#lastDirectory;
    const node = this.#walk(parts, true);
    if (!node) throw new Error("broken invariant: a directory was not made");
    this.#lastPath = path;
    this.#lastDirectory = node;
    return node;
  }

  #forget(): void {
    this.#lastDirectory = null;
  }

  #walk(parts: readonly string[], make: boolean): LayerNode | null {
    let current = this.root;
    let links = 0;
    const pending = parts.toReversed();
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === "" || name === ".") continue;
      if (name === "..") {
        current = current.parent ?? this.root;
        continue;
      }
      const child = current.children?.get(name);
      if (child?.children) current = child;
      else if (child && child.link !== null) {
        links += 1;
        if (links > LINK_LIMIT)
          throw invalid(`${shownPath(parts)}: too many levels of symbolic links`);
        if (child.link.startsWith("/")) current = this.root;
        pending.push(...child.link.split("/").toReversed());
      } else if (child && !isWhiteout(child)) {
        if (!make) return null;
        throw invalid(`mkdir ${shownPath(parts)}: not a directory`);
      } else {
        if (!make) return null;
        current = this.#implicit(current, name, child !== undefined);
      }
    }
    return current;
  }

  #implicit(parent: LayerNode, name: string, opaque: boolean): LayerNode {
    this.#countText(name.length);
    this.#forget();
    const node = emptyNode(S_IFDIR | 0o755);
    node.children = new Map();
    node.parent = parent;
    node.opaque = opaque;
    parent.children?.set(name, node);
    return node;
  }
}

function checkedLink({ rawLink, rawName }: TarHeader): string {
  if (rawLink === "") throw invalid(`symlink ${textOf(rawName)}: no such file or directory`);
  if (rawLink.length <= LINK_TARGET_LIMIT_BYTES) return rawLink;
  throw invalid(`symlink ${textOf(rawName)}: file name too long`);
}

/**
 * Every inode of a tree once, parents first and a directory's entries together, and beside it how many names each has.
 * No map: of a large tree it would be as large as the tree.
 */
export function inodesOf(root: LayerNode): { nodes: LayerNode[]; links: Uint32Array } {
  const nodes = [root];
  const links = [2];
  root.inode = 0;
  const count = (node: LayerNode, more: number) => {
    links[node.inode] = (links[node.inode] ?? 0) + more;
  };
  // The list is its own queue: as deep a tree as there is costs no stack.
  for (let at = 0; at < nodes.length; at += 1) {
    const node = nodes[at] ?? root;
    for (const child of node.children?.values() ?? []) {
      if (child.children) count(node, 1);
      if (nodes[child.inode] === child) {
        count(child, 1);
        continue;
      }
      child.inode = nodes.push(child) - 1;
      links.push(child.children ? 2 : 1);
    }
  }
  return { nodes, links: Uint32Array.from(links) };
}
