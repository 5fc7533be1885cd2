export type * from "./layer-store.ts";
