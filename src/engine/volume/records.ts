/**
 * The records of volumes, in SQLite, with a copy in memory that every reader uses. One that is being removed stays
 * on record, unseen, until its files are gone: a crash in between is finished at the next start.
 */
import type { Durability, Migration, Store } from "#engine/store";

export interface VolumeRecord {
  readonly name: string;
  /** ISO 8601, whole seconds. */
  readonly createdAt: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
}

/** Before the containers' own: theirs hands over the volumes of older engines. */
export const volumeMigrations: readonly Migration[] = [
  {
    id: "volume/1",
    sql: `
      CREATE TABLE local_volumes (
        name TEXT PRIMARY KEY,
        created_at TEXT NOT NULL,
        labels TEXT NOT NULL,
        options TEXT NOT NULL,
        removing INTEGER NOT NULL DEFAULT 0
      ) STRICT, WITHOUT ROWID;
    `,
  },
];

interface Row {
  readonly name: string;
  readonly createdAt: string;
  readonly labels: string;
  readonly options: string;
  readonly removing: number;
}

export class VolumeRecords {
  readonly #store: Store;
  readonly #byName = new Map<string, VolumeRecord>();
  /** Those whose files still have to go. */
  readonly #removing = new Set<string>();

  constructor(store: Store) {
    this.#store = store;
    const rows = store.query<Row>(
      "SELECT name, created_at AS createdAt, labels, options, removing FROM local_volumes",
    );
    for (const { name, createdAt, labels, options, removing } of rows.all()) {
      if (removing !== 0) this.#removing.add(name);
      else {
        this.#byName.set(name, {
          name,
          createdAt,
          labels: JSON.parse(labels) as VolumeRecord["labels"],
          options: JSON.parse(options) as VolumeRecord["options"],
        });
      }
    }
  }

  get(name: string): VolumeRecord | undefined {
    return this.#byName.get(name);
  }

  all(): IterableIterator<VolumeRecord> {
    return this.#byName.values();
  }

  isRemoving(name: string): boolean {
    return this.#removing.has(name);
  }

  removing(): string[] {
    return [...this.#removing];
  }

  transact(work: () => void, durability: Durability = "machine"): void {
    this.#store.transact(work, durability);
  }

  /** Inside a transaction; `remember` follows it. */
  write({ name, createdAt, labels, options }: VolumeRecord): void {
    this.#store
      .query(
        "INSERT OR REPLACE INTO local_volumes (name, created_at, labels, options) VALUES (?, ?, ?, ?)",
      )
      .run(name, createdAt, JSON.stringify(labels), JSON.stringify(options));
  }

  remember(record: VolumeRecord): void {
    this.#removing.delete(record.name);
    this.#byName.set(record.name, record);
  }

  /** Inside a transaction; `forget` follows it. */
  writeRemoving(name: string): void {
    this.#store.query("UPDATE local_volumes SET removing = 1 WHERE name = ?").run(name);
  }

  forget(name: string): void {
    if (this.#byName.delete(name)) this.#removing.add(name);
  }

  /** Its files are gone. Losing this to a power cut repeats a deletion of nothing. */
  removed(name: string): void {
    if (!this.#removing.delete(name)) return;
    this.transact(() => {
      this.#store.query("DELETE FROM local_volumes WHERE name = ? AND removing = 1").run(name);
    }, "process");
  }
}
