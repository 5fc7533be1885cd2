/** Networks of users: made, listed, inspected, removed; containers in them, by the real docker CLI and real traffic. */
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
const inspect = (name: string, format: string): Promise<string> =>
  engine.ok(["inspect", "-f", format, name]);

async function refused(args: readonly string[]): Promise<string> {
  const finished = await engine.docker(args);
  expect(finished.code).not.toBe(0);
  return finished.stderr.trim();
}

test("a network is made, listed, inspected and removed", async () => {
  const id = await engine.ok(["network", "create", "--label", "a=b", "plain"]);
  expect(id).toMatch(/^[0-9a-f]{64}$/);
  expect(await engine.ok(["network", "ls", "-q", "--no-trunc", "-f", "name=plain"])).toBe(id);
  expect(await engine.ok(["network", "ls", "--format", "{{.Name}}", "-f", "type=custom"])).toBe(
    "plain",
  );
  expect(await engine.ok(["network", "ls", "-q", "-f", "label=a=c"])).toBe("");
  expect(await engine.ok(["network", "ls", "--format", "{{.Name}}", "-f", "dangling=1"])).toBe(
    "plain",
  );
  const [network] = JSON.parse(await engine.ok(["network", "inspect", "-v", "plain"]));
  expect(network).toMatchObject({
    Driver: "bridge",
    Scope: "local",
    Internal: false,
    Labels: { a: "b" },
    IPAM: { Driver: "default", Config: [{ Subnet: expect.any(String) }] },
  });
  expect(await engine.ok(["network", "rm", "plain"])).toBe("plain");
  expect(await refused(["network", "inspect", "plain"])).toContain("network plain not found");
  expect(await refused(["network", "rm", "bridge"])).toContain(
    "bridge is a pre-defined network and cannot be removed",
  );
});

test("containers of one network reach each other, those of two do not", async () => {
  const subnet = ["--subnet", "10.231.0.0/24", "--gateway", "10.231.0.254"];
  await engine.ok(["network", "create", ...subnet, "one"]);
  await engine.ok(["network", "create", "two"]);
  await engine.ok([
    "run",
    "-d",
    "--name",
    "aa",
    "--network",
    "one",
    "--ip",
    "10.231.0.7",
    ...SLEEP,
  ]);
  await engine.ok(["run", "-d", "--name", "bb", "--network", "one", ...SLEEP]);
  await engine.ok(["run", "-d", "--name", "cc", "--network", "two", ...SLEEP]);
  const ping = (from: string, to: string, waitSeconds = 60) =>
    engine.docker(["exec", from, "ping", "-c", "1", "-W", String(waitSeconds), to]);
  expect(await inspect("aa", "{{.NetworkSettings.Networks.one.IPAddress}}")).toBe("10.231.0.7");
  expect(await engine.ok(["exec", "aa", "ip", "route"])).toContain("default via 10.231.0.254");
  expect((await ping("bb", "10.231.0.7")).code).toBe(0);
  expect((await ping("cc", "10.231.0.7", 1)).code).toBe(1);
  expect((await ping("cc", "10.231.0.254")).code).toBe(0);
  expect(await refused(["network", "rm", "one"])).toMatch(
    /error while removing network: network one has active endpoints \(name:"\w+" id:"\w{12}"/,
  );
  await engine.ok(["rm", "-f", "aa", "bb", "cc"]);
  await engine.ok(["network", "rm", "one", "two"]);
  const links = await run(["ip", "-o", "link"]);
  expect(links.stdout).not.toContain(`${engine.bridge}-`);
});

test("what makes no sense is refused in Docker's words, and nothing is left", async () => {
  await engine.ok(["network", "create", "--subnet", "10.232.0.0/16", "taken"]);
  const create = (...args: string[]) => refused(["network", "create", ...args]);
  expect(await create("taken")).toContain("network with name taken already exists");
  expect(await create("--subnet", "10.232.1.0/24", "x")).toContain(
    "invalid pool request: Pool overlaps with other one on this address space",
  );
  expect(await create("bridge")).toContain(
    "operation is not permitted on predefined bridge network",
  );
  expect(await create("--subnet", "10.233.0.1/24", "x")).toContain("it should be 10.233.0.0/24");
  expect(await create("-d", "weave", "x")).toContain("plugin");
  expect(await create("--ipam-driver", "dhcp", "x")).toContain("invalid ipam driver");
  expect(await create("-o", "com.docker.network.driver.mtu=9", "x")).toContain("invalid MTU");
  expect(await create(" ")).toContain("invalid name: name is empty");
  expect(await create("-o", "com.docker.network.bridge.name=lo", "x")).toContain("is no bridge");
  expect(await create("-o", "com.docker.network.bridge.enable_icc=2", "x")).toContain("ParseBool");
  expect(await create("-d", "host", "x")).toContain('only one instance of "host" network');
  await engine.ok([
    "run",
    "-d",
    "--name",
    "aa",
    "--network",
    "taken",
    "--ip",
    "10.232.0.9",
    ...SLEEP,
  ]);
  const clash = ["run", "--rm", "--network", "taken", "--ip", "10.232.0.9", "busybox", "true"];
  expect(await refused(clash)).toContain("Address already in use");
  const outside = ["run", "--rm", "--network", "taken", "--ip", "10.9.0.9", "busybox", "true"];
  expect(await refused(outside)).toContain(
    "no configured subnet or ip-range contain the IP address 10.9.0.9",
  );
  expect(await refused(["run", "--rm", "--network", "nope", "busybox", "true"])).toContain(
    "network nope not found",
  );
  await engine.ok(["rm", "-f", "aa"]);
  await engine.ok(["network", "prune", "-f"]);
  expect(await engine.ok(["network", "ls", "-q", "-f", "type=custom"])).toBe("");
});

test("naru's own commands say and do the same", async () => {
  const naru = async (...args: string[]) => {
    const { code, stdout, stderr } = await engine.naru(["network", ...args]);
    return code === 0 ? stdout : `${code}: ${stderr}`;
  };
  const pools = ["--subnet", "10.234.0.0/24", "--ip-range", "10.234.0.128/25"];
  const more = ["--gateway", "10.234.0.254", "--aux-address", "nas=10.234.0.9", "--label", "x=y"];
  const id = (await naru("create", ...pools, ...more, "mine")).trim();
  expect(id).toMatch(/^[0-9a-f]{64}$/);
  const [network] = JSON.parse(await naru("inspect", "mine"));
  expect(network.IPAM.Config).toEqual([
    {
      Subnet: "10.234.0.0/24",
      IPRange: "10.234.0.128/25",
      Gateway: "10.234.0.254",
      AuxiliaryAddresses: { nas: "10.234.0.9" },
    },
  ]);
  expect(await naru("ls")).toBe(`${await engine.ok(["network", "ls"])}\n`);
  expect(await naru("ls", "-q", "-f", "name=mine")).toBe(`${id.slice(0, 12)}\n`);
  await engine.ok(["run", "-d", "--name", "nn", ...SLEEP]);
  expect(await naru("connect", "--ip", "10.234.0.200", "--alias", "n", "mine", "nn")).toBe("");
  expect(await inspect("nn", "{{.NetworkSettings.Networks.mine.IPAddress}}")).toBe("10.234.0.200");
  expect(await naru("rm", "mine")).toContain("1: Error response from daemon: error while removing");
  expect(await naru("disconnect", "mine", "nn")).toBe("");
  expect(await naru("create", "--gateway", "10.9.0.1", "x")).toContain("corresponding subnet");
  await engine.ok(["rm", "-f", "nn"]);
  expect(await naru("prune", "-f")).toBe("Deleted Networks:\nmine\n\n");
  expect(await naru("rm", "-f", "mine")).toBe("");
});
