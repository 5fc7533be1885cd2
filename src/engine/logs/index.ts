/** Logs in files: written by the supervisor, read by the daemon. */
export * from "./encode.ts";
export * from "./entry.ts";
export * from "./reader.ts";
export { timeNow } from "./timestamp.ts";
export { watchLog } from "./watch.ts";
export * from "./writer.ts";
