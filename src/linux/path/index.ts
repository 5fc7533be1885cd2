/** Paths through descriptors: opening, resolving below a root, listing, stat. */
export * from "./constants.ts";
export * from "./directory.ts";
export * from "./open.ts";
export * from "./stat.ts";
