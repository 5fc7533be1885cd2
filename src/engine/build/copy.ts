/**
 * COPY and ADD as data: which entries the new layer has. Nothing is copied here: the layer is written from these
 * entries in one go, its data read from where it lies.
 *
 * Folders on the way to the destination are looked up in the stage's root, through its links; existing ones are
 * repeated as they are (overlayfs takes a merged folder's owner and mode from the topmost layer that has it).
 */
import { breathe, invalid } from "#base";
import { below, type Found, type SourceNode, type SourceTree } from "#engine/build/source";
import type { LayerEntry } from "#engine/layer";
import { textOf } from "#wire/tar";

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

export interface FileMode {
  /** The mode a file gets, of the one it has. */
  readonly of: (mode: number, isDirectory: boolean) => number;
  /** Of folders that are made for the files to be in. */
  readonly ofNewFolder: number;
}

export interface CopyTarget {
  /** The stage's root; null for a layer that stands on nothing (`--link`). */
  readonly root: SourceTree | null;
  /** Times of what is made here, and the latest that anything may have. */
  readonly nowSec: number;
  readonly latestSec: number | null;
  /** COPY or ADD, where a second source for the place of the first is an error; else the last one wins. */
  readonly refusesSecond?: string;
}

export interface CopyItem {
  readonly tree: SourceTree;
  readonly found: Found;
  /** What it is called, where it is no folder whose contents are copied. */
  readonly name: string;
  /** Byte string, absolute; a slash at its end asks for a folder. */
  readonly destination: string;
  /** null keeps what the source says. */
  readonly owner: Owner | null;
  readonly mode: FileMode | null;
  /** Left out, by path below the source, or below `parents`. */
  readonly isExcluded: ((path: string) => boolean) | null;
  /** A folder itself rather than what is in it (`--parents`). */
  readonly whole: boolean;
  /** Folders above it that its path begins with, for what is left out. */
  readonly parents?: string;
  /** A folder that is copied into keeps its own time; else it gets the source's. */
  readonly keepsTime?: boolean;
}

const LINK_LIMIT = 40;

export class CopyPlan {
  readonly #target: CopyTarget;
  readonly #entries = new Map<string, LayerEntry>();
  /** Folders that the plan has looked at already, with whether the root has them too. */
  readonly #folders = new Map<string, { isOld: boolean }>();
  /** Where a file with several names is, by its identity, and the other way round. */
  readonly #links = new Map<string, string>();
  readonly #firsts = new Map<string, string>();
  /** Places that a destination named as they are. */
  readonly #named = new Set<string>();

  constructor(target: CopyTarget) {
    this.#target = target;
    this.#folders.set("", { isOld: target.root !== null });
  }

  /** In an order in which a tar can have them. */
  get entries(): LayerEntry[] {
    return [...this.#entries.values()];
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The same, each let go as it is taken: the plan is of no more use then. */
  *drain(): Generator<LayerEntry, void, void> {
    this.#folders.clear();
    this.#links.clear();
    for (const [name, entry] of this.#entries) {
      this.#entries.delete(name);
      yield entry;
    }
  }

  /** One after the other. @throws EngineError "invalid" when it cannot be copied there */
  async add(item: CopyItem): Promise<void> {
    const { found, destination, whole, name, parents = "" } = item;
    const isFolder = found.node.type === "directory";
    if (isFolder && !whole) {
      const at = this.folder(destination, item.owner, item.mode);
      if (item.keepsTime !== true) this.#setTime(at, found.node);
      await this.#children(item, at, { from: found.path, relative: "" });
      return;
    }
    const path = this.#leaf(destination, name, item);
    await this.#place(item, path, { found, relative: whole ? below(parents, name) : "" });
  }

  /** Where something goes that is no folder, or a folder itself. The folders above it are made sure of. */
  #leaf(
    destination: string,
    name: string,
    { owner, mode }: Pick<CopyItem, "owner" | "mode">,
  ): string {
    const intoFolder = destination.endsWith("/") || this.#isFolder(destination);
    let path = intoFolder ? `${destination}/${name}` : destination;
    for (let links = 0; ; links += 1) {
      const cut = path.lastIndexOf("/");
      const at = this.folder(path.slice(0, cut), owner, mode);
      const last = path.slice(cut + 1);
      const place = below(at, last);
      const node = this.#entries.get(place) ?? this.#old(place);
      // What the instruction names is followed; what it names a folder for is replaced.
      if (intoFolder || node?.type !== "symlink") {
        const { refusesSecond } = this.#target;
        if (!intoFolder && refusesSecond !== undefined) this.#refuseSecond(place, refusesSecond);
        return place;
      }
      if (links > LINK_LIMIT) throw invalid(`${textOf(path)}: too many levels of symbolic links`);
      const link = node.link ?? "";
      path = link.startsWith("/") ? link : `/${at}/${link}`;
    }
  }

  /** Several sources and one place: nobody means the last one to be all that is left. */
  #refuseSecond(place: string, instruction: string): void {
    if (!this.#named.has(place)) {
      this.#named.add(place);
      return;
    }
    throw invalid(
      `When using ${instruction} with more than one source file, the destination must be a directory and end with a /`,
    );
  }

  #setTime(path: string, { mtimeSec }: SourceNode): void {
    const entry = this.#entries.get(path);
    if (entry !== undefined) this.#set({ ...entry, mtimeSec });
  }

  /** A new file of the engine's own: a heredoc, what a URL gave. */
  addFile(
    { destination, name: called }: { readonly destination: string; readonly name: string },
    file: Pick<SourceNode, "mode" | "mtimeSec" | "data" | "sizeBytes"> & Owner,
    mode: FileMode | null,
  ): void {
    const { uid, gid } = file;
    const name = this.#leaf(destination, called, { owner: { uid, gid }, mode });
    this.#refuseFolder(name);
    this.#forget(name);
    this.#set({
      ...NOTHING,
      ...file,
      name,
      type: "file",
    });
  }

  /** Whether a destination is there as a folder, in the root or in the plan. */
  #isFolder(path: string): boolean {
    const clean = cleanParts(path).join("/");
    if (this.#folders.has(clean)) return true;
    const found = this.#target.root?.find(clean, { follow: true });
    return found?.node.type === "directory";
  }

  /** Makes sure of a folder, through the root's links. @returns where it really is, no slash in front */
  folder(path: string, owner: Owner | null, mode: FileMode | null): string {
    const pending = cleanParts(path).toReversed();
    let at = "";
    let links = 0;
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === "..") {
        at = at.slice(0, Math.max(at.lastIndexOf("/"), 0));
        continue;
      }
      const next = below(at, name);
      const link = this.#ensure(next, owner, mode);
      if (link === null) {
        at = next;
        continue;
      }
      links += 1;
      if (links > LINK_LIMIT) throw invalid(`${textOf(path)}: too many levels of symbolic links`);
      if (link.startsWith("/")) at = "";
      pending.push(
        ...link
          .split("/")
          .filter((part) => part !== "" && part !== ".")
          .toReversed(),
      );
    }
    return at;
  }

  /** One folder whose parent is sure. @returns the target when a link is there instead */
  #ensure(path: string, owner: Owner | null, mode: FileMode | null): string | null {
    if (this.#folders.has(path)) return null;
    const planned = this.#entries.get(path);
    if (planned !== undefined) {
      if (planned.type === "symlink") return planned.link;
      throw invalid(`cannot copy to non-directory: /${textOf(path)}`);
    }
    const old = this.#old(path);
    if (old === null) {
      this.#folders.set(path, { isOld: false });
      this.#set({
        ...NOTHING,
        ...(owner ?? { uid: 0, gid: 0 }),
        name: path,
        type: "directory",
        mode: mode === null ? 0o755 : mode.ofNewFolder,
        mtimeSec: this.#target.nowSec,
      });
      return null;
    }
    if (old.type === "symlink") return old.link ?? "";
    if (old.type !== "directory") {
      throw invalid(`cannot copy to non-directory: /${textOf(path)}`);
    }
    this.#folders.set(path, { isOld: true });
    const { identity: _, ...attributes } = old;
    this.#entries.set(path, { ...attributes, name: path });
    return null;
  }

  /** What the root has there; asked only where its parent is the root's too. */
  #old(path: string): SourceNode | null {
    const cut = path.lastIndexOf("/");
    const parent = cut < 0 ? "" : path.slice(0, cut);
    if (this.#folders.get(parent)?.isOld !== true) return null;
    return this.#target.root?.at(path) ?? null;
  }

  async #children(
    item: CopyItem,
    at: string,
    here: { from: string; relative: string },
  ): Promise<void> {
    for (const name of item.tree.list(here.from)) {
      await breathe();
      const from = below(here.from, name);
      const node = item.tree.at(from);
      if (node === null) continue;
      const relative = below(here.relative, name);
      await this.#place(item, below(at, name), { found: { path: from, node }, relative });
    }
  }

  #place(
    item: CopyItem,
    path: string,
    { found, relative }: { found: Found; relative: string },
  ): Promise<void> | undefined {
    const { node } = found;
    const isFolder = node.type === "directory";
    // What is excluded may still have an exception below it.
    if (relative !== "" && item.isExcluded?.(relative) === true) {
      return isFolder
        ? this.#children({ ...item }, path, { from: found.path, relative })
        : undefined;
    }
    this.#parents(path, item);
    if (isFolder) {
      this.#copyFolder(item, path, node);
      return this.#children(item, path, { from: found.path, relative });
    }
    this.#refuseFolder(path);
    this.#copyLeaf(item, path, node);
    return undefined;
  }

  /** An exception below an excluded folder needs the folder after all. */
  #parents(path: string, { owner, mode }: CopyItem): void {
    const cut = path.lastIndexOf("/");
    const parent = cut < 0 ? "" : path.slice(0, cut);
    if (!this.#folders.has(parent)) this.folder(parent, owner, mode);
  }

  #copyFolder(item: CopyItem, path: string, node: SourceNode): void {
    const old = this.#folders.has(path) ? null : this.#old(path);
    if (old !== null && old.type !== "directory") {
      throw invalid(`cannot copy to non-directory: /${textOf(path)}`);
    }
    const planned = this.#entries.get(path);
    if (planned !== undefined && planned.type !== "directory") {
      throw invalid(`cannot copy to non-directory: /${textOf(path)}`);
    }
    const known = this.#folders.get(path);
    this.#folders.set(path, known ?? { isOld: old !== null });
    this.#set({ ...this.#described(item, node), name: path, type: "directory", data: null });
  }

  #copyLeaf(item: CopyItem, path: string, node: SourceNode): void {
    this.#forget(path);
    const described = this.#described(item, node);
    const first = node.identity === "" ? undefined : this.#links.get(node.identity);
    if (first !== undefined && first !== path && this.#entries.has(first)) {
      this.#set({
        ...described,
        name: path,
        type: "hardlink",
        link: first,
        data: null,
        sizeBytes: 0,
        devMajor: 0,
        devMinor: 0,
      });
      return;
    }
    if (node.identity !== "" && node.type === "file") {
      this.#links.set(node.identity, path);
      this.#firsts.set(path, node.identity);
    }
    this.#set({ ...described, name: path, type: node.type });
  }

  /** Something else comes to a place: files that were links to what was there have it among themselves. */
  #forget(path: string): void {
    const before = this.#entries.get(path);
    const identity = this.#firsts.get(path);
    if (before === undefined || identity === undefined) return;
    this.#firsts.delete(path);
    this.#links.delete(identity);
    let heir: string | null = null;
    for (const entry of this.#entries.values()) {
      if (entry.type !== "hardlink" || entry.link !== path) continue;
      if (heir === null) {
        this.#entries.set(entry.name, { ...before, name: entry.name });
        this.#links.set(identity, entry.name);
        this.#firsts.set(entry.name, identity);
      } else this.#entries.set(entry.name, { ...entry, link: heir });
      heir ??= entry.name;
    }
  }

  #refuseFolder(path: string): void {
    const isPlanned = this.#folders.has(path);
    if (isPlanned || this.#old(path)?.type === "directory") {
      throw invalid(`cannot replace to directory /${textOf(path)} with file`);
    }
  }

  #described({ owner, mode }: CopyItem, node: SourceNode): Omit<LayerEntry, "name" | "type"> {
    const { identity: _, type, ...attributes } = node;
    const isLink = type === "symlink";
    return {
      ...attributes,
      ...owner,
      mode: mode === null || isLink ? node.mode : mode.of(node.mode, type === "directory"),
    };
  }

  #set(entry: LayerEntry): void {
    const last = entry.name.slice(entry.name.lastIndexOf("/") + 1);
    if (last.startsWith(".wh.")) {
      throw invalid(`cannot copy /${textOf(entry.name)}: .wh. names what a layer removes`);
    }
    const { latestSec } = this.#target;
    const mtimeSec = latestSec === null ? entry.mtimeSec : Math.min(entry.mtimeSec, latestSec);
    // The first place stays: a folder comes before what is in it, a link's target before the link.
    this.#entries.set(entry.name, { ...entry, mtimeSec });
  }
}

const NOTHING = {
  devMajor: 0,
  devMinor: 0,
  sizeBytes: 0,
  link: null,
  xattrs: null,
  data: null,
} as const;

const cleanParts = (path: string): string[] => {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts;
};
