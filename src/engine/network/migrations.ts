/** Networks, the endpoints of containers that run (or are about to, or just ended), and their published ports. */
import type { Migration } from "#engine/store";

export const networkMigrations: readonly Migration[] = [
  {
    id: "network/1",
    sql: `
      CREATE TABLE networks (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        driver TEXT NOT NULL,
        created_at TEXT NOT NULL,
        bridge TEXT UNIQUE,
        subnet TEXT,
        gateway TEXT,
        mtu INTEGER NOT NULL,
        -- The address given out last: the search for the next begins behind it.
        last_address INTEGER NOT NULL DEFAULT 0
      );
      CREATE TABLE endpoints (
        id TEXT PRIMARY KEY,
        network_id TEXT NOT NULL REFERENCES networks (id),
        container_id TEXT NOT NULL,
        address INTEGER NOT NULL,
        mac_address TEXT NOT NULL,
        host_link TEXT NOT NULL UNIQUE,
        container_link TEXT NOT NULL,
        -- 1: the container ended, but its link may still be there, so the address is not free yet.
        leaving INTEGER NOT NULL DEFAULT 0,
        UNIQUE (network_id, address)
      );
      CREATE INDEX endpoints_by_container ON endpoints (container_id);
      CREATE TABLE port_bindings (
        container_id TEXT NOT NULL,
        target TEXT NOT NULL,
        protocol TEXT NOT NULL,
        container_port INTEGER NOT NULL,
        host_address TEXT NOT NULL,
        host_port INTEGER NOT NULL,
        UNIQUE (protocol, host_address, host_port)
      );
      CREATE INDEX port_bindings_by_container ON port_bindings (container_id);
      CREATE TABLE network_host (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
      );`,
  },
  {
    id: "network/2",
    sql: `
      -- JSON of CustomNetwork; NULL for the three predefined ones.
      ALTER TABLE networks ADD COLUMN custom TEXT;
      ALTER TABLE endpoints RENAME TO endpoints_1;
      DROP INDEX endpoints_by_container;
      CREATE TABLE endpoints (
        id TEXT PRIMARY KEY,
        network_id TEXT NOT NULL REFERENCES networks (id),
        container_id TEXT NOT NULL,
        -- NULL in a network without IPv4.
        address INTEGER,
        address6 TEXT,
        mac_address TEXT NOT NULL,
        host_link TEXT NOT NULL UNIQUE,
        container_link TEXT NOT NULL,
        leaving INTEGER NOT NULL DEFAULT 0,
        -- JSON of what a user's network adds; NULL on the default bridge.
        custom TEXT,
        UNIQUE (network_id, address),
        UNIQUE (network_id, address6)
      );
      INSERT INTO endpoints
        (id, network_id, container_id, address, mac_address, host_link, container_link, leaving)
        SELECT id, network_id, container_id, address, mac_address, host_link, container_link, leaving
        FROM endpoints_1;
      DROP TABLE endpoints_1;
      CREATE INDEX endpoints_by_container ON endpoints (container_id);`,
  },
];
