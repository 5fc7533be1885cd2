/** No domain in here: what every room may use. */
export * from "./bytes.ts";
export * from "./clock.ts";
export * from "./durations.ts";
export * from "./errors.ts";
export * from "./ids.ts";
export * from "./later.ts";
export * from "./limits.ts";
export * from "./queue.ts";
export { systemSentences } from "./system-errors.ts";
export * from "./read-apart.ts";
export * from "./turns.ts";
