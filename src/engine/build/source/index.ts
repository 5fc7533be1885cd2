/** Where files of a build come from: contexts that arrived as archives, and roots of stages and images. */
export { ArchiveTree, ArchiveWriter, EMPTY_TREE } from "./archive-tree.ts";
export { OffsetDigests } from "./digests.ts";
export { IgnoredTree } from "./ignored-tree.ts";
export { isWhiteout, LayerFiles } from "./layer-files.ts";
export { RootTree } from "./root-tree.ts";
export { below, type Found, type SourceNode, type SourceTree } from "./tree.ts";
