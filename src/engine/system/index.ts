/** What the engine and its host are. */
export { type EngineIdentity, openSystemService, systemMigrations } from "./open.ts";
export type * from "./system-service.ts";
