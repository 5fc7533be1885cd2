/** Containers in several networks: connected and disconnected while they run and while they do not. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { type Engine, run, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";
import { eventually } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
  for (const [name, number] of [
    ["red", 1],
    ["blue", 2],
    ["green", 3],
  ] as const) {
    await engine.ok(["network", "create", "--subnet", `10.24${number}.0.0/24`, name]);
  }
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const PORT = freePorts();
const SLEEP = ["busybox", "sleep", "1000"];
const exec = (name: string, ...words: string[]) => engine.ok(["exec", name, ...words]);
const networksOf = async (name: string): Promise<Record<string, Record<string, unknown>>> =>
  JSON.parse(await engine.ok(["inspect", "-f", "{{json .NetworkSettings.Networks}}", name]));

test("a running container is connected and disconnected, and its routes follow", async () => {
  await engine.ok(["run", "-d", "--name", "web", "--network", "red", ...SLEEP]);
  await engine.ok(["run", "-d", "--name", "peer", "--network", "blue", ...SLEEP]);
  const since = String(Math.floor(Date.now() / 1000) - 1);
  const flags = ["--ip", "10.242.0.50", "--alias", "db", "--gw-priority", "5"];
  await engine.ok(["network", "connect", ...flags, "blue", "web"]);
  expect(await exec("web", "ip", "-o", "-4", "addr")).toContain("10.242.0.50/24");
  expect(await exec("web", "ip", "route")).toContain("default via 10.242.0.1 dev eth1");
  await exec("peer", "ping", "-c", "1", "-W", "2", "10.242.0.50");
  expect((await networksOf("web"))["blue"]).toMatchObject({
    IPAddress: "10.242.0.50",
    Aliases: ["db"],
    GwPriority: 5,
    IPAMConfig: { IPv4Address: "10.242.0.50" },
    DNSNames: expect.arrayContaining(["web", "db"]),
  });
  const again = await engine.docker(["network", "connect", "blue", "web"]);
  expect(again.stderr).toContain("endpoint with name web already exists in network blue");
  await engine.ok(["restart", "-t", "0", "web"]);
  expect(await exec("web", "ip", "route")).toContain("default via 10.242.0.1");
  await engine.ok(["network", "disconnect", "blue", "web"]);
  expect(await exec("web", "ip", "route")).toContain("default via 10.241.0.1 dev eth0");
  expect(await exec("web", "ip", "link")).not.toContain("eth1");
  expect(Object.keys(await networksOf("web"))).toEqual(["red"]);
  const events = await engine.ok([
    "events",
    "--since",
    since,
    "--until",
    String(Math.ceil(Date.now() / 1000) + 1),
    "--filter",
    "network=blue",
    "--format",
    "{{.Action}} {{.Actor.Attributes.name}}",
  ]);
  expect(events).toContain("connect blue");
  expect(events.split("\n").at(-1)).toBe("disconnect blue");
  await engine.ok(["rm", "-f", "web", "peer"]);
});

test("a stopped container keeps what it was connected to", async () => {
  const networks = ["--network", "name=red,alias=a1", "--network", "name=blue,ip=10.242.0.60"];
  await engine.ok(["create", "--name", "later", ...networks, ...SLEEP]);
  await engine.ok(["network", "connect", "--ip", "10.243.0.9", "green", "later"]);
  await engine.ok(["network", "disconnect", "blue", "later"]);
  expect(Object.keys(await networksOf("later"))).toEqual(["green", "red"]);
  await engine.ok(["start", "later"]);
  expect(await exec("later", "ip", "-o", "-4", "addr")).toContain("10.243.0.9/24");
  // Of equal priorities the first name has the default route.
  expect(await exec("later", "ip", "route")).toContain("default via 10.243.0.1 dev eth1");
  const refused = await engine.docker(["network", "disconnect", "blue", "later"]);
  expect(refused.stderr).toContain("is not connected to network blue");
  await engine.ok(["network", "disconnect", "green", "later"]);
  await engine.ok(["network", "disconnect", "red", "later"]);
  expect(await exec("later", "ip", "-o", "addr")).not.toContain("eth");
  await engine.ok(["rm", "-f", "later"]);
});

test("published ports follow the default route, and go with the last network", async () => {
  const httpd = ["sh", "-c", "echo hello > /index.html; exec httpd -f -p 80 -h /"];
  const port = ["-p", `${PORT}:80`];
  await engine.ok(["run", "-d", "--name", "web", ...port, "--network", "red", "busybox", ...httpd]);
  const urls = [`http://127.0.0.1:${PORT}/`, `http://[::1]:${PORT}/`];
  const answersHello = () =>
    eventually(async () => {
      const { stdout } = await run(["curl", "-s", "--noproxy", "*", "--max-time", "60", ...urls]);
      expect(stdout).toBe("hello\nhello\n");
    });
  await answersHello();
  await engine.ok(["network", "connect", "--gw-priority", "1", "blue", "web"]);
  await answersHello();
  await engine.ok(["network", "disconnect", "red", "web"]);
  await answersHello();
  expect(await engine.ok(["port", "web"])).toContain(`80/tcp -> 0.0.0.0:${PORT}`);
  await engine.ok(["network", "disconnect", "blue", "web"]);
  expect(await engine.ok(["port", "web"])).toBe("");
  await engine.ok(["network", "connect", "green", "web"]);
  await answersHello();
  await engine.ok(["rm", "-f", "web"]);
});

test("link names, hardware addresses and settings of one endpoint", async () => {
  const options = [
    "name=red",
    "mac-address=02:42:00:00:00:aa",
    "driver-opt=com.docker.network.endpoint.ifname=lan7",
    "driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1",
  ].join(",");
  await engine.ok(["run", "-d", "--name", "tuned", "--network", options, ...SLEEP]);
  expect(await exec("tuned", "ip", "link", "show", "lan7")).toContain("02:42:00:00:00:aa");
  expect(await exec("tuned", "cat", "/proc/sys/net/ipv4/conf/lan7/log_martians")).toBe("1");
  const key = await engine.ok(["inspect", "-f", "{{.NetworkSettings.SandboxKey}}", "tuned"]);
  const joined = await run(["nsenter", `--net=${key}`, "ip", "-o", "link"]);
  expect(joined.stdout).toContain("lan7");
  const bad = "name=red,driver-opt=com.docker.network.endpoint.sysctls=kernel.shmmax=1";
  const refused = await engine.docker(["run", "--rm", "--network", bad, "busybox", "true"]);
  expect(refused.stderr).toContain("unrecognised network interface sysctl 'kernel.shmmax=1'");
  await engine.ok(["rm", "-f", "tuned"]);
});

test("none, host and shared networks are joined with no other", async () => {
  await engine.ok(["run", "-d", "--name", "none", "--network", "none", ...SLEEP]);
  await engine.ok(["run", "-d", "--name", "host", "--network", "host", ...SLEEP]);
  const refusal = async (...args: string[]) => (await engine.docker(["network", ...args])).stderr;
  const inside = async (network: string) =>
    Object.values(
      JSON.parse(
        await engine.ok(["network", "inspect", "-f", "{{json .Containers}}", network]),
      ) as object,
    );
  for (const name of ["none", "host"]) {
    const endpoint = `{{(index .NetworkSettings.Networks "${name}").EndpointID}}`;
    const EndpointID = await engine.ok(["inspect", "-f", endpoint, name]);
    const bare = { MacAddress: "", IPv4Address: "", IPv6Address: "" };
    expect(EndpointID).toHaveLength(64);
    expect(await inside(name)).toEqual([{ Name: name, EndpointID, ...bare }]);
    const id = await engine.ok(["network", "inspect", "-f", "{{.Id}}", name]);
    expect(await engine.ok(["ps", "--filter", `network=${id}`, "--format", "{{.Names}}"])).toBe(
      name,
    );
  }
  expect(await refusal("connect", "red", "none")).toContain("private (none) mode");
  expect(await refusal("connect", "red", "host")).toContain("container sharing network namespace");
  expect(await refusal("disconnect", "host", "host")).toContain("cannot disconnect container from");
  await engine.ok(["network", "disconnect", "none", "none"]);
  await engine.ok(["network", "connect", "red", "none"]);
  expect(await exec("none", "ip", "route")).toContain("default via 10.241.0.1");
  expect(await inside("none")).toEqual([]);
  await engine.ok(["stop", "-t", "0", "host"]);
  expect(await inside("host")).toEqual([]);
  await engine.ok(["rm", "-f", "none", "host"]);
});

test("a daemon that was killed finds networks and endpoints as they were", async () => {
  await engine.ok(["run", "-d", "--name", "stays", "--network", "red", ...SLEEP]);
  await engine.ok(["network", "connect", "--ip", "10.242.0.77", "blue", "stays"]);
  await engine.restartDaemon();
  expect((await networksOf("stays"))["blue"]).toMatchObject({ IPAddress: "10.242.0.77" });
  const clash = ["run", "--rm", "--network", "name=blue,ip=10.242.0.77", "busybox", "true"];
  expect((await engine.docker(clash)).stderr).toContain("Address already in use");
  await engine.ok(["run", "--rm", "--network", "blue", "busybox", "ping", "-c1", "10.242.0.77"]);
  await engine.ok(["network", "disconnect", "blue", "stays"]);
  await engine.ok(["rm", "-f", "stays"]);
});
