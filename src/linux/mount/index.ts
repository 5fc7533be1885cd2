/** Mounts: old and new calls, detached overlays, mountinfo. */
export * from "./constants.ts";
export * from "./idmapped.ts";
export * from "./mount.ts";
export * from "./mountinfo.ts";
export * from "./options.ts";
export * from "./overlay.ts";
export { cloneAttached, clonePart } from "./overlay-by-path.ts";
export * from "./stalling.ts";
