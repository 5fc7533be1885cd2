/** SQLite: open, migrate, transact. */
export type { Migration } from "./migration.ts";
export { openStore, type Query, type Store, type Value } from "./store.ts";
