/** Processes by pid and pidfd: signals, exits, names that outlive a pid, limits. */
export * from "./exit-news.ts";
export * from "./identity.ts";
export * from "./keep-alive.ts";
export * from "./limits.ts";
export { widenBacklogs } from "./listening.ts";
export * from "./pidfd.ts";
export * from "./self.ts";
export * from "./signals.ts";
export * from "./wait.ts";
