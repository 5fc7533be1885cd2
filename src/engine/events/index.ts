/** What happened, live and past. */
export type * from "./event.ts";
export { type OpenEventBus, openEventBus } from "./event-bus.ts";
export { eventMigrations } from "./migrations.ts";
