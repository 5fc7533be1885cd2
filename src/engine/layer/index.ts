/** Layers: the store of change sets. */
export { compressTar, type LayerCompression, layerTypeOf } from "./compress.ts";
export type { LayerEntry } from "./entries-tar.ts";
export { type LayerNode, LayerTree } from "./layer-tree.ts";
export type * from "./layer-store.ts";
export { openLayerStore, type LayerStoreOptions } from "./store.ts";
