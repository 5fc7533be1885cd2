/** Configuration-only networks, and networks that are made from them, by the real docker CLI and ours. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { type Engine, run, startEngine } from "./engine.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const SLEEP = ["busybox", "sleep", "1000"];

async function refused(...args: readonly string[]): Promise<string> {
  const [docker, naru] = [await engine.docker(args), await engine.naru(args)];
  expect(docker.code).toBe(args[0] === "run" ? 125 : 1);
  expect([naru.code, naru.stderr.split("\n")[0]]).toEqual([
    docker.code,
    docker.stderr.split("\n")[0]?.replace("docker:", "naru:"),
  ]);
  return docker.stderr;
}

const inspect = async (name: string) =>
  (JSON.parse(await engine.ok(["network", "inspect", name])) as Record<string, unknown>[])[0];

test("a configuration is a name for options, and nothing on the host", async () => {
  await engine.ok([
    "network",
    "create",
    "--config-only",
    "--subnet",
    "10.235.5.0/24",
    "--gateway",
    "10.235.5.7",
    "--ip-range",
    "10.235.5.64/26",
    "--aux-address",
    "a=10.235.5.9",
    "--label",
    "made=by",
    "-o",
    "com.docker.network.driver.mtu=1311",
    "settings",
  ]);
  const shown = {
    Name: "settings",
    Driver: "null",
    Scope: "local",
    ConfigOnly: true,
    ConfigFrom: { Network: "" },
    EnableIPv4: true,
    EnableIPv6: false,
    Labels: { made: "by" },
    Options: { "com.docker.network.driver.mtu": "1311" },
    Containers: {},
    IPAM: {
      Driver: "default",
      Options: {},
      Config: [
        {
          Subnet: "10.235.5.0/24",
          IPRange: "10.235.5.64/26",
          Gateway: "10.235.5.7",
          AuxiliaryAddresses: { a: "10.235.5.9" },
        },
      ],
    },
  };
  expect(await inspect("settings")).toMatchObject(shown);
  expect(await engine.ok(["network", "ls", "-f", "driver=null", "--format", "{{.Name}}"])).toBe(
    "none\nsettings",
  );
  // It takes nothing: another network may have the subnet.
  await engine.ok(["network", "create", "--subnet", "10.235.5.0/24", "holder"]);
  await engine.ok(["network", "rm", "holder"]);
  await engine.restartDaemon();
  expect(await inspect("settings")).toMatchObject(shown);
});

test("nothing joins a configuration", async () => {
  const sentence = "cannot create endpoint on configuration-only network";
  expect(await refused("run", "--rm", "--network", "settings", "busybox", "true")).toContain(
    sentence,
  );
  await engine.ok(["run", "-d", "--name", "lone", ...SLEEP]);
  expect(await refused("network", "connect", "settings", "lone")).toContain(sentence);
  await engine.ok(["rm", "-f", "lone"]);
});

test("a network made from it works as it says, keeps it, and says no settings itself", async () => {
  const from = ["network", "create", "--config-from", "settings"];
  await engine.ok([...from, "--internal", "town"]);
  expect(await inspect("town")).toMatchObject({
    Driver: "bridge",
    Internal: true,
    ConfigOnly: false,
    ConfigFrom: { Network: "settings" },
    Labels: { made: "by" },
    Options: { "com.docker.network.driver.mtu": "1311" },
    IPAM: { Config: [{ Subnet: "10.235.5.0/24", Gateway: "10.235.5.7" }] },
  });
  const seen = await engine.ok([
    "run",
    "--rm",
    "--network",
    "town",
    "busybox",
    "ip",
    "-o",
    "address",
    "show",
    "eth0",
  ]);
  expect(seen).toContain("inet 10.235.5.64/24");
  const link = await engine.ok(["run", "--rm", "--network", "town", "busybox", "ip", "link"]);
  expect(link).toMatch(/eth0.* mtu 1311 /);
  expect(await refused(...from, "again")).toContain("Pool overlaps with other one");
  expect(await refused("network", "rm", "settings")).toContain(
    'error while removing network: configuration network "settings" is in use',
  );
  const own =
    "user specified configurations are not supported if the network depends on a configuration network";
  expect(await refused(...from, "--subnet", "10.235.6.0/24", "x")).toContain(own);
  expect(await refused(...from, "--label", "a=b", "x")).toContain(own);
  expect(await refused(...from, "--ipv6", "x")).toContain(own);
  expect(await refused(...from, "-o", "a=b", "x")).toContain(
    "network driver options are not supported if the network depends on a configuration network",
  );
  expect(await refused("network", "create", "--config-from", "none-such", "x")).toContain(
    'configuration network "none-such" does not exist',
  );
  expect(await refused(...from, "--config-only", "x")).toContain(
    "a configuration network cannot depend on another configuration network",
  );
  expect(await refused("network", "create", "--config-only", "--internal", "x")).toContain(
    "Network operator fields like [ ingress | internal | attachable | scope ] are not supported.",
  );
});

test("a prune leaves configurations, and takes what was made from them", async () => {
  const pruned = await engine.ok(["network", "prune", "-f"]);
  expect(pruned).toContain("town");
  expect(pruned).not.toContain("settings");
  expect(await engine.ok(["network", "rm", "settings"])).toBe("settings");
  const told = (
    await engine.ok([
      "events",
      "--since",
      "1h",
      "--until",
      (Date.now() / 1000).toFixed(3),
      "-f",
      "type=network",
      "--format",
      "{{.Action}} {{.Actor.Attributes.name}}",
    ])
  ).split("\n");
  expect(told).toContain("create settings");
  expect(told).toContain("destroy town");
  expect(told).not.toContain("destroy settings");
});

test("addresses that nobody can have are no gateways", async () => {
  const create = ["network", "create", "--subnet", "10.235.7.0/24", "--gateway"];
  for (const gateway of ["10.235.7.0", "10.235.7.255"]) {
    expect(await refused(...create, gateway, "edge")).toBe(
      `Error response from daemon: failed to allocate gateway (${gateway}): Address already in use\n`,
    );
  }
});

test("a network may be called almost anything", async () => {
  for (const name of ["my net", "ü.%41"]) {
    await engine.ok(["network", "create", name]);
    expect((await inspect(name))?.["Name"]).toBe(name);
    const names = ["run", "--rm", "--network", name, "--name", "guest", "busybox"];
    expect(await engine.ok([...names, "nslookup", "guest"])).toContain("guest");
    expect(await engine.ok(["network", "rm", name])).toBe(name);
  }
  // Past the proxy: the definition of the API knows no such path, Docker does.
  const direct = ["docker", "-H", `unix://${engine.daemonSocket}`, "network"];
  for (const words of [["create"], ["inspect", "-f", "{{.Name}}"], ["rm"]]) {
    expect(await run([...direct, ...words, "a/b"])).toMatchObject({ code: 0, stderr: "" });
  }
  expect(await refused("network", "create", " ")).toContain("invalid name: name is empty");
});

test("clients of before API 1.48 cannot make a network without IPv4, as in Docker", async () => {
  const body = JSON.stringify({ Name: "old", EnableIPv4: false });
  const headers = { "Content-Type": "application/json" };
  for (const [version, has] of [
    ["1.47", true],
    ["1.48", false],
  ] as const) {
    const asked = { method: "POST", body: body.replace("}", ',"EnableIPv6":true}'), headers };
    expect((await engine.fetch(`/v${version}/networks/create`, asked)).status).toBe(201);
    expect((await inspect("old"))?.["EnableIPv4"]).toBe(has);
    await engine.ok(["network", "rm", "old"]);
  }
});
