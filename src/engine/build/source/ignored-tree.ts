/** A tree without what an ignore file names. */
import { breathe } from "#base";

import { below, type Found, type SourceNode, type SourceTree } from "./tree.ts";

export class IgnoredTree implements SourceTree {
  readonly #tree: SourceTree;
  readonly #hidden = new Set<string>();

  private constructor(tree: SourceTree) {
    this.#tree = tree;
  }

  static async of(tree: SourceTree, isIgnored: (path: string) => boolean): Promise<IgnoredTree> {
    const made = new IgnoredTree(tree);
    await made.#hide("", isIgnored);
    return made;
  }

  find(path: string, options: { readonly follow: boolean }): Found | null {
    const found = this.#tree.find(path, options);
    return found === null || this.#hidden.has(found.path) ? null : found;
  }

  list(path: string): readonly string[] {
    return this.#tree.list(path).filter((name) => !this.#hidden.has(below(path, name)));
  }

  at(path: string): SourceNode | null {
    return this.#hidden.has(path) ? null : this.#tree.at(path);
  }

  digestOf(path: string, node: SourceNode): string | Promise<string> {
    return this.#tree.digestOf(path, node);
  }

  /** A folder goes when nothing of it is left. @returns whether anything is */
  async #hide(at: string, isIgnored: (path: string) => boolean): Promise<boolean> {
    let isAnyLeft = false;
    for (const name of this.#tree.list(at)) {
      await breathe();
      const path = below(at, name);
      const isFolder = this.#tree.at(path)?.type === "directory";
      const isKept = isFolder && (await this.#hide(path, isIgnored));
      if (!isKept && isIgnored(path)) this.#hidden.add(path);
      else isAnyLeft = true;
    }
    return isAnyLeft;
  }
}
