/**
 * What a client may have left out of what it was asked for. buildx follows a link on the way of the first path that
 * leads through it, and drops what the next path says behind it: `COPY link/a link/b/c` with links below `link`.
 * Source: tonistiigi/fsutil, followlinks.go. Pure.
 */
import { below, type SourceTree } from "#engine/build/source";
import { isPattern, segmentPattern } from "#wire/ignore";
import { rawOf, textOf } from "#wire/tar";

/** Of one path; the kernel follows no more either. */
const LINK_LIMIT = 40;

/** @param reads the paths that it was asked for, with patterns */
export function mayLack(tree: SourceTree, reads: readonly string[]): boolean {
  /** Links that were met, and whether a path went on behind them. */
  const met = new Map<string, boolean>();
  let isLacking = false;
  for (const read of reads) {
    for (const [link, goesOn] of linksOf(tree, read)) {
      const before = met.get(link);
      if (before !== undefined && (before || goesOn)) isLacking = true;
      met.set(link, goesOn || before === true);
    }
  }
  return isLacking;
}

function linksOf(tree: SourceTree, read: string): Map<string, boolean> {
  const links = new Map<string, boolean>();
  const walk = (at: string, rest: readonly string[]): void => {
    const [segment, ...others] = rest;
    if (segment === undefined) return;
    if (segment === "..") return walk(at.slice(0, Math.max(at.lastIndexOf("/"), 0)), others);
    for (const name of namesOf(tree, at, segment)) {
      const path = below(at, name);
      const node = tree.at(path);
      if (node?.type === "directory") walk(path, others);
      if (node?.type !== "symlink" || links.has(path) || links.size >= LINK_LIMIT) continue;
      links.set(path, others.length > 0);
      const target = textOf(node.link ?? "");
      walk(target.startsWith("/") ? "" : at, [...partsOf(target), ...others]);
    }
  };
  walk("", partsOf(read));
  return links;
}

const partsOf = (path: string): string[] =>
  path.split("/").filter((part) => part !== "" && part !== ".");

function namesOf(tree: SourceTree, at: string, segment: string): readonly string[] {
  if (!isPattern(segment)) return [rawOf(segment)];
  const expression = segmentPattern(segment);
  return tree.list(at).filter((name) => expression.test(textOf(name)));
}
