/**
 * The build cache's records: which step, reading what, gave which layer. A key is a digest over all that decides
 * about a step's result, so a record is never wrong, only unused. Layers named here are kept until pruned.
 *
 *   build_steps   a step's key and its layer; `slot` is its place in a Dockerfile, to tell what changed there
 *   build_caches  folders of `RUN --mount=type=cache`
 *   build_inputs  digests of what was read from layers, by which layers and what: they never change
 */
import type { Migration, Store } from "#engine/store";
import type { Digest } from "#oci";

import type { InputFile } from "./inputs.ts";

export const buildMigrations: readonly Migration[] = [
  {
    id: "build/1",
    sql: `
      CREATE TABLE build_steps (
        key TEXT PRIMARY KEY,
        slot TEXT NOT NULL,
        description TEXT NOT NULL,
        -- null for a step that only changes the image's config
        layer TEXT,
        parent TEXT,
        created_ms INTEGER NOT NULL,
        used_ms INTEGER NOT NULL,
        uses INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        -- JSON: what went into the key, to tell later what changed
        reads TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX build_steps_by_slot ON build_steps (slot, created_ms);
      CREATE TABLE build_caches (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        used_ms INTEGER NOT NULL,
        uses INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;`,
  },
  {
    id: "build/2",
    sql: `
      CREATE TABLE build_inputs (
        asked TEXT PRIMARY KEY,
        digest TEXT NOT NULL,
        -- JSON: the files that were read, to tell later what changed
        files TEXT NOT NULL,
        created_ms INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX build_inputs_by_age ON build_inputs (created_ms);`,
  },
  {
    id: "build/3",
    sql: `
      -- The last builds of clients; both documents are the server's.
      CREATE TABLE build_history (
        place INTEGER PRIMARY KEY,
        ref TEXT NOT NULL UNIQUE,
        record BLOB NOT NULL,
        log BLOB NOT NULL
      ) STRICT;`,
  },
  {
    id: "build/4",
    sql: `
      -- Documents beside the records of builds: one that several builds share is each build's own.
      CREATE TABLE build_history_blobs (
        digest TEXT NOT NULL,
        ref TEXT NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (digest, ref)
      ) STRICT, WITHOUT ROWID;`,
  },
];

/** Digests of inputs that are remembered: each saves reading files, none is needed. */
const INPUT_LIMIT = 2000;

/** What a step's key is made of, by name. */
export interface StepReads {
  readonly facts: Readonly<Record<string, string>>;
  readonly files: readonly InputFile[];
}

export interface CachedStep {
  readonly key: string;
  readonly description: string;
  readonly layer: Digest | null;
  readonly parent: string | null;
  readonly createdMs: number;
  readonly usedMs: number;
  readonly uses: number;
  readonly sizeBytes: number;
}

export interface CacheFolder {
  readonly id: string;
  readonly name: string;
  readonly createdMs: number;
  readonly usedMs: number;
  readonly uses: number;
}

interface StepRow {
  readonly key: string;
  readonly description: string;
  readonly layer: Digest | null;
  readonly parent: string | null;
  readonly created_ms: number;
  readonly used_ms: number;
  readonly uses: number;
  readonly size_bytes: number;
}

const COLUMNS = "key, description, layer, parent, created_ms, used_ms, uses, size_bytes";

export class BuildCache {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  get(key: string): CachedStep | null {
    const row = this.#store
      .query<StepRow>(`SELECT ${COLUMNS} FROM build_steps WHERE key = ?`)
      .get(key);
    return row && stepOf(row);
  }

  /** Losing it at a power cut costs a step's time, no more: it waits for no disk. */
  put(step: Omit<CachedStep, "usedMs" | "uses"> & { slot: string; reads: StepReads }): void {
    const { key, slot, description, layer, parent, createdMs, sizeBytes, reads } = step;
    this.#store.transact(
      () =>
        this.#store
          .query(
            `INSERT OR REPLACE INTO build_steps
             (key, slot, description, layer, parent, created_ms, used_ms, uses, size_bytes, reads)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
          )
          .run(
            key,
            slot,
            description,
            layer,
            parent,
            createdMs,
            createdMs,
            1,
            sizeBytes,
            JSON.stringify(reads),
          ),
      "process",
    );
  }

  /** Several at once: a warm build is one write. */
  touch(keys: readonly string[], nowMs: number): void {
    if (keys.length === 0) return;
    this.#store.transact(() => {
      const update = this.#store.query(
        "UPDATE build_steps SET used_ms = ?, uses = uses + 1 WHERE key = ?",
      );
      for (const key of keys) update.run(nowMs, key);
    }, "process");
  }

  /** What the last step in the same place read; null when there was none. */
  lastReads(slot: string): StepReads | null {
    const row = this.#store
      .query<{ reads: string }>(
        "SELECT reads FROM build_steps WHERE slot = ? ORDER BY created_ms DESC LIMIT 1",
      )
      .get(slot);
    return row === null ? null : (JSON.parse(row.reads) as StepReads);
  }

  /** What was found by reading layers before. */
  input(asked: string): { digest: string; files: readonly InputFile[] } | null {
    const row = this.#store
      .query<{ digest: string; files: string }>(
        "SELECT digest, files FROM build_inputs WHERE asked = ?",
      )
      .get(asked);
    return row && { digest: row.digest, files: JSON.parse(row.files) as InputFile[] };
  }

  putInput(
    asked: string,
    { digest, files }: { digest: string; files: readonly InputFile[] },
    nowMs: number,
  ): void {
    this.#store.transact(() => {
      this.#store
        .query("INSERT OR REPLACE INTO build_inputs VALUES (?, ?, ?, ?)")
        .run(asked, digest, JSON.stringify(files), nowMs);
      this.#store
        .query(
          `DELETE FROM build_inputs WHERE created_ms <
           (SELECT created_ms FROM build_inputs ORDER BY created_ms DESC LIMIT 1 OFFSET ?)`,
        )
        .run(INPUT_LIMIT);
    }, "process");
  }

  deleteInputs(): void {
    this.#store.query("DELETE FROM build_inputs").run();
  }

  steps(): CachedStep[] {
    return this.#store.query<StepRow>(`SELECT ${COLUMNS} FROM build_steps`).all().map(stepOf);
  }

  layers(): Digest[] {
    return this.#store
      .query<{ layer: Digest }>("SELECT DISTINCT layer FROM build_steps WHERE layer IS NOT NULL")
      .all()
      .map(({ layer }) => layer);
  }

  delete(keys: readonly string[]): void {
    this.#store.transact(() => {
      const remove = this.#store.query("DELETE FROM build_steps WHERE key = ?");
      for (const key of keys) remove.run(key);
    });
  }

  useFolder(id: string, name: string, nowMs: number): void {
    this.#store.transact(
      () =>
        this.#store
          .query(
            `INSERT INTO build_caches (id, name, created_ms, used_ms, uses) VALUES (?1, ?2, ?3, ?3, 1)
             ON CONFLICT (id) DO UPDATE SET used_ms = ?3, uses = uses + 1`,
          )
          .run(id, name, nowMs),
      "process",
    );
  }

  folders(): CacheFolder[] {
    return this.#store
      .query<{ id: string; name: string; created_ms: number; used_ms: number; uses: number }>(
        "SELECT id, name, created_ms, used_ms, uses FROM build_caches",
      )
      .all()
      .map(({ id, name, created_ms, used_ms, uses }) => ({
        id,
        name,
        createdMs: created_ms,
        usedMs: used_ms,
        uses,
      }));
  }

  deleteFolder(id: string): void {
    this.#store.query("DELETE FROM build_caches WHERE id = ?").run(id);
  }
}

const stepOf = (row: StepRow): CachedStep => ({
  key: row.key,
  description: row.description,
  layer: row.layer,
  parent: row.parent,
  createdMs: row.created_ms,
  usedMs: row.used_ms,
  uses: row.uses,
  sizeBytes: row.size_bytes,
});

/** Why a step was not found: what differs from the last one in its place. Pure. */
export function whyMissed(now: StepReads, before: StepReads | null): string {
  if (before === null) return "it was never built here";
  const changed = Object.keys({ ...before.facts, ...now.facts }).filter(
    (name) => before.facts[name] !== now.facts[name],
  );
  const reasons = changed
    .filter((name) => name !== "files")
    .map((name) => factChanged(name, before.facts[name], now.facts[name]));
  if (changed.includes("files")) reasons.push(...filesChanged(now.files, before.files));
  return reasons.length === 0 ? "its result is no longer there" : reasons.join("; ");
}

const SHOWN = 80;
const shown = (text: string): string => (text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text);

function factChanged(name: string, before: string | undefined, now: string | undefined): string {
  if (name === "parent") return "what it is built on changed";
  if (before === undefined) return `${name} is new: ${shown(now ?? "")}`;
  if (now === undefined) return `${name} is gone`;
  return `${name} changed from ${shown(before)} to ${shown(now)}`;
}

const SHOWN_FILES = 5;

function filesChanged(now: readonly InputFile[], before: readonly InputFile[]): string[] {
  const old = new Map(before.map(({ path, digest }) => [path, digest]));
  const all: string[] = [];
  for (const { path, digest } of now) {
    const was = old.get(path);
    old.delete(path);
    if (was === undefined) all.push(`file ${path} is new`);
    else if (was !== digest) all.push(`file ${path} changed`);
  }
  for (const path of old.keys()) all.push(`file ${path} is gone`);
  if (all.length === 0) return ["files changed"];
  const more = all.length - SHOWN_FILES;
  return more > 0 ? [...all.slice(0, SHOWN_FILES), `and ${more} more files`] : all;
}
