/** When to probe a container's health, and what the answers add up to. Pure: whoever probes is elsewhere. */
export * from "./config.ts";
export * from "./health.ts";
