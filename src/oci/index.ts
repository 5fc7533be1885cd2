/** The OCI specifications as types and pure functions. */
export * from "./cache-manifest.ts";
export * from "./digest.ts";
export * from "./documents.ts";
export type * from "./image-spec.ts";
export { isObject, parseJsonObject } from "./json.ts";
export * from "./media-types.ts";
export * from "./platform.ts";
export * from "./reference.ts";
export type * from "./runtime-spec.ts";
