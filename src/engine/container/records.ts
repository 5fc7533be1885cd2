/**
 * The records of containers and volumes: what is true of them, in SQLite, with a copy in memory that every
 * reader uses. Writing is one transaction, then the copy; a crash between the two loses only the copy.
 *
 *   containers  id, name, definition (JSON, seldom written again), status (JSON, small: state and what changes)
 *   volumes     name, when made, and the container that owns an anonymous one
 */
import { assert, invalid, noSuch } from "#base";
import type { EndpointRequest, PortBinding } from "#engine/network";
import type { Durability, Migration, Store } from "#engine/store";
import type { Digest } from "#oci";

import type { ContainerConfig, HostConfig } from "./config.ts";
import type { ContainerState } from "./container-service.ts";
import type { ResolvedMount } from "./mounts.ts";
import { nameInUse } from "./names.ts";

/** What create decided; only `docker update` changes it, on the host's side. */
export interface Definition {
  /** ISO 8601 with nanoseconds. */
  readonly createdAt: string;
  readonly imageId: Digest;
  readonly config: ContainerConfig;
  readonly host: HostConfig;
  readonly path: string;
  readonly args: readonly string[];
  /** Bottom first. */
  readonly layers: readonly Digest[];
  readonly mounts: readonly ResolvedMount[];
}

/** A process beyond its number, which is reused. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: string;
  readonly bootId: string;
}

/** What changes during a container's life. */
export interface Status {
  readonly state: ContainerState;
  readonly process: ProcessIdentity | null;
  /** A person stopped it: `unless-stopped` and the running `always` leave it so. */
  readonly manuallyStopped: boolean;
  /** Restarts by policy since the last start by a person. */
  readonly restartCount: number;
  /** As published while it runs. */
  readonly ports: readonly PortBinding[];
  /** The networks it is connected to, in order; absent: the one of its network mode, with nothing special. */
  readonly networks?: readonly EndpointRequest[];
}

export interface ContainerRecord extends Definition, Status {
  readonly id: string;
  readonly name: string;
}

export interface VolumeRecord {
  readonly name: string;
  readonly createdAt: string;
  /** The container an anonymous volume goes with. */
  readonly owner: string | null;
}

export const containerMigrations: readonly Migration[] = [
  {
    id: "container/1",
    sql: `
      CREATE TABLE containers (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        definition TEXT NOT NULL,
        status TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE volumes (
        name TEXT PRIMARY KEY,
        created_at TEXT NOT NULL,
        owner TEXT
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE execs (
        id TEXT PRIMARY KEY,
        container_id TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
        record TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX execs_of_container ON execs (container_id);
    `,
  },
  {
    id: "container/health",
    sql: `
      CREATE TABLE health (
        container_id TEXT PRIMARY KEY REFERENCES containers (id) ON DELETE CASCADE,
        record TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;
    `,
  },
];

interface ContainerRow {
  readonly id: string;
  readonly name: string;
  readonly definition: string;
  readonly status: string;
}

export class Records {
  readonly #store: Store;
  readonly #byId = new Map<string, ContainerRecord>();
  readonly #idByName = new Map<string, string>();
  readonly #volumes = new Map<string, VolumeRecord>();

  constructor(store: Store) {
    this.#store = store;
    const rows = store
      .query<ContainerRow>("SELECT id, name, definition, status FROM containers")
      .all();
    const records = rows.map(({ id, name, definition, status }): ContainerRecord => ({
      ...(JSON.parse(definition) as Definition),
      ...(JSON.parse(status) as Status),
      id,
      name,
    }));
    // Times are ISO 8601 of one length: as text they sort by age.
    records.sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
    for (const record of records) this.#remember(record);
    const volumes = store.query<VolumeRecord>(
      "SELECT name, created_at AS createdAt, owner FROM volumes",
    );
    for (const volume of volumes.all()) this.#volumes.set(volume.name, volume);
  }

  get size(): number {
    return this.#byId.size;
  }

  /** Oldest first. */
  all(): IterableIterator<ContainerRecord> {
    return this.#byId.values();
  }

  get(id: string): ContainerRecord | undefined {
    return this.#byId.get(id);
  }

  /** @throws EngineError "notFound" when a removal was faster */
  must(id: string): ContainerRecord {
    const record = this.#byId.get(id);
    if (record === undefined) throw noSuch("container", id);
    return record;
  }

  ownerOfName(name: string): string | undefined {
    return this.#idByName.get(name);
  }

  /** By whole id, name, or unique prefix of an id, in that order. @throws EngineError */
  resolve(nameOrId: string): ContainerRecord {
    if (nameOrId === "") throw invalid("No container name or ID supplied");
    const name = nameOrId.startsWith("/") ? nameOrId.slice(1) : nameOrId;
    const exact = this.#byId.get(nameOrId) ?? this.#byId.get(this.#idByName.get(name) ?? "");
    if (exact !== undefined) return exact;
    if (!/^[a-f0-9]{1,64}$/.test(nameOrId)) throw noSuch("container", nameOrId);
    let found: ContainerRecord | undefined;
    for (const [id, record] of this.#byId) {
      if (!id.startsWith(nameOrId)) continue;
      if (found !== undefined) {
        throw invalid(`multiple IDs found with provided prefix: ${nameOrId}`);
      }
      found = record;
    }
    if (found === undefined) throw noSuch("container", nameOrId);
    return found;
  }

  /** A new container with its anonymous and named volumes, in one transaction. @throws EngineError "conflict" */
  insert(record: ContainerRecord): void {
    const owner = this.#idByName.get(record.name);
    if (owner !== undefined) throw nameInUse(record.name, owner);
    const volumes = record.mounts.flatMap((mount): VolumeRecord[] =>
      mount.type === "volume" && !this.#volumes.has(mount.name)
        ? [
            {
              name: mount.name,
              createdAt: record.createdAt,
              owner: mount.anonymous ? record.id : null,
            },
          ]
        : [],
    );
    this.#store.transact(
      () => {
        this.#store
          .query("INSERT INTO containers (id, name, definition, status) VALUES (?, ?, ?, ?)")
          .run(record.id, record.name, JSON.stringify(definitionOf(record)), statusText(record));
        for (const { name, createdAt, owner } of volumes) {
          this.#store
            .query("INSERT OR IGNORE INTO volumes (name, created_at, owner) VALUES (?, ?, ?)")
            .run(name, createdAt, owner);
        }
      },
      volumes.length > 0 ? "machine" : durabilityOf(record),
    );
    this.#remember(record);
    for (const volume of volumes) this.#volumes.set(volume.name, volume);
  }

  /** Changes the status in one transaction. `also` shares it. */
  update(id: string, change: Partial<Status>, also?: () => void): ContainerRecord {
    const record: ContainerRecord = { ...this.must(id), ...change };
    this.#store.transact(() => {
      this.#store
        .query("UPDATE containers SET status = ? WHERE id = ?")
        .run(statusText(record), id);
      also?.();
    }, durabilityOf(record));
    this.#byId.set(id, record);
    return record;
  }

  /** Changes only what readers see: for a record that is about to be deleted, whose loss a restart repairs. */
  note(id: string, change: Partial<Status>): ContainerRecord {
    const record: ContainerRecord = { ...this.must(id), ...change };
    this.#byId.set(id, record);
    return record;
  }

  /** Changes what create decided about the host's side: `docker update`. */
  redefine(id: string, host: HostConfig): ContainerRecord {
    const record: ContainerRecord = { ...this.must(id), host };
    this.#store.transact(() => {
      this.#store
        .query("UPDATE containers SET definition = ? WHERE id = ?")
        .run(JSON.stringify(definitionOf(record)), id);
    }, durabilityOf(record));
    this.#byId.set(id, record);
    return record;
  }

  rename(id: string, name: string): ContainerRecord {
    const old = this.must(id);
    const owner = this.#idByName.get(name);
    if (owner !== undefined) throw nameInUse(name, owner);
    this.#store.transact(() =>
      this.#store.query("UPDATE containers SET name = ? WHERE id = ?").run(name, id),
    );
    this.#idByName.delete(old.name);
    const record = { ...old, name };
    this.#byId.set(id, record);
    this.#idByName.set(name, id);
    return record;
  }

  /** The record and, if asked, its anonymous volumes' go in one transaction. @returns the volumes to delete */
  delete(id: string, { volumes }: { volumes: boolean }): string[] {
    const record = this.must(id);
    const inUse = volumes ? this.#volumesOfOthers(id) : new Set<string>();
    const orphans = [...this.#volumes.values()]
      .filter(({ name, owner }) => volumes && owner === id && !inUse.has(name))
      .map(({ name }) => name);
    this.#store.transact(() => {
      this.#store.query("DELETE FROM containers WHERE id = ?").run(id);
      for (const name of orphans) {
        this.#store.query("DELETE FROM volumes WHERE name = ?").run(name);
      }
    }, durabilityOf(record));
    for (const name of orphans) this.#volumes.delete(name);
    this.#byId.delete(id);
    this.#idByName.delete(record.name);
    return orphans;
  }

  hasVolume(name: string): boolean {
    return this.#volumes.has(name);
  }

  #volumesOfOthers(id: string): Set<string> {
    const names = new Set<string>();
    for (const record of this.#byId.values()) {
      if (record.id === id) continue;
      for (const mount of record.mounts) if (mount.type === "volume") names.add(mount.name);
    }
    return names;
  }

  #remember(record: ContainerRecord): void {
    assert(!this.#byId.has(record.id), "a container's id is new");
    this.#byId.set(record.id, record);
    this.#idByName.set(record.name, record.id);
  }
}

function definitionOf(record: ContainerRecord): Definition {
  const { createdAt, imageId, config, host, path, args, layers, mounts } = record;
  return { createdAt, imageId, config, host, path, args, layers, mounts };
}

function statusText(record: Status): string {
  const { state, process, manuallyStopped, restartCount, ports, networks } = record;
  const status: Status = {
    state,
    process,
    manuallyStopped,
    restartCount,
    ports,
    ...(networks === undefined ? {} : { networks }),
  };
  return JSON.stringify(status);
}

/**
 * A container that removes itself (`--rm`) ends with the machine: its record has to survive the daemon, not a power
 * cut. So a `run --rm` waits for no disk.
 */
const durabilityOf = ({ host }: ContainerRecord): Durability =>
  host.autoRemove ? "process" : "machine";
