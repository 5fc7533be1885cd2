/** The events' table. */
import type { Migration } from "#engine/store";

export const eventMigrations: readonly Migration[] = [
  {
    id: "events/1",
    sql: `
      CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time_nano INTEGER NOT NULL,
        type TEXT NOT NULL,
        action TEXT NOT NULL,
        actor TEXT NOT NULL,
        attributes TEXT NOT NULL
      );
      CREATE INDEX events_by_time ON events (time_nano);`,
  },
];
