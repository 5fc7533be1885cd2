export type * from "./snapshot-store.ts";
