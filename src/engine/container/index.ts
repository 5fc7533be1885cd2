/** The life of a container: create, start, exec, stop, restart, remove. */
export { type FoundDevice, listCdiDevices } from "./cdi.ts";
export * from "./config.ts";
export * from "./container-service.ts";
export { type ErrandRequest, sendErrand } from "./errand.ts";
export { runErrand } from "./errand-run.ts";
export { runFilesTask } from "./files/aside-run.ts";
export type { AttachedStreams, EarlyStreams, SupervisorLink } from "./context.ts";
export { type HostFacts, readHostFacts } from "./host-facts.ts";
export { type ContainerRoom, openContainerService } from "./open.ts";
export { containerMigrations } from "./records.ts";
export { checkStopSignal } from "./stop-signal.ts";
export type { StepRequest, StepResult } from "./step.ts";
export type { EngineOptions, UserRemap } from "./validate.ts";
