/** Extended attributes of files. */
export * from "./xattr.ts";
