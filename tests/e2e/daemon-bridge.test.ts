/** dockerd's options of the default bridge, of new networks, runtimes and the build cache: what containers see of them. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";
import { textAt, until } from "./until.ts";

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine();
});

afterAll(async () => {
  await engine?.[Symbol.asyncDispose]();
});

async function restartWith(options: Record<string, unknown>): Promise<void> {
  const { daemonPid } = engine;
  process.kill(daemonPid, "SIGTERM");
  await engine.daemonEnded();
  writeFileSync(join(engine.root, "daemon.json"), JSON.stringify(options));
  await engine.startDaemon();
}

const shell = (script: string, ...flags: string[]): Promise<string> =>
  engine.ok(["run", "--rm", ...flags, "busybox", "sh", "-c", script]);

test("the default bridge has IPv6: addresses, a gateway, neighbours and published ports", async () => {
  await restartWith({ ipv6: true, "fixed-cidr-v6": "fd77:aaaa::/64" });
  const seen = await shell("ip -6 addr show eth0; ip -6 route");
  expect(seen).toMatch(/inet6 fd77:aaaa::[0-9a-f:]+\/64 scope global/);
  expect(seen).toContain("default via fd77:aaaa::1 dev eth0");
  expect(await shell("ping -6 -c 1 -W 5 fd77:aaaa::1")).toContain("1 packets received");
  const server = "printf 'HTTP/1.0 200 OK\\r\\n\\r\\nsix' | nc -l -p 80";
  const flags = ["-d", "--name", "six", "-p", "[::1]::80"];
  await engine.ok(["run", ...flags, "busybox", "sh", "-c", server]);
  const address = await engine.ok(["port", "six", "80"]);
  expect(await textAt(`http://${address}`)).toBe("six");
  await engine.ok(["rm", "-f", "six"]);
  const format = "{{.EnableIPv6}} {{range .IPAM.Config}}{{.Subnet}} {{.Gateway}};{{end}}";
  const told = await engine.ok(["network", "inspect", "bridge", "-f", format]);
  expect(told).toStartWith("true ");
  expect(told).toEndWith("fd77:aaaa::/64 fd77:aaaa::1;");
});

test("its IPv6 cannot be taken away while containers use it, and is gone after", async () => {
  await engine.ok(["run", "-d", "--name", "holds", "busybox", "sleep", "600"]);
  process.kill(engine.daemonPid, "SIGTERM");
  await engine.daemonEnded();
  expect(await engine.tryDaemon(["--fixed-cidr-v6=fd77:bbbb::/64", "--ipv6"])).toContain(
    "both as a flag and in the configuration file",
  );
  writeFileSync(join(engine.root, "daemon.json"), "{}");
  expect(await engine.tryDaemon([])).toContain(
    "the bridge's IPv6 subnet cannot change from fd77:aaaa::/64 to none while containers use it",
  );
  writeFileSync(
    join(engine.root, "daemon.json"),
    JSON.stringify({ ipv6: true, "fixed-cidr-v6": "fd77:aaaa::/64" }),
  );
  await engine.startDaemon();
  await engine.ok(["rm", "-f", "holds"]);
  await restartWith({});
  expect(await shell("ip -6 addr show eth0 scope global")).toBe("");
});

test("ranges, gateways and neighbours of the default bridge are as the operator says", async () => {
  const { IPAM: ipam } = JSON.parse(
    await engine.ok(["network", "inspect", "bridge", "-f", "{{json .}}"]),
  ) as { IPAM: { Config: { Subnet: string }[] } };
  const [a = "", b = "", c = ""] = (ipam.Config[0]?.Subnet ?? "").split(".");
  const net = `${a}.${b}.${c}`;
  await restartWith({
    "fixed-cidr": `${net}.64/27`,
    "default-gateway": `${net}.90`,
    icc: false,
    "userland-proxy": false,
  });
  const told = await engine.ok(["network", "inspect", "bridge", "-f", "{{json .IPAM.Config}}"]);
  expect(JSON.parse(told)).toMatchObject([
    { IPRange: `${net}.64/27`, AuxiliaryAddresses: { DefaultGatewayIPv4: `${net}.90` } },
  ]);
  const seen = await shell("ip -4 addr show eth0; ip route");
  const last = Number(/inet [\d.]+\.(\d+)\//.exec(seen)?.[1]);
  expect(last).toBeGreaterThanOrEqual(64);
  expect(last).toBeLessThan(96);
  expect(seen).toContain(`default via ${net}.90 dev eth0`);
  const server = "while printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhere' | nc -l -p 80; do :; done";
  await engine.ok(["run", "-d", "--name", "web", "-p", "80", "busybox", "sh", "-c", server]);
  const address = await engine.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]);
  expect(await shell(`nc -w 1 ${address} 80 </dev/null && echo open || echo closed`)).toBe(
    "closed",
  );
  // Only where the kernel leads: no [::], which a relay would have served.
  const ports = await engine.ok(["port", "web", "80"]);
  expect(ports).toMatch(/^0\.0\.0\.0:\d+$/);
  const refused = await engine.docker(["run", "--rm", "-p", "[::1]::80", "busybox", "true"]);
  expect(refused.stderr).toContain("because the userland proxy is disabled");
  await engine.ok(["rm", "-f", "web"]);
});

test("new networks get the operator's options where they say none themselves", async () => {
  await restartWith({
    "default-network-opts": { bridge: { "com.docker.network.driver.mtu": "1300" } },
  });
  const mtu = (network: string) => shell("cat /sys/class/net/eth0/mtu", "--network", network);
  await engine.ok(["network", "create", "plain"]);
  await engine.ok(["network", "create", "-o", "com.docker.network.driver.mtu=1234", "own"]);
  expect([await mtu("plain"), await mtu("own"), await mtu("bridge")]).toEqual([
    "1300",
    // Less than IPv6 needs: the kernel has none of it on such a link.
    "1234",
    "1500",
  ]);
  await engine.ok(["network", "rm", "plain", "own"]);
  await engine.ok(["network", "create", "-o", "com.docker.network.enable_ipv6=true", "six"]);
  expect(await shell("ip -6 addr show eth0 scope global", "--network", "six")).toContain(
    "inet6 fd",
  );
  await engine.ok(["network", "rm", "six"]);
});

test("a runtime is called with the words that the operator gave it", async () => {
  const log = join(engine.root, "words.log");
  const wrapper = join(engine.root, "wrapper");
  writeFileSync(wrapper, `#!/bin/sh\necho "$1 $2" >>${log}\nshift 2\nexec runc "$@"\n`);
  chmodSync(wrapper, 0o755);
  const runtimes = { worded: { path: wrapper, runtimeArgs: ["--first", "two words"] } };
  await restartWith({ runtimes });
  expect(await shell("echo ran", "--runtime", "worded")).toBe("ran");
  expect(readFileSync(log, "utf8")).toStartWith("--first two words\n");
  const told = await engine.ok(["info", "-f", "{{json .Runtimes.worded}}"]);
  expect(JSON.parse(told)).toMatchObject({ path: wrapper, runtimeArgs: ["--first", "two words"] });
});

test("the build cache is collected by the operator's policies, and not when that is off", async () => {
  await restartWith({ builder: { gc: { enabled: false } } });
  const build = { stdin: "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=2\n" };
  await engine.ok(["build", "-q", "-"], build);
  await engine.ok(["image", "prune", "-af", "--filter", "label!=keep"]);
  const used = async () => Number(await cacheItems());
  expect(await used()).toBeGreaterThan(0);
  await restartWith({ builder: { gc: { policy: [{ all: true, maxUsedSpace: "1MB" }] } } });
  await until(async () => (await used()) === 0);
});

const cacheItems = (): Promise<string> =>
  engine.ok(["system", "df", "--format", '{{if eq .Type "Build Cache"}}{{.TotalCount}}{{end}}']);

test("options that mean nothing here are refused by their names", async () => {
  process.kill(engine.daemonPid, "SIGTERM");
  await engine.daemonEnded();
  writeFileSync(join(engine.root, "daemon.json"), "{}");
  for (const [flag, why] of [
    ["--fixed-cidr-v6=fd00::/64", "fixed-cidr-v6 needs ipv6"],
    ["--rootless", "rootless cannot be true"],
    ["--metrics-addr=nowhere", "invalid metrics-addr"],
    ["--containerd=/run/c.sock", "containerd cannot be"],
    ["--default-gateway=fd00::1", "is not an IPv4 address"],
    ["--default-network-opt=nonsense", "use driver=name=value"],
  ] as const) {
    expect(await engine.tryDaemon([flag])).toContain(why);
  }
  await engine.startDaemon();
});

test("every JSON answer was as the definition says", () => {
  expect(engine.violations()).toEqual([]);
});
