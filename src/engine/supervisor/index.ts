/** The process that outlives the daemon: parent of every container process. Both ends and their language. */
export * from "./client.ts";
export * from "./ensure.ts";
export type * from "./parts.ts";
export * from "./protocol.ts";
export * from "./server.ts";
export type { AttachedStreams, EarlyStreams } from "./streams.ts";
