/** Tables come as migrations: each room exports its own, each is applied once, in the order given. */
import { assert, wrap } from "#base";

import type { Store } from "./store.ts";

export interface Migration {
  /** `room/number`, never used again for another text: "network/1". */
  readonly id: string;
  /** One or more statements. */
  readonly sql: string;
}

/** Applies what is missing, each in a transaction of its own; writes nothing when all are there. */
export function migrate(store: Store, migrations: readonly Migration[]): void {
  const applied = appliedIds(store);
  const seen = new Set<string>();
  for (const { id, sql } of migrations) {
    assert(!seen.has(id), `migration ${id} is listed once`);
    seen.add(id);
    if (applied?.has(id)) continue;
    try {
      store.transact(() => {
        store.execute(
          "CREATE TABLE IF NOT EXISTS migrations (id TEXT PRIMARY KEY, applied_at TEXT)",
        );
        store.execute(sql);
        store
          .query("INSERT INTO migrations (id, applied_at) VALUES (?, ?)")
          .run(id, new Date().toISOString());
      });
    } catch (cause) {
      throw wrap(`database migration ${id}`, cause);
    }
  }
}

/** null for a new database. */
function appliedIds(store: Store): Set<string> | null {
  const table = store
    .query("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'migrations'")
    .get();
  if (!table) return null;
  return new Set(
    store
      .query<{ id: string }>("SELECT id FROM migrations")
      .all()
      .map(({ id }) => id),
  );
}
