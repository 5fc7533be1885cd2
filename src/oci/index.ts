/** The OCI specifications as types and pure functions. */
export * from "./digest.ts";
export type * from "./image-spec.ts";
export * from "./reference.ts";
export type * from "./runtime-spec.ts";
