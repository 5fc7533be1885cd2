import { expect, test } from "bun:test";

import { ArchiveTree, OffsetDigests } from "#engine/build/source";
import { LayerTree } from "#engine/layer";

import { headerOf } from "./client-folder.ts";
import { mayLack } from "./shared-links.ts";

function treeOf(entries: Readonly<Record<string, string | null>>): ArchiveTree {
  const tree = new LayerTree();
  for (const [path, link] of Object.entries(entries)) {
    const type = link === null ? "directory" : link === "" ? "file" : "symlink";
    const plain = { mode: 0o755, sizeBytes: 0, mtimeSec: 0, devMajor: 0, devMinor: 0, stamp: "" };
    tree.add(headerOf({ ...plain, path, type, link: link ?? "" }));
  }
  return new ArchiveTree("", tree.root, new OffsetDigests());
}

const tree = treeOf({
  real: null,
  "real/file": "",
  "real/back": "../a",
  a: null,
  "a/own": "",
  folder: "real",
  again: "/folder",
  round: "round/x",
});

test.each([
  [["real/file", "a/own"], false],
  [["folder/file"], false],
  // The same link twice, and something behind it.
  [["folder/file", "folder/back/own"], true],
  [["folder", "folder/back/own"], true],
  [["again/file", "folder/file"], true],
  [["fold*/file", "real/back/own", "folder/back/own"], true],
  // A link that is only meant itself is all there.
  [["folder", "again"], false],
  [["round", "round/y"], true],
  [["gone/file", "gone/other"], false],
])("%p: %p", (reads, expected) => {
  expect(mayLack(tree, reads)).toBe(expected);
});
