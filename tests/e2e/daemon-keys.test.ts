/** Keys of the configuration file, many at once: what containers, networks, registries and the log show of each. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
/** Every address that is asked through it, by its host. */
const asked: string[] = [];
let proxy: Bun.Server<undefined>;

beforeAll(async () => {
  proxy = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => {
      asked.push(request.headers.get("host") ?? "");
      return new Response("", { status: 404 });
    },
  });
  engine = await startEngine();
  const runtime = join(engine.root, "runtime");
  writeFileSync(runtime, `#!/bin/sh\necho "$@" >>${engine.root}/runtime.log\nexec runc "$@"\n`);
  chmodSync(runtime, 0o755);
  process.kill(engine.daemonPid, "SIGTERM");
  await engine.daemonEnded();
  const options = {
    bip: "10.233.77.1/24",
    mtu: 1388,
    dns: ["192.0.2.1"],
    "dns-opts": ["ndots:3"],
    "dns-search": ["from.operator"],
    "default-address-pools": [{ base: "10.233.80.0/20", size: 26 }],
    init: true,
    "log-driver": "local",
    "log-opts": { "max-size": "1m" },
    "log-format": "json",
    "log-level": "debug",
    "default-runtime": "operators",
    runtimes: { operators: { path: runtime } },
    "http-proxy": `http://127.0.0.1:${proxy.port}`,
    "https-proxy": `http://127.0.0.1:${proxy.port}`,
    "no-proxy": "direct.invalid",
    "insecure-registries": ["behind.invalid", "direct.invalid"],
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "max-concurrent-uploads": 1,
    "max-download-attempts": 1,
  };
  writeFileSync(join(engine.root, "daemon.json"), JSON.stringify(options));
  await engine.startDaemon(undefined, [], ["env", "DOCKER_MIN_API_VERSION=1.44"]);
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
  await proxy.stop(true);
});

test("a container has the operator's addresses, resolver, init, runtime and log", async () => {
  const script = "ip -o -4 address show eth0; ip route; cat /etc/resolv.conf /proc/1/comm";
  const id = await engine.ok(["run", "-d", "busybox", "sh", "-c", `${script}; ip link show eth0`]);
  expect(await engine.ok(["wait", id])).toBe("0");
  const seen = await engine.ok(["logs", id]);
  expect(seen).toMatch(/inet 10\.233\.77\.\d+\/24 /);
  expect(seen).toContain("default via 10.233.77.1 dev eth0");
  expect(seen).toContain("nameserver 192.0.2.1\nsearch from.operator\noptions ndots:3");
  expect(seen).toContain("\ndocker-init\n");
  expect(seen).toContain(" mtu 1388 ");
  const told = await engine.ok([
    "inspect",
    "-f",
    "{{json .HostConfig.LogConfig}} {{.HostConfig.Runtime}}",
    id,
  ]);
  expect(told).toBe('{"Type":"local","Config":{"max-size":"1m"}} operators');
  expect(readFileSync(join(engine.root, "runtime.log"), "utf8")).toContain(id);
  await engine.ok(["rm", id]);
});

test("networks get their subnets of the operator's pools", async () => {
  const format = "{{(index .IPAM.Config 0).Subnet}}";
  const subnets: string[] = [];
  for (const name of ["one", "two"]) {
    await engine.ok(["network", "create", name]);
    subnets.push(await engine.ok(["network", "inspect", name, "-f", format]));
  }
  expect(subnets).toEqual(["10.233.80.0/26", "10.233.80.64/26"]);
  expect(await engine.ok(["info", "-f", "{{json .DefaultAddressPools}}"])).toBe(
    '[{"Base":"10.233.80.0/20","Size":26}]',
  );
  await engine.ok(["network", "rm", "one", "two"]);
});

test("registries are asked through the operator's proxies, but for those that need none", async () => {
  const pull = async (name: string) => (await engine.docker(["pull", `${name}/x`])).code;
  expect(await pull("behind.invalid")).not.toBe(0);
  expect(asked.map((host) => host.split(":")[0])).toContain("behind.invalid");
  expect(await pull("direct.invalid")).not.toBe(0);
  expect(asked.filter((host) => host.startsWith("direct"))).toEqual([]);
});

test("the oldest API is the one that the daemon's environment says", async () => {
  expect(await engine.ok(["version", "-f", "{{.Server.MinAPIVersion}}"])).toBe("1.44");
  const asking = (version: string) =>
    engine.docker(["ps", "-q"], { env: { DOCKER_API_VERSION: version } });
  expect((await asking("1.43")).stderr).toContain(
    "client version 1.43 is too old. Minimum supported API version is 1.44, please upgrade your client",
  );
  expect((await asking("1.44")).code).toBe(0);
});

test("the daemon's own log is written in the form that the operator wants", () => {
  const lines = engine
    .daemonLog()
    .split("\n")
    .filter((line) => line.startsWith("{"));
  expect(lines.length).toBeGreaterThan(0);
  for (const line of lines) {
    expect(JSON.parse(line)).toMatchObject({ level: expect.any(String), msg: expect.any(String) });
  }
});
