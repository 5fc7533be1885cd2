/** Layers: the store of change sets, and the tar codec they are made of. */
export type * from "./layer-store.ts";
export { openLayerStore, type LayerStoreOptions } from "./store.ts";
