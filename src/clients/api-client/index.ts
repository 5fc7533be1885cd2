/** A typed client of the Docker Engine API: works against Naru and against Docker. */
export * from "./build.ts";
export * from "./client.ts";
export * from "./containers.ts";
export * from "./endpoint.ts";
export * from "./errors.ts";
export * from "./files.ts";
export * from "./images.ts";
export * from "./json-lines.ts";
export * from "./live.ts";
export * from "./networks.ts";
export * from "./system.ts";
export * from "./volumes.ts";
export type { Wire } from "./wire.ts";
export { openWire } from "./wire.ts";
