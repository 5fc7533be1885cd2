/** What the engine and its host are. */
export { openSystemService, systemMigrations } from "./open.ts";
export type * from "./system-service.ts";
