/**
 * The engine's records: one SQLite file, one connection, one process.
 *
 * WAL with synchronous=FULL: what `transact` returned from survives a power cut, unless it was said that surviving
 * this process is enough. The lock is exclusive, so a
 * second daemon on the same data root is told so, and no -shm file is needed: a full disk can still be read.
 * A damaged file is an error that says where it lies, never an empty database in its place: with no records
 * the sweep would take every layer for garbage.
 */
import { Database, type SQLQueryBindings, SQLiteError, type Statement } from "bun:sqlite";
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";

import { assert, EngineError, internal, unavailable } from "#base";

import { migrate, type Migration } from "./migration.ts";
import { LogSync, type Sync, syncApart } from "./log-sync.ts";
import { reserveGrowth, reserveLog } from "./reserve.ts";

/** How long opening waits for a dying predecessor to let go of the file. */
const LOCK_WAIT_MS = 5000;

export type Value = string | number | bigint | boolean | Uint8Array | null;

/** A prepared statement; parameters are given in the order of its `?`, or as one object for its `$names`. */
export interface Query<Row, Parameters extends readonly Value[] | [Record<string, Value>]> {
  get(...parameters: Parameters): Row | null;
  all(...parameters: Parameters): Row[];
  /** @returns how many rows changed */
  run(...parameters: Parameters): number;
}

/**
 * What a transaction survives when it has returned: a power cut ("machine", one sync, for which everybody waits), or only
 * the death of this process at any instant ("process", none): for what a power cut ends anyway. Between them "answer": as
 * "process", until `synced` has resolved, and it must have before anybody is told.
 */
export type Durability = "machine" | "answer" | "process";

export interface Store extends Disposable {
  readonly path: string;
  /**
   * Runs `work` in one immediate transaction, durable when this returns; a throw rolls back. Inside another
   * it is a savepoint of it, and the outer one's durability holds. `work` must be synchronous.
   */
  transact<T>(work: () => T, durability?: Durability): T;
  /** A statement, prepared once per text. */
  query<Row = unknown, Parameters extends readonly Value[] | [Record<string, Value>] = Value[]>(
    sql: string,
  ): Query<Row, Parameters>;
  /** Runs statements that take no parameters and answer nothing: a migration's text. */
  execute(sql: string): void;
  /** `write` runs at the end of every outermost transaction: for rows that wait to share its sync. */
  beforeCommit(write: () => void): void;
  /**
   * Resolves when all that was transacted so far survives a power cut; null when it does already. A busy disk takes a
   * tenth of a second and longer for it: the loop goes on meanwhile, and one sync is for all who wait.
   */
  synced(): Promise<void> | null;
}

/**
 * Opens the database, checks it and applies the migrations it does not have yet.
 * @throws EngineError "unavailable" when another process holds it, "internal" when it is damaged
 */
export function openStore(request: {
  path: string;
  migrations: readonly Migration[];
  lockWaitMs?: number;
  /** Brings a file's contents to the disk; tests have their own. */
  sync?: Sync;
}): Store {
  const { path, migrations, lockWaitMs = LOCK_WAIT_MS, sync = syncApart } = request;
  mkdirSync(dirname(path), { recursive: true, mode: 0o710 });
  reserveGrowth(path);
  let database: Database | undefined;
  let store: SqliteStore | undefined;
  try {
    database = new Database(path, { create: true, readwrite: true, strict: true });
    configure(database, lockWaitMs);
    checkIntegrity(database, path);
    store = new SqliteStore(path, database, sync);
    migrate(store, migrations);
    reserveLog(path);
    return store;
  } catch (cause) {
    if (store) store[Symbol.dispose]();
    else database?.close();
    throw openError(path, cause);
  }
}

function configure(database: Database, lockWaitMs: number): void {
  database.run(`PRAGMA busy_timeout = ${lockWaitMs}`);
  database.run("PRAGMA locking_mode = EXCLUSIVE");
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA synchronous = FULL");
  database.run("PRAGMA foreign_keys = ON");
  database.run("PRAGMA trusted_schema = OFF");
}

function checkIntegrity(database: Database, path: string): void {
  const row = database.query<{ quick_check: string }, []>("PRAGMA quick_check(1)").get();
  if (row?.quick_check !== "ok") throw damaged(path, row?.quick_check ?? "no answer");
}

const DAMAGE_CODES = new Set(["SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT"]);
const isDamage = (code: string): boolean =>
  DAMAGE_CODES.has(code) || code.startsWith("SQLITE_CORRUPT_");

function openError(path: string, cause: unknown): unknown {
  if (!(cause instanceof SQLiteError)) return cause;
  const code = cause.code ?? "";
  if (isDamage(code)) return damaged(path, cause.message, cause);
  if (code.startsWith("SQLITE_BUSY")) {
    return unavailable(`${path} is in use by another process: is another naru daemon running?`, {
      cause,
    });
  }
  return translated(path, cause);
}

/** Copies what is left aside, once, before anyone's attempt at repair can make it worse. */
function damaged(path: string, why: string, cause?: unknown): EngineError {
  const kept = `${path}.corrupt`;
  let sentence = `the database ${path} is damaged (${why}); it was left as it is`;
  try {
    if (!existsSync(kept)) {
      copyFileSync(path, kept);
      if (existsSync(`${path}-wal`)) copyFileSync(`${path}-wal`, `${kept}-wal`);
    }
    sentence += `, a copy is at ${kept}`;
  } catch {
    // A full disk must not hide the damage itself.
  }
  return internal(
    `${sentence}: restore it from a backup, or move it away to start without records`,
    {
      cause,
    },
  );
}

/** SQLite's "database or disk is full" in the words people search for. */
function translated(path: string, thrown: unknown): unknown {
  if (!(thrown instanceof SQLiteError)) return thrown;
  const code = thrown.code ?? "";
  if (code === "SQLITE_FULL") {
    return internal(`write ${path}: no space left on device`, { cause: thrown });
  }
  return thrown;
}

type Bindings = SQLQueryBindings[];

class SqliteStore implements Store {
  readonly path: string;
  readonly #database: Database;
  readonly #statements = new Map<string, Query<unknown, Value[]>>();
  readonly #prepared: Statement[] = [];
  readonly #beforeCommit: (() => void)[] = [];
  #depth = 0;
  #durability: "machine" | "process" = "machine";
  #closed = false;
  readonly #log: LogSync;

  constructor(path: string, database: Database, sync: Sync) {
    this.path = path;
    this.#database = database;
    this.#log = new LogSync(`${path}-wal`, sync);
  }

  transact<T>(work: () => T, durability: Durability = "machine"): T {
    const outermost = this.#depth === 0;
    if (outermost) this.#setDurability(durability === "machine" ? "machine" : "process");
    const savepoint = `nested${this.#depth}`;
    this.#database.run(outermost ? "BEGIN IMMEDIATE" : `SAVEPOINT ${savepoint}`);
    this.#depth += 1;
    try {
      const result = work();
      assert(!(result instanceof Promise), "a transaction's work is synchronous");
      if (outermost) for (const write of this.#beforeCommit) write();
      this.#database.run(outermost ? "COMMIT" : `RELEASE ${savepoint}`);
      if (outermost && durability === "answer") this.#log.written();
      return result;
    } catch (thrown) {
      this.#rollback(outermost ? "ROLLBACK" : `ROLLBACK TO ${savepoint}; RELEASE ${savepoint}`);
      throw translated(this.path, thrown);
    } finally {
      this.#depth -= 1;
    }
  }

  query<Row, Parameters extends readonly Value[] | [Record<string, Value>]>(
    sql: string,
  ): Query<Row, Parameters> {
    let query = this.#statements.get(sql);
    if (!query) {
      query = this.#prepare(sql);
      this.#statements.set(sql, query);
    }
    return query as unknown as Query<Row, Parameters>;
  }

  execute(sql: string): void {
    this.#database.run(sql);
  }

  beforeCommit(write: () => void): void {
    this.#beforeCommit.push(write);
  }

  synced(): Promise<void> | null {
    return this.#log.synced();
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#log[Symbol.dispose]();
    for (const statement of this.#prepared) statement.finalize();
    this.#database.close();
  }

  #prepare(sql: string): Query<unknown, Value[]> {
    const statement = this.#database.prepare<unknown, Bindings>(sql);
    this.#prepared.push(statement);
    const { path } = this;
    const guarded = <T>(call: () => T): T => {
      try {
        return call();
      } catch (thrown) {
        throw translated(path, thrown);
      }
    };
    return {
      get: (...values) => guarded(() => statement.get(...values)),
      all: (...values) => guarded(() => statement.all(...values)),
      run: (...values) => guarded(() => statement.run(...values).changes),
    };
  }

  /** In WAL mode NORMAL writes without waiting for the disk; the next FULL commit syncs what came before. */
  #setDurability(durability: "machine" | "process"): void {
    if (durability === this.#durability) return;
    this.#database.run(`PRAGMA synchronous = ${durability === "machine" ? "FULL" : "NORMAL"}`);
    this.#durability = durability;
  }

  /** SQLite has rolled back by itself after some errors (a full disk): then there is nothing left to undo. */
  #rollback(sql: string): void {
    if (!this.#database.inTransaction) return;
    this.#database.run(sql);
  }
}
