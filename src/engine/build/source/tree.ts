/**
 * What COPY reads from: a build context that arrived as an archive, or the root of a stage or image. Paths are byte
 * strings below the tree's top, without a slash in front; "" is the top itself.
 */
import type { LayerEntry } from "#engine/layer";

/** One thing in a tree; `data` only for files. */
export interface SourceNode extends Omit<LayerEntry, "name" | "type"> {
  readonly type: Exclude<LayerEntry["type"], "hardlink">;
  /** The same for two names of one file; "" where there is one. */
  readonly identity: string;
}

export interface Found {
  /** Without links on the way. */
  readonly path: string;
  readonly node: SourceNode;
}

export interface SourceTree {
  /** Links on the way are followed, inside the tree; with `follow` the last one too. null: nothing there. */
  find(path: string, options: { readonly follow: boolean }): Found | null;
  /** Names in a directory found before, sorted. */
  list(path: string): readonly string[];
  /** What is at a path that has no links on the way. */
  at(path: string): SourceNode | null;
  /** Of a file's bytes; hexadecimal. A promise where they have to be read first, and are many. */
  digestOf(path: string, node: SourceNode): string | Promise<string>;
}

/** The path of a name in a directory. */
export const below = (directory: string, name: string): string =>
  directory === "" ? name : `${directory}/${name}`;
