/** Docker's Engine API 1.51 as types, its multiplexed stream and its version numbers: what server and client share. */
export type * from "./build.ts";
export * from "./container.ts";
export type * from "./container-config.ts";
export * from "./frames.ts";
export type * from "./image.ts";
export type * from "./network.ts";
export type * from "./stats.ts";
export type * from "./system.ts";
export * from "./version.ts";
export type * from "./volume.ts";
