/** Kinds of networks and their options, by what a container sees and who reaches it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

import { type Engine, run, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";

let engine: Engine;
/** Links of the host that stand for hardware: `neighbour` is at its far end. */
let parent: string;
let neighbour: string;
beforeAll(async () => {
  engine = await startEngine({
    daemonFlags: ["--default-address-pool", "base=10.198.0.0/16,size=24"],
  });
  parent = `narut${engine.tag}p`;
  neighbour = `naru-test-${engine.tag}`;
  const commands = [
    `ip netns add ${neighbour}`,
    `ip link add ${parent} type veth peer name lan0 netns ${neighbour}`,
    `ip link set ${parent} up`,
    `ip addr add 198.51.100.1/24 dev ${parent}`,
    `ip -n ${neighbour} link set lo up`,
    `ip -n ${neighbour} link set lan0 up`,
    `ip -n ${neighbour} addr add 198.51.100.9/24 dev lan0`,
    `ip -n ${neighbour} addr add 10.77.0.9/24 dev lan0`,
    `ip -n ${neighbour} route add default via 198.51.100.1`,
  ];
  for (const command of commands) expect((await run(command.split(" "))).stderr).toBe("");
});
afterAll(async () => {
  await run(["ip", "link", "delete", parent]);
  await run(["ip", "netns", "delete", neighbour]);
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const PORTS = freePorts(6);
const SLEEP = ["busybox", "sleep", "1000"];
const HTTPD = ["busybox", "sh", "-c", "echo hello > /index.html; exec httpd -f -p 80 -h /"];
/** More than a busy machine needs; who answers is never waited for so long. */
const PATIENCE_SEC = 60;
const NAT = "com.docker.network.bridge";
const exec = (name: string, ...words: string[]) => engine.docker(["exec", name, ...words]);
const pings = async (name: string, address: string, waitSec = PATIENCE_SEC): Promise<boolean> =>
  (await exec(name, "ping", "-c", "1", "-W", String(waitSec), address)).code === 0;
/** Whether nothing is heard: not for long. */
const pingsInVain = async (name: string, address: string) => !(await pings(name, address, 1));
const fromNeighbour = (...words: string[]) => run(["ip", "netns", "exec", neighbour, ...words]);
const curlFor = (sec: number) => ["curl", "-s", "--noproxy", "*", "--max-time", String(sec)];
const curl = curlFor(PATIENCE_SEC);
const inspect = (name: string, format: string): Promise<string> =>
  engine.ok(["inspect", "-f", format, name]);

async function serving(name: string, ...flags: string[]): Promise<void> {
  await engine.ok(["run", "-d", "--name", name, ...flags, ...HTTPD]);
  const ready = ["sh", "-c", "until wget -qO- http://127.0.0.1/ >/dev/null; do :; done"];
  await engine.ok(["exec", name, ...ready]);
}

test("subnets come from the default address pool, beside what the host routes", async () => {
  await run(["ip", "route", "add", "10.198.1.0/24", "via", "198.51.100.9"]);
  const subnets: string[] = [];
  for (const name of ["p1", "p2"]) {
    await engine.ok(["network", "create", name]);
    subnets.push(await inspect(name, "{{(index .IPAM.Config 0).Subnet}}"));
  }
  // The default bridge has the first.
  expect(subnets).toEqual(["10.198.2.0/24", "10.198.3.0/24"]);
  await engine.ok(["network", "rm", "p1", "p2"]);
  await run(["ip", "route", "del", "10.198.1.0/24"]);
});

test("ip-range, gateway and auxiliary addresses are kept", async () => {
  const flags = ["--subnet", "10.80.0.0/24", "--ip-range", "10.80.0.128/30"];
  const aux = ["--gateway", "10.80.0.254", "--aux-address", "printer=10.80.0.129"];
  await engine.ok(["network", "create", ...flags, ...aux, "ranged"]);
  const seen: string[] = [];
  for (const name of ["r1", "r2", "r3"]) {
    await engine.ok(["run", "-d", "--name", name, "--network", "ranged", ...SLEEP]);
    seen.push(await inspect(name, "{{.NetworkSettings.Networks.ranged.IPAddress}}"));
  }
  expect(seen).toEqual(["10.80.0.128", "10.80.0.130", "10.80.0.131"]);
  const full = await engine.docker(["run", "--rm", "--network", "ranged", "busybox", "true"]);
  expect(full.stderr).toContain("no available IPv4 addresses on this network's address pools");
  await engine.ok(["rm", "-f", "r1", "r2", "r3"]);
  await engine.ok(["network", "rm", "ranged"]);
});

test("an internal network leads nowhere", async () => {
  await engine.ok(["network", "create", "--internal", "inner"]);
  await engine.ok(["run", "-d", "--name", "i1", "--network", "inner", ...SLEEP]);
  await engine.ok(["run", "-d", "--name", "i2", "--network", "inner", ...SLEEP]);
  expect((await exec("i1", "ip", "route")).stdout).not.toContain("default");
  expect(
    await pings("i1", await inspect("i2", "{{.NetworkSettings.Networks.inner.IPAddress}}")),
  ).toBe(true);
  // Not even with a route of its own making.
  const gateway = await inspect("inner", "{{(index .IPAM.Config 0).Gateway}}");
  await engine.ok([
    "run",
    "-d",
    "--name",
    "i3",
    "--cap-add",
    "NET_ADMIN",
    "--network",
    "inner",
    ...SLEEP,
  ]);
  await exec("i3", "ip", "route", "add", "default", "via", gateway);
  expect(await pingsInVain("i3", "198.51.100.9")).toBe(true);
  await engine.ok(["rm", "-f", "i1", "i2", "i3"]);
  await engine.ok(["network", "rm", "inner"]);
});

test("both families: addresses, routes, published ports and neighbours", async () => {
  const flags = ["--ipv6", "--subnet", "fd7a:1::/64", "--subnet", "10.81.0.0/24"];
  await engine.ok(["network", "create", ...flags, "dual"]);
  await serving("d1", "--network", "dual", "--ip6", "fd7a:1::5", "-p", `${PORTS}:80`);
  await engine.ok(["run", "-d", "--name", "d2", "--network", "dual", ...SLEEP]);
  expect((await exec("d2", "ip", "-6", "route")).stdout).toContain("default via fd7a:1::1");
  expect((await exec("d2", "ping", "-6", "-c", "1", "-W", "60", "fd7a:1::5")).code).toBe(0);
  expect((await exec("d2", "wget", "-qO-", "http://[fd7a:1::5]/")).stdout).toBe("hello\n");
  const urls = [`http://127.0.0.1:${PORTS}/`, `http://[::1]:${PORTS + 0}/`];
  expect((await run([...curl, ...urls])).stdout).toBe("hello\nhello\n");
  expect(await inspect("d1", "{{.NetworkSettings.Networks.dual.GlobalIPv6Address}}")).toBe(
    "fd7a:1::5",
  );
  // A network that names no subnet gets one of the host's own.
  await engine.ok(["network", "create", "--ipv6", "--ipv4=false", "six"]);
  expect(await inspect("six", "{{(index .IPAM.Config 0).Subnet}}")).toMatch(/^fd.*::\/64$/);
  await serving("s1", "--network", "six", "-p", `${PORTS + 1}:80`);
  expect((await exec("s1", "ip", "-4", "-o", "addr")).stdout).not.toContain("eth0");
  expect((await run([...curl, `http://127.0.0.1:${PORTS + 1}/`])).stdout).toBe("hello\n");
  await engine.ok(["rm", "-f", "d1", "d2", "s1"]);
  await engine.ok(["network", "rm", "dual", "six"]);
});

const BR_NETFILTER = ["iptables", "ip6tables"].map(
  (name) => `/proc/sys/net/bridge/bridge-nf-call-${name}`,
);
const brNetfilter = BR_NETFILTER.every((path) => existsSync(path)) ? ["1", "0"] : ["none"];

test.each(brNetfilter)(
  "enable_icc=false keeps neighbours apart, not anybody from published ports (br_netfilter: %s)",
  async (setting) => {
    const before =
      setting === "none"
        ? []
        : BR_NETFILTER.map((path) => [path, readFileSync(path, "utf8")] as const);
    for (const [path] of before) writeFileSync(path, setting);
    try {
      const both = ["--ipv6", "--subnet", "10.85.0.0/24", "--subnet", "fd00:a9a7::/64"];
      await engine.ok(["network", "create", ...both, "-o", `${NAT}.enable_icc=false`, "apart"]);
      await serving("a1", "--network", "apart", "-p", `${PORTS + 2}:80`);
      const flags = ["--network", "apart", "--cap-add", "NET_ADMIN"];
      await engine.ok(["run", "-d", "--name", "a2", ...flags, ...SLEEP]);
      const address = await inspect("a1", "{{.NetworkSettings.Networks.apart.IPAddress}}");
      const gateway = await inspect("a1", "{{.NetworkSettings.Networks.apart.Gateway}}");
      const address6 = await inspect("a1", "{{.NetworkSettings.Networks.apart.GlobalIPv6Address}}");
      expect(await pings("a2", "fd00:a9a7::1")).toBe(true);
      expect(await pingsInVain("a2", address6)).toBe(true);
      const hardware = await inspect("a1", "{{.NetworkSettings.Networks.apart.MacAddress}}");
      expect(await pings("a2", gateway)).toBe(true);
      const shown = (await exec("a2", "arp", "-n", gateway)).stdout;
      const [host = ""] = /[0-9a-f]{2}(?::[0-9a-f]{2}){5}/.exec(shown) ?? [];
      expect(await pingsInVain("a2", address)).toBe(true);
      // Neither by its hardware address nor by way of the host.
      for (const at of [hardware, host]) {
        await engine.ok(["exec", "a2", "arp", "-s", address, at]);
        expect(await pingsInVain("a2", address)).toBe(true);
      }
      for (const asker of ["a2", "a1"]) {
        for (const host of [gateway, "[fd00:a9a7::1]"]) {
          const ask = ["wget", "-qO-", `http://${host}:${PORTS + 2}/`];
          expect((await exec(asker, ...ask)).stdout).toBe("hello\n");
        }
      }
      expect((await run([...curl, `http://127.0.0.1:${PORTS + 2}/`])).stdout).toBe("hello\n");
    } finally {
      for (const [path, own] of before) writeFileSync(path, own);
      await engine.docker(["rm", "-f", "a1", "a2"]);
      await engine.docker(["network", "rm", "apart"]);
    }
  },
);

test("bridge options: name, mtu, host binding, no masquerade, no address", async () => {
  const bridge = `${engine.bridge}-x`;
  const options = [
    `${NAT}.name=${bridge}`,
    `${NAT}.host_binding_ipv4=127.0.0.1`,
    `${NAT}.enable_ip_masquerade=false`,
    "com.docker.network.driver.mtu=1300",
  ].flatMap((option) => ["-o", option]);
  await engine.ok(["network", "create", ...options, "--subnet", "10.82.0.0/24", "tuned"]);
  await serving("t1", "--network", "tuned", "-p", `${PORTS + 3}:80`);
  expect((await run(["ip", "-o", "addr", "show", bridge])).stdout).toContain("10.82.0.1/24");
  expect((await exec("t1", "ip", "link", "show", "eth0")).stdout).toContain("mtu 1300");
  expect(await engine.ok(["port", "t1"])).toBe(`80/tcp -> 127.0.0.1:${PORTS + 3}`);
  const ruleset = (
    await run(["nft", "list", "set", "inet", `naru_${engine.bridge}`, "masqueraded"])
  ).stdout;
  expect(ruleset).not.toContain("10.82.0.0");
  const inhibited = ["-o", `${NAT}.inhibit_ipv4=true`, "-o", `${NAT}.name=${bridge}2`];
  await engine.ok(["network", "create", ...inhibited, "bare"]);
  expect((await run(["ip", "-o", "-4", "addr", "show", `${bridge}2`])).stdout).toBe("");
  await engine.ok(["rm", "-f", "t1"]);
  await engine.ok(["network", "rm", "tuned", "bare"]);
});

test("a neighbour of the host reaches what is published, and nothing else", async () => {
  await engine.ok(["network", "create", "--subnet", "10.83.0.0/24", "nat"]);
  await engine.ok([
    "network",
    "create",
    "--subnet",
    "10.84.0.0/24",
    "-o",
    `${NAT}.gateway_mode_ipv4=routed`,
    "routed",
  ]);
  await serving(
    "n1",
    "--network",
    "nat",
    "--ip",
    "10.83.0.5",
    "-p",
    `198.51.100.1:${PORTS + 4}:80`,
  );
  await serving("n2", "--network", "nat", "--ip", "10.83.0.6", "-p", `127.0.0.1:${PORTS + 5}:80`);
  await serving("n3", "--network", "routed", "--ip", "10.84.0.5", "-p", "80", "--expose", "81");
  await exec("n3", "sh", "-c", "httpd -p 81 -h /");
  const ask = async (url: string) => (await fromNeighbour(...curl, url)).stdout;
  const askInVain = async (...urls: string[]) =>
    (await Promise.all(urls.map((url) => fromNeighbour(...curlFor(2), url))))
      .map(({ stdout }) => stdout)
      .join("");
  expect(await ask(`http://198.51.100.1:${PORTS + 4}/`)).toBe("hello\n");
  expect(await ask("http://10.84.0.5/")).toBe("hello\n");
  const unheard = ["http://10.83.0.5/", "http://10.83.0.6:80/", "http://10.84.0.5:81/"];
  expect(await askInVain(...unheard, `http://198.51.100.1:${PORTS + 5}/`)).toBe("");
  // Forged: to the host's loopback, through the link.
  await fromNeighbour("ip", "addr", "del", "127.0.0.1/8", "dev", "lo");
  await fromNeighbour("ip", "route", "add", "127.0.0.1/32", "via", "198.51.100.1");
  await fromNeighbour("sysctl", "-q", "-w", "net.ipv4.conf.lan0.route_localnet=1");
  expect(await askInVain(`http://127.0.0.1:${PORTS + 5}/`)).toBe("");
  await engine.ok(["rm", "-f", "n1", "n2", "n3"]);
  await engine.ok(["network", "rm", "nat", "routed"]);
});

/** Whether the kernel can make links of a kind. */
function hasKind(...kind: string[]): boolean {
  const name = `narut${process.pid % 10_000}k`;
  const lower = kind[0] === "dummy" ? [] : ["link", "lo"];
  const made = Bun.spawnSync(["ip", "link", "add", ...lower, "name", name, "type", ...kind], {
    stderr: "pipe",
  });
  Bun.spawnSync(["ip", "link", "delete", name], { stderr: "ignore" });
  return made.exitCode === 0 || !made.stderr.toString().includes("Unknown device type");
}

const lan = ["--subnet", "10.77.0.0/24", "--gateway", "10.77.0.9"];
const kinds = [
  ["macvlan", "macvlan_mode=bridge", true],
  ["macvlan", "macvlan_mode=private", true],
  ["ipvlan", "ipvlan_mode=l2", true],
  ["ipvlan", "ipvlan_mode=l3", false],
] as const;
for (const [driver, mode, isLayer2] of kinds) {
  test.skipIf(!hasKind(driver))(
    `containers with ${mode} are machines of the parent's network`,
    async () => {
      const options = ["-d", driver, "-o", mode, "-o", `parent=${parent}`];
      await engine.ok(["network", "create", ...options, ...lan, "lan"]);
      await engine.ok([
        "run",
        "-d",
        "--name",
        "l1",
        "--network",
        "lan",
        "--ip",
        "10.77.0.20",
        ...SLEEP,
      ]);
      await engine.ok(["run", "-d", "--name", "l2", "--network", "lan", ...SLEEP]);
      const isPrivate = mode === "macvlan_mode=private";
      expect(await (isPrivate ? pingsInVain : pings)("l2", "10.77.0.20")).toBe(true);
      if (isLayer2) expect(await pings("l1", "10.77.0.9")).toBe(true);
      expect((await exec("l1", "ip", "route")).stdout).toContain(
        isLayer2 ? "default via 10.77.0.9" : "default dev eth0",
      );
      await engine.ok(["network", "disconnect", "lan", "l2"]);
      expect((await exec("l2", "ip", "-o", "link")).stdout).not.toContain("eth0");
      await engine.ok(["rm", "-f", "l1", "l2"]);
      await engine.ok(["network", "rm", "lan"]);
    },
  );
}

test("a parent link that is not there is refused, a VLAN of one that is is made", async () => {
  const create = async (...args: string[]) =>
    (await engine.docker(["network", "create", "-d", "macvlan", ...args])).stderr;
  expect(await create("-o", "parent=nope0", "lan")).toContain(
    "invalid subinterface vlan name nope0",
  );
  expect(await create("-o", "parent=nope0.9", "lan")).toContain("was not found on the host: nope0");
  expect(await create("-o", "parent=lo", "lan")).toContain("loopback interface is not a valid");
  expect(await create("-o", "macvlan_mode=x", "lan")).toContain("macvlan mode 'x' is not valid");
  expect(await engine.ok(["network", "ls", "-q", "-f", "name=lan"])).toBe("");
});

test.skipIf(!hasKind("vlan", "id", "9"))(
  "a VLAN of the parent link is made, and taken away",
  async () => {
    await engine.ok(["network", "create", "-d", "macvlan", "-o", `parent=${parent}.7`, "tagged"]);
    expect((await run(["ip", "-d", "link", "show", `${parent}.7`])).stdout).toContain("id 7");
    await engine.ok(["network", "rm", "tagged"]);
    expect((await run(["ip", "link", "show", `${parent}.7`])).code).toBe(1);
  },
);

test.skipIf(!hasKind("dummy"))(
  "without a parent, macvlan containers have only each other",
  async () => {
    await engine.ok(["network", "create", "-d", "macvlan", "--internal", "alone"]);
    await engine.ok(["run", "--rm", "--network", "alone", "busybox", "ip", "addr", "show", "eth0"]);
    await engine.ok(["network", "rm", "alone"]);
  },
);

test("anti-spoofing lets a container speak for itself only", async () => {
  await engine.ok([
    "network",
    "create",
    "-o",
    "naru.network.antispoofing=true",
    "--subnet",
    "10.85.0.0/24",
    "honest",
  ]);
  const own = ["--network", "honest", "--cap-add", "NET_ADMIN"];
  await engine.ok(["run", "-d", "--name", "h1", ...own, "--ip", "10.85.0.5", ...SLEEP]);
  await engine.ok(["run", "-d", "--name", "h2", ...own, "--ip", "10.85.0.6", ...SLEEP]);
  expect(await pings("h1", "10.85.0.6")).toBe(true);
  // Another address.
  await exec("h1", "ip", "addr", "add", "10.85.0.9/24", "dev", "eth0");
  expect(
    (await exec("h1", "ping", "-I", "10.85.0.9", "-c", "1", "-W", "1", "10.85.0.6")).code,
  ).toBe(1);
  // Another's hardware address.
  await exec("h1", "ip", "link", "set", "eth0", "address", "02:42:0a:55:00:09");
  expect(await pingsInVain("h1", "10.85.0.6")).toBe(true);
  await engine.ok(["rm", "-f", "h1", "h2"]);
  await engine.ok(["network", "rm", "honest"]);
});
