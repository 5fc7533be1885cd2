/** Builds: Dockerfiles to images, on a solver and a cache of our own. */
export type * from "./build-service.ts";
export { buildMigrations } from "./cache.ts";
export { parseCacheFilter } from "./cache-filter.ts";
export { CACHE_OPTIONS, readCacheOptions, readCompression } from "./cache-options.ts";
export { collectCache } from "./collection.ts";
export { isDockerfileFrontend } from "#engine/build/dockerfile";
export { parseHealthCheck } from "./health-check.ts";
export { imageIdOf } from "./kept-image.ts";
export { StepFailed } from "./context.ts";
export type { BuildEvent, OnBuildEvent, PlannedStep } from "./events.ts";
export type { Entitlement } from "./entitlements.ts";
export type { FailedRun, OnFailedRun } from "./visit.ts";
export { type OpenBuildRequest, openBuildService } from "./open.ts";
