/**
 * The health of containers that are probed: in memory for every reader, in SQLite for the next daemon. A change is
 * written with the next transaction anyone makes, and an answer makes one that waits for no disk.
 */
import type { Health } from "#engine/health";
import type { Store } from "#engine/store";

export class HealthTable {
  readonly #store: Store;
  readonly #byId = new Map<string, Health>();
  readonly #unwritten = new Set<string>();

  constructor(store: Store) {
    this.#store = store;
    const rows = store.query<{ id: string; record: string }>(
      "SELECT container_id AS id, record FROM health",
    );
    for (const { id, record } of rows.all()) this.#byId.set(id, JSON.parse(record) as Health);
    store.beforeCommit(() => this.#writeWaiting());
  }

  /** null for one that was never probed. */
  get(id: string): Health | null {
    return this.#byId.get(id) ?? null;
  }

  put(id: string, health: Health): void {
    this.#byId.set(id, health);
    this.#unwritten.add(id);
  }

  /** Lets what was put survive this process. */
  flush(): void {
    this.#store.transact(() => null, "process");
  }

  /** The container is gone, and with it, by its foreign key, the row. */
  forget(id: string): void {
    this.#byId.delete(id);
    this.#unwritten.delete(id);
  }

  #writeWaiting(): void {
    for (const id of this.#unwritten) {
      this.#store
        .query(
          `INSERT INTO health (container_id, record)
           SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM containers WHERE id = ?1)
           ON CONFLICT (container_id) DO UPDATE SET record = excluded.record`,
        )
        .run(id, JSON.stringify(this.#byId.get(id)));
    }
    this.#unwritten.clear();
  }
}
