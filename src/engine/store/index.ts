/** SQLite: open, migrate, transact. */
export type { Migration } from "./migration.ts";
export { type Durability, openStore, type Query, type Store, type Value } from "./store.ts";
