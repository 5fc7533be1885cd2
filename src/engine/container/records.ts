/**
 * The records of containers: what is true of them, in SQLite, with a copy in memory that every
 * reader uses. Writing is one transaction, then the copy; a crash between the two loses only the copy.
 *
 *   containers  id, name, definition (JSON, seldom written again), status (JSON, small: state and what changes)
 */
import { assert, invalid, noSuch } from "#base";
import type { EndpointRequest, PortBinding } from "#engine/network";
import type { Durability, Migration, Store } from "#engine/store";
import type { VolumeChange } from "#engine/volume";
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
  {
    // Volumes have a room of their own now, with labels; the anonymous ones had an owner.
    id: "container/2",
    sql: `
      INSERT OR IGNORE INTO local_volumes (name, created_at, labels, options)
        SELECT name, substr(created_at, 1, 19) || 'Z',
          CASE WHEN owner IS NULL THEN '{}' ELSE '{"com.docker.volume.anonymous":""}' END, '{}'
        FROM volumes;
      DROP TABLE volumes;
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
  /** Those with links of the default bridge. */
  readonly #linking = new Set<string>();

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
  }

  get size(): number {
    return this.#byId.size;
  }

  /** Oldest first. */
  all(): IterableIterator<ContainerRecord> {
    return this.#byId.values();
  }

  /** Containers that were given links, running or not. */
  *linking(): IterableIterator<ContainerRecord> {
    for (const id of this.#linking) yield this.must(id);
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

  /** Its own name, and those that links of the default bridge give it: `web/db`. */
  namesOf({ id, name }: Pick<ContainerRecord, "id" | "name">): string[] {
    const names = [name];
    for (const parent of this.linking()) {
      for (const { container, alias } of linksOf(parent)) {
        if (container === id) names.push(`${parent.name}/${alias}`);
      }
    }
    return names.length > 1 ? names.toSorted() : names;
  }

  #ownerOf(name: string): string | undefined {
    const at = name.indexOf("/");
    if (at < 0 || this.#linking.size === 0) return this.#idByName.get(name);
    const parent = this.get(this.#idByName.get(name.slice(0, at)) ?? "");
    if (parent === undefined) return undefined;
    return linksOf(parent).find(({ alias }) => alias === name.slice(at + 1))?.container;
  }

  /** By whole id, name, or unique prefix of an id, in that order. @throws EngineError */
  resolve(nameOrId: string): ContainerRecord {
    if (nameOrId === "") throw invalid('invalid name or ID supplied: ""');
    const name = nameOrId.startsWith("/") ? nameOrId.slice(1) : nameOrId;
    const exact = this.#byId.get(nameOrId) ?? this.#byId.get(this.#ownerOf(name) ?? "");
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

  /** A new container with the volumes made for it, in one transaction that `also` shares. @throws EngineError "conflict" */
  insert(record: ContainerRecord, volumes: VolumeChange, also: () => void): void {
    const owner = this.#idByName.get(record.name);
    if (owner !== undefined) throw nameInUse(record.name, owner);
    this.#store.transact(
      () => {
        this.#store
          .query("INSERT INTO containers (id, name, definition, status) VALUES (?, ?, ?, ?)")
          .run(record.id, record.name, JSON.stringify(definitionOf(record)), statusText(record));
        volumes.write();
        also();
      },
      volumes.isEmpty ? durabilityOf(record) : "machine",
    );
    this.#remember(record);
    volumes.done();
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
    if ((host.links?.length ?? 0) === 0) this.#linking.delete(id);
    return record;
  }

  rename(id: string, name: string): ContainerRecord {
    const old = this.must(id);
    const owner = this.#idByName.get(name);
    if (owner !== undefined) throw nameInUse(name, owner);
    this.#store.transact(
      () => this.#store.query("UPDATE containers SET name = ? WHERE id = ?").run(name, id),
      "answer",
    );
    this.#idByName.delete(old.name);
    const record = { ...old, name };
    this.#byId.set(id, record);
    this.#idByName.set(name, id);
    return record;
  }

  /** The record and the volumes that go with it, in one transaction that `also` shares. */
  delete(id: string, volumes: VolumeChange, also: () => void): void {
    const record = this.must(id);
    this.#store.transact(
      () => {
        this.#store.query("DELETE FROM containers WHERE id = ?").run(id);
        volumes.write();
        also();
        // Its files go next: a record must not come back without them.
      },
      record.host.autoRemove ? "process" : "machine",
    );
    this.#byId.delete(id);
    this.#idByName.delete(record.name);
    this.#linking.delete(id);
    volumes.done();
  }

  /** Ids of the containers that have a volume, running or not. */
  usersOfVolume(name: string): string[] {
    return [...this.#byId.values()]
      .filter(({ mounts }) =>
        mounts.some((mount) => mount.type === "volume" && mount.name === name),
      )
      .map(({ id }) => id);
  }

  #remember(record: ContainerRecord): void {
    assert(!this.#byId.has(record.id), "a container's id is new");
    this.#byId.set(record.id, record);
    this.#idByName.set(record.name, record.id);
    if ((record.host.links?.length ?? 0) > 0) this.#linking.add(record.id);
  }
}

/** On a user's network links are the network's own, and nobody is called by them. */
const linksOf = ({ host }: ContainerRecord): NonNullable<HostConfig["links"]> =>
  host.networkMode.mode === "network" && host.networkMode.name === "bridge"
    ? (host.links ?? [])
    : [];

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
 * cut. So a `run --rm` waits for no disk. For all others whoever asked waits, and nobody else.
 */
const durabilityOf = ({ host }: ContainerRecord): Durability =>
  host.autoRemove ? "process" : "answer";
