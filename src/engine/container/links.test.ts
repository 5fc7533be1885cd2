import { expect, test } from "bun:test";

import { configOf, hostOf, IMAGE_ID } from "./fixture.ts";
import { withAddress } from "./linked-hosts.ts";
import { linkEnvironment, linkHosts, resolveLinks } from "./links.ts";
import type { ContainerRecord } from "./records.ts";

const record = (): ContainerRecord => ({
  id: "a".repeat(64),
  name: "db",
  createdAt: "2026-01-01T00:00:00.000000000Z",
  imageId: IMAGE_ID,
  config: configOf(),
  host: hostOf(),
  path: "sh",
  args: [],
  layers: [],
  mounts: [],
  state: { status: "created" },
  process: null,
  manuallyStopped: false,
  restartCount: 0,
  ports: [],
});

const linked = (exposedPorts: string[], environment: string[] = []) => {
  const base = record();
  const config = { ...base.config, hostname: "abc", exposedPorts, environment };
  return [{ alias: "my-db", address: "10.0.0.2", record: { ...base, name: "db", config } }];
};

test("a link is a line of /etc/hosts with alias, host name and name, each once", () => {
  expect(linkHosts(linked([]))).toEqual(["10.0.0.2\tmy-db abc db"]);
});

test("variables name the lowest TCP port first, every port, and runs of neighbours", () => {
  const ports = ["90/udp", "81/tcp", "80/tcp", "443/tcp"];
  const variables = linkEnvironment(linked(ports, ["A=1", "PATH=/bin", "HOME=/", "B"]), "web");
  expect(variables[0]).toBe("MY_DB_PORT=tcp://10.0.0.2:80");
  expect(variables).toContain("MY_DB_PORT_90_UDP=udp://10.0.0.2:90");
  expect(variables).toContain("MY_DB_PORT_80_TCP_PORT_START=80");
  expect(variables).toContain("MY_DB_PORT_80_TCP_PORT_END=81");
  expect(variables.filter((entry) => entry.includes("_START="))).toHaveLength(2);
  expect(variables.slice(-2)).toEqual(["MY_DB_NAME=/web/my-db", "MY_DB_ENV_A=1"]);
});

test("links need a network of their own to go over", () => {
  const records = { resolve: () => record() };
  const links = [{ container: "db", alias: "db" }];
  const check = (networkMode: Parameters<typeof resolveLinks>[1]["networkMode"]) => () =>
    resolveLinks(links, { networkMode }, records);
  expect(check({ mode: "host" })).toThrow("host type networking can't be used with links");
  expect(check({ mode: "container", container: "x" })).toThrow("container type network can't");
  expect(resolveLinks(undefined, { networkMode: { mode: "host" } }, records)).toEqual([]);
});

test("a link's line follows its container's address, and no other line changes", () => {
  const before =
    "127.0.0.1\tlocalhost\n10.0.0.2\tdb abc web\n# 10.0.0.2\tdb\n10.0.0.2\tdbx db\nweird";
  expect(withAddress(before, "db", "10.0.0.77")).toBe(
    "127.0.0.1\tlocalhost\n10.0.0.77\tdb abc web\n# 10.0.0.2\tdb\n10.0.0.2\tdbx db\nweird",
  );
  expect(withAddress(before, "nobody", "10.0.0.77")).toBe(before);
  expect(withAddress("", "db", "10.0.0.77")).toBe("");
});
