import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { createSocket } from "node:dgram";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { openStore } from "#engine/store";
import { allocate, attempt, checked } from "#linux/ffi";
import { inNetworkNamespace, openNamespace } from "#linux/namespace";
import { type Netlink, openNetlink } from "#linux/netlink";
import { openNftables } from "#linux/nftables";

import {
  buildNetwork,
  networkMigrations,
  type NetworkOptions,
  openNetworkService,
  PortReservations,
  type PortRequest,
} from "./index.ts";

const CLONE_NEWNET = 0x40000000;

/** This thread lives in a namespace of its own while the file runs: a host of our own, with nobody else on it. */
let home = -1;
let netlink: Netlink;
beforeAll(() => {
  home = openSync("/proc/thread-self/ns/net", "r");
});
afterAll(() => {
  checked("setns", "net", home, CLONE_NEWNET);
  closeSync(home);
});

const cleanups: (() => unknown)[] = [];
beforeEach(() => {
  checked("unshare", "net", CLONE_NEWNET);
  netlink = openNetlink();
  netlink.setLink("lo", { up: true });
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "0");
  cleanups.push(() => netlink[Symbol.dispose]());
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A process in a network namespace of its own. */
async function namespaceProcess(): Promise<{ pid: number; fd: number; end(): Promise<void> }> {
  const child = Bun.spawn(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 600"], {
    stdout: "pipe",
  });
  await child.stdout.getReader().read();
  const fd = openNamespace(child.pid, "net");
  const end = async () => {
    child.kill(9);
    await child.exited;
  };
  cleanups.push(async () => {
    await end();
    closeSync(fd);
  });
  return { pid: child.pid, fd, end };
}

function openEngine(options: NetworkOptions = {}, folder?: string, nftables = openNftables()) {
  const path = folder ?? mkdtempSync("/tmp/naru-test-network-");
  if (folder === undefined) cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  const store = openStore({ path: join(path, "naru.db"), migrations: networkMigrations });
  const reservations = new PortReservations();
  const warnings: string[] = [];
  const service = openNetworkService({
    store,
    portHolder: {
      reserve: (request) => reservations.reserve(request),
      release: (id) => Promise.resolve(reservations.release(id)),
      list: () => Promise.resolve(reservations.list()),
    },
    options: { bridge: "narut0", ...options },
    events: { publish: () => undefined },
    warn: (message) => void warnings.push(message),
    nftables,
  });
  const close = () => {
    service[Symbol.dispose]();
    store[Symbol.dispose]();
  };
  cleanups.push(() => {
    for (const { id } of reservations.list()) reservations.release(id);
    close();
  });
  return { service, reservations, warnings, path, close };
}

type Engine = ReturnType<typeof openEngine>;

/** A container as the engine makes it: attached, built, published; without processes but one that sleeps. */
async function start(engine: Engine, id: string, ports: readonly PortRequest[] = []) {
  const { service } = engine;
  const process = await namespaceProcess();
  const attached = await service.attach({
    containerId: id,
    networks: [{ network: "bridge" }],
    ports,
  });
  buildNetwork({ networkNamespace: process.fd, attachment: attached.attachment });
  await service.publish(id, attached.ports);
  const [endpoint] = attached.endpoints;
  if (!endpoint) throw new Error("no endpoint");
  return { ...process, ...attached, endpoint, address: endpoint.link.address };
}

const inside = (pid: number): string[] => ["nsenter", "-t", `${pid}`, "-n"];

/** Answers every connection with `hello <peer>`. */
async function serve(
  prefix: readonly string[],
  listen: string,
  answer = "hello $SOCAT_PEERADDR",
): Promise<void> {
  const server = Bun.spawn(
    [...prefix, "socat", "-d", "-d", `${listen},fork`, `SYSTEM:read line; echo ${answer}`],
    { stdin: "ignore", stdout: "ignore", stderr: "pipe" },
  );
  cleanups.push(async () => {
    server.kill(9);
    await server.exited;
  });
  const reader = server.stderr.getReader();
  let text = "";
  while (!/listening on|receiving on|recvfrom/i.test(text)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`socat ended: ${text}`);
    text += new TextDecoder().decode(value);
  }
  // Nobody reads its messages any more; a full pipe would stop it.
  void (async () => {
    while (!(await reader.read()).done);
  })();
}

const serveTcp = (pid: number, port = 80) =>
  serve(inside(pid), `TCP-LISTEN:${port},reuseaddr,backlog=50`);
const serveUdp = (pid: number, port = 81, answer?: string) =>
  serve(inside(pid), `UDP-RECVFROM:${port}`, answer);

/** More than a busy machine needs; who answers is never waited for so long. */
const PATIENCE_SEC = 20;

/** What a client hears first, as soon as it does; "" when there is nothing to hear. */
async function ask(
  address: string,
  prefix: readonly string[] = [],
  waitSec = PATIENCE_SEC,
): Promise<string> {
  const wait = address.startsWith("TCP") ? `,connect-timeout=${waitSec}` : "";
  const client = Bun.spawn([...prefix, "socat", "-t", `${waitSec}`, "-", `${address}${wait}`], {
    stdin: Buffer.from("x\n"),
    stdout: "pipe",
    stderr: "ignore",
    env: { ...process.env, SOCAT_DEFAULT_LISTEN_IP: "4" },
  });
  let heard = "";
  for await (const chunk of client.stdout) {
    heard += new TextDecoder().decode(chunk);
    if (heard.includes("\n")) break;
  }
  client.kill(9);
  await client.exited;
  return heard.trim();
}

/** The same where nothing should be heard: not for long. */
const askInVain = (address: string, prefix: readonly string[] = []) => ask(address, prefix, 1);

/** Every answer under its question's name. */
async function allOf(asked: Record<string, Promise<string>>): Promise<Record<string, string>> {
  const answers = Object.entries(asked).map(async ([name, answer]) => [name, await answer]);
  return Object.fromEntries((await Promise.all(answers)) as [string, string][]);
}

const port = (hostPort: number, more: Partial<PortRequest> = {}): PortRequest => ({
  protocol: "tcp",
  containerPort: 80,
  hostAddress: "",
  hostPort,
  ...more,
});

/** A machine beside the host: 192.0.2.9 on a link where the host is 192.0.2.1. */
async function outside() {
  const process = await namespaceProcess();
  netlink.addLink({
    kind: "veth",
    name: "narutx",
    peer: { name: "eth0", namespace: { fd: process.fd } },
  });
  netlink.setLink("narutx", { up: true });
  netlink.addAddress({ link: "narutx", address: "192.0.2.1", prefixLength: 24 });
  const prefix = inside(process.pid);
  const command = "ip link set lo up; ip addr add 192.0.2.9/24 dev eth0; ip link set eth0 up";
  Bun.spawnSync([...prefix, "sh", "-c", `${command}; ip route add default via 192.0.2.1`]);
  return { ...process, prefix };
}

const setting = (name: string): string => readFileSync(`/proc/sys/net/${name}`, "utf8").trim();

test("ensure makes a bridge with a free subnet, and again changes nothing", async () => {
  const { service } = openEngine();
  await service.ensure();
  await service.ensure();
  const network = service.resolve("bridge");
  expect(network).toMatchObject({ subnet: "172.17.0.0/16", gateway: "172.17.0.1", mtu: 1500 });
  expect(service.list().map(({ name, driver }) => [name, driver])).toEqual([
    ["bridge", "bridge"],
    ["host", "host"],
    ["none", "null"],
  ]);
  expect(netlink.getLink("narut0")).toMatchObject({ kind: "bridge", up: true });
  expect(netlink.listAddresses().filter(({ link }) => link === "narut0")).toEqual([
    { link: "narut0", address: "172.17.0.1", prefixLength: 16 },
  ]);
  expect(setting("ipv4/ip_forward")).toBe("1");
  expect(service.resolve(network.id.slice(0, 12)).name).toBe("bridge");
  expect(() => service.resolve("nope")).toThrow("network nope not found");
});

test("the chosen subnet avoids the host's addresses and routes, and stays over restarts", async () => {
  netlink.addLink({ kind: "bridge", name: "narut1" });
  netlink.setLink("narut1", { up: true });
  netlink.addAddress({ link: "narut1", address: "172.17.3.1", prefixLength: 24 });
  const destination = { address: "172.18.0.0", prefixLength: 15 };
  netlink.addRoute({ destination, gateway: "172.17.3.2", link: "narut1" });
  const first = openEngine();
  await first.service.ensure();
  const { id, subnet } = first.service.resolve("bridge");
  expect(subnet).toBe("172.20.0.0/16");
  first.close();
  netlink.deleteLink("narut0");
  netlink.deleteLink("narut1");
  const second = openEngine({}, first.path);
  await second.service.ensure();
  expect(second.service.resolve("bridge")).toMatchObject({ id, subnet });
});

test("--bip, --fixed-cidr and --mtu are honoured, and refused when they make no sense", async () => {
  const bip = "10.200.0.1/24";
  const { service } = openEngine({ bip, fixedCidr: "10.200.0.128/30", mtu: 1400 });
  await service.ensure();
  const addresses: string[] = [];
  for (const containerId of ["a", "b", "c", "d"]) {
    const { endpoints } = await service.attach({
      containerId,
      networks: [{ network: "bridge" }],
      ports: [],
    });
    addresses.push(...endpoints.map(({ link }) => link.address));
    expect(endpoints[0]?.link).toMatchObject({
      prefixLength: 24,
      gateway: "10.200.0.1",
      mtu: 1400,
    });
  }
  expect(addresses).toEqual(["10.200.0.128", "10.200.0.129", "10.200.0.130", "10.200.0.131"]);
  const full = service.attach({ containerId: "e", networks: [{ network: "bridge" }], ports: [] });
  expect(await refusalOf(full)).toContain("no available IPv4 addresses on this network's address");
  expect(() => openEngine({ bip: "10.0.0.0/24" }).service.ensure()).toThrow("invalid");
  expect(() => openEngine({ bip: "10.0.0.1/31" }).service.ensure()).toThrow("invalid");
  expect(() => openEngine({ bridge: "a name that is long" })).toThrow("invalid bridge name");
});

const refusalOf = (attempt: Promise<unknown>): Promise<string> =>
  attempt.then(
    () => "nothing was refused",
    (thrown: Error) => thrown.message,
  );

test("the lowest free address is given, and one that was given back is free once its link is gone", async () => {
  const { service } = openEngine({ bip: "10.200.0.1/29" });
  await service.ensure();
  const next = async (containerId: string) => {
    const { endpoints } = await service.attach({
      containerId,
      networks: [{ network: "bridge" }],
      ports: [],
    });
    return endpoints[0]?.link.address;
  };
  expect(await next("a")).toBe("10.200.0.2");
  expect(await next("b")).toBe("10.200.0.3");
  expect(await next("c")).toBe("10.200.0.4");
  // Nobody made their links: they count as gone at once.
  await service.release("b");
  expect(await next("d")).toBe("10.200.0.3");
  await service.release("a");
  await service.release("c");
  expect(await next("c")).toBe("10.200.0.2");
  expect(await next("e")).toBe("10.200.0.4");
});

test("an address whose link is still there goes to nobody but its own container", async () => {
  const engine = openEngine({ bip: "10.200.0.1/29" });
  await engine.service.ensure();
  const first = await start(engine, "a");
  const again = async (containerId: string) => {
    const networks = [{ network: "bridge" }];
    const { endpoints } = await engine.service.attach({ containerId, networks, ports: [] });
    return endpoints[0]?.link.address;
  };
  // Its process lives on, and so does its link: as when another container shares its namespace.
  await engine.service.release("a");
  expect(await again("b")).not.toBe(first.address);
  expect(await again("a")).toBe(first.address);
});

test("a container has loopback, its address, and a way to neighbours, host and the world", async () => {
  const engine = openEngine();
  await engine.service.ensure();
  const world = await outside();
  await serve(world.prefix, "TCP-LISTEN:7777,reuseaddr");
  const [a, b] = [await start(engine, "a"), await start(engine, "b")];
  await serveTcp(b.pid);
  expect(await ask(`TCP:${b.address}:80`, inside(a.pid))).toBe(`hello ${a.address}`);
  expect(await ask(`TCP:${b.address}:80`)).toBe("hello 172.17.0.1");
  // Out of the host its address is the host's.
  expect(await ask("TCP:192.0.2.9:7777", inside(a.pid))).toBe("hello 192.0.2.1");
  const links = Bun.spawnSync([...inside(a.pid), "ip", "-br", "addr"]).stdout.toString();
  expect(links).toMatch(/^lo .*127\.0\.0\.1\/8 ::1\/128/m);
  expect(links).toMatch(/^eth0@\S+ +UP +172\.17\.0\.2\/16 *$/m);
});

/** A connection made inside the namespace, which the host refuses. @returns how often it had to ask again */
function repeatsUntilRefused(fd: number, address: string): number {
  const socket = inNetworkNamespace(fd, () => checked("socket", "tcp", 2, 1, 0));
  const name = allocate(16);
  new DataView(name.buffer).setUint16(0, 2, true);
  name.set([0, 9, ...address.split(".").map(Number)], 2);
  expect(attempt("connect", socket, name, name.length)).toBe(-111);
  closeSync(socket);
  const counters = inNetworkNamespace(fd, () =>
    readFileSync("/proc/thread-self/net/netstat", "utf8"),
  );
  const [names = [], values = []] = counters
    .split("\n")
    .filter((line) => line.startsWith("TcpExt: "))
    .map((line) => line.split(" "));
  return Number(values[names.indexOf("TCPSynRetrans")]);
}

test("the very first packet of a container gets through", async () => {
  const engine = openEngine();
  await engine.service.ensure();
  for (let turn = 0; turn < 10; turn += 1) {
    const container = await start(engine, `a${turn}`);
    expect(repeatsUntilRefused(container.fd, "172.17.0.1")).toBe(0);
    // The last port of the bridge goes: the next is its first again.
    await container.end();
    netlink.deleteLink(container.endpoint.link.hostLink);
  }
});

test.each([
  ["off", "0"],
  ["on", "1"],
])("a published port answers on every address of the host, br_netfilter %s", async (_, filter) => {
  const switchPath = "/proc/sys/net/bridge/bridge-nf-call-iptables";
  if (existsSync(switchPath)) writeFileSync(switchPath, filter);
  const engine = openEngine();
  await engine.service.ensure();
  const world = await outside();
  const udp = port(8081, { protocol: "udp", containerPort: 81 });
  const a = await start(engine, "a", [port(8080), udp]);
  const b = await start(engine, "b");
  await serveTcp(a.pid);
  await serveUdp(a.pid);
  const heard = await allOf({
    loopback: ask("TCP:127.0.0.1:8080"),
    own: ask("TCP:192.0.2.1:8080"),
    gateway: ask("TCP:172.17.0.1:8080"),
    ipv6: ask("TCP6:[::1]:8080"),
    outside: ask("TCP:192.0.2.1:8080", world.prefix),
    neighbour: ask("TCP:172.17.0.1:8080", inside(b.pid)),
    neighbourOther: ask("TCP:192.0.2.1:8080", inside(b.pid)),
    itself: ask("TCP:192.0.2.1:8080", inside(a.pid)),
  });
  // The server loses what comes while it looks at another's: one at a time.
  const heardByUdp: Record<string, string> = {
    udpLoopback: await ask("UDP:127.0.0.1:8081"),
    udpOwn: await ask("UDP:192.0.2.1:8081"),
    udpIpv6: await ask("UDP6:[::1]:8081"),
    udpOutside: await ask("UDP:192.0.2.1:8081", world.prefix),
    udpNeighbour: await ask("UDP:172.17.0.1:8081", inside(b.pid)),
  };
  expect({ ...heard, ...heardByUdp }).toEqual({
    loopback: "hello 172.17.0.1",
    own: "hello 192.0.2.1",
    gateway: "hello 172.17.0.1",
    ipv6: "hello 172.17.0.1",
    outside: "hello 192.0.2.9",
    neighbour: "hello 172.17.0.1",
    neighbourOther: "hello 172.17.0.1",
    itself: "hello 172.17.0.1",
    udpLoopback: "hello 172.17.0.1",
    udpOwn: "hello 192.0.2.1",
    udpIpv6: "hello 172.17.0.1",
    udpOutside: "hello 192.0.2.9",
    udpNeighbour: "hello 172.17.0.1",
  });
  await engine.service.release("a");
  expect(await askInVain("TCP:127.0.0.1:8080")).toBe("");
  expect(await askInVain("TCP6:[::1]:8080")).toBe("");
  expect(await askInVain("TCP:192.0.2.1:8080", world.prefix)).toBe("");
});

test("a port of one host address answers there only, and before one of every address", async () => {
  const engine = openEngine();
  await engine.service.ensure();
  await outside();
  netlink.addAddress({ link: "narutx", address: "192.0.2.2", prefixLength: 32 });
  const a = await start(engine, "a", [port(8080, { hostAddress: "192.0.2.2" })]);
  await serveTcp(a.pid);
  expect(await ask("TCP:192.0.2.2:8080")).not.toBe("");
  expect(await askInVain("TCP:192.0.2.1:8080")).toBe("");
  expect(await askInVain("TCP:127.0.0.1:8080")).toBe("");
});

test("what is published on 127.0.0.1, and the host's own loopback, no neighbour can reach", async () => {
  const engine = openEngine();
  await engine.service.ensure();
  const world = await outside();
  const a = await start(engine, "a", [port(8080, { hostAddress: "127.0.0.1" })]);
  await serveTcp(a.pid);
  await serve([], "TCP-LISTEN:9999,bind=127.0.0.1,reuseaddr");
  expect(await ask("TCP:127.0.0.1:8080")).toBe("hello 172.17.0.1");
  expect(await ask("TCP:127.0.0.1:9999")).toBe("hello 127.0.0.1");
  expect(await askInVain("TCP:192.0.2.1:8080", world.prefix)).toBe("");
  // A neighbour with rights over its own network sends packets for 127.0.0.1 to the host.
  const b = await start(engine, "b");
  const force = (link: string, gateway: string, source: string) =>
    [
      "ip addr del 127.0.0.1/8 dev lo",
      "ip route del local 127.0.0.1 table local",
      "sysctl -qw net.ipv4.conf.all.route_localnet=1",
      `ip route add 127.0.0.1/32 via ${gateway} dev ${link} src ${source}`,
    ].join(";");
  Bun.spawnSync([...world.prefix, "sh", "-c", force("eth0", "192.0.2.1", "192.0.2.9")]);
  Bun.spawnSync([...inside(b.pid), "sh", "-c", force("eth0", "172.17.0.1", b.address)]);
  for (const from of [world.prefix, inside(b.pid)]) {
    expect(await askInVain("TCP:127.0.0.1:8080", from)).toBe("");
    expect(await askInVain("TCP:127.0.0.1:9999", from)).toBe("");
  }
});

test("nobody reaches a container by routing to its address, and the host is made no router", async () => {
  const engine = openEngine();
  const [one, other] = [await outside(), await namespaceProcess()];
  netlink.addLink({
    kind: "veth",
    name: "naruty",
    peer: { name: "eth0", namespace: { fd: other.fd } },
  });
  netlink.setLink("naruty", { up: true });
  netlink.addAddress({ link: "naruty", address: "198.51.100.1", prefixLength: 24 });
  const command = "ip addr add 198.51.100.9/24 dev eth0; ip link set eth0 up";
  Bun.spawnSync([
    ...inside(other.pid),
    "sh",
    "-c",
    `${command}; ip route add default via 198.51.100.1`,
  ]);
  await engine.service.ensure();
  const a = await start(engine, "a");
  await serveTcp(a.pid);
  await serve(inside(other.pid), "TCP-LISTEN:80,reuseaddr");
  expect(await ask("TCP:198.51.100.9:80")).toBe("hello 198.51.100.1");
  expect(await askInVain("TCP:198.51.100.9:80", one.prefix)).toBe("");
  expect(await askInVain(`TCP:${a.address}:80`, one.prefix)).toBe("");
  expect(await ask("TCP:198.51.100.9:80", inside(a.pid))).toBe("hello 198.51.100.1");
});

test("forwarding that was on before us stays as open as it was", async () => {
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
  const engine = openEngine();
  await engine.service.ensure();
  using nftables = openNftables();
  const rules = JSON.stringify(nftables.list("list chain inet naru_narut0 forwarded"));
  expect(rules).not.toContain("iifkind");
});

test("a taken port is an error before the start, in Docker's words, and nothing is kept", async () => {
  const { service } = openEngine();
  await service.ensure();
  const attach = (containerId: string) =>
    service.attach({
      containerId,
      containerName: "web",
      networks: [{ network: "bridge" }],
      ports: [port(8080)],
    });
  await attach("a");
  expect(await refusalOf(attach("b"))).toMatch(
    /^failed to set up container networking: driver failed programming external connectivity on endpoint web \([0-9a-f]{64}\): Bind for 0\.0\.0\.0:8080 failed: port is already allocated$/,
  );
  expect(service.endpointsOf("b")).toEqual([]);
  await service.release("a");
  expect((await attach("b")).ports).toHaveLength(2);
});

test("many containers at once get addresses and ports of their own", async () => {
  const { service } = openEngine();
  await service.ensure();
  const attached = await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      service.attach({
        containerId: `c${index}`,
        networks: [{ network: "bridge" }],
        ports: [port(0)],
      }),
    ),
  );
  const addresses = attached.map(({ endpoints }) => endpoints[0]?.link.address);
  expect(new Set(addresses).size).toBe(40);
  expect(new Set(attached.map(({ ports }) => ports[0]?.hostPort)).size).toBe(40);
});

test("a UDP client that never stops reaches the container that has the port now", async () => {
  const engine = openEngine();
  await engine.service.ensure();
  const udp = port(8081, { protocol: "udp", containerPort: 81 });
  const client = createSocket("udp4");
  cleanups.push(() => client.close());
  // Before anybody has the port: the kernel notes a connection without translation.
  await new Promise<void>((resolve) => client.send("x\n", 8081, "172.17.0.1", () => resolve()));
  const heard = async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    client.once("message", (bytes) => resolve(bytes.toString().trim()));
    client.send("x\n", 8081, "172.17.0.1");
    return promise;
  };
  const a = await start(engine, "a", [udp]);
  await serveUdp(a.pid, 81, "a");
  expect(await heard()).toBe("a");
  await engine.service.release("a");
  const b = await start(engine, "b", [udp]);
  await serveUdp(b.pid, 81, "b");
  expect(await heard()).toBe("b");
});

test("host and none get no endpoint, an unknown network is an error", async () => {
  const { service } = openEngine();
  await service.ensure();
  const attach = (...names: string[]) =>
    service.attach({
      containerId: "a",
      networks: names.map((network) => ({ network })),
      ports: [],
    });
  expect(await attach("host")).toEqual({
    attachment: { mode: "shared" },
    endpoints: [],
    ports: [],
  });
  expect(await attach("none")).toEqual({ attachment: { mode: "none" }, endpoints: [], ports: [] });
  expect(await refusalOf(attach("nope"))).toContain("network nope not found");
  expect(await refusalOf(attach("bridge", "none"))).toContain("private (none) mode");
});

test("a wiped ruleset is restored by the next publication, and by verify", async () => {
  const engine = openEngine();
  await engine.service.ensure();
  const a = await start(engine, "a", [port(8080)]);
  await serveTcp(a.pid);
  using nftables = openNftables();
  nftables.apply(["flush ruleset"]);
  const b = await start(engine, "b", [port(8082)]);
  await serveTcp(b.pid);
  expect(await ask("TCP:127.0.0.1:8080")).not.toBe("");
  expect(await ask("TCP:127.0.0.1:8082")).not.toBe("");
  nftables.apply(["flush ruleset"]);
  expect(engine.service.verify()).toBe(true);
  expect(engine.service.verify()).toBe(false);
  expect(await ask("TCP:127.0.0.1:8080")).not.toBe("");
  // The table is there still, and lets everything through.
  for (const chain of ["forwarded", "before_all"]) {
    nftables.apply([`flush chain inet naru_narut0 ${chain}`]);
    expect([engine.service.verify(), engine.service.verify()]).toEqual([true, false]);
  }
});

test("a deleted bridge is made again, and running containers are put back into it", async () => {
  const engine = openEngine();
  await engine.service.ensure();
  const a = await start(engine, "a");
  await serveTcp(a.pid);
  netlink.deleteLink("narut0");
  await engine.service.ensure();
  expect(await ask(`TCP:${a.address}:80`)).toBe("hello 172.17.0.1");
});

test("after a crash what belongs to dead containers is released, and the living go on", async () => {
  const before = openEngine();
  await before.service.ensure();
  const alive = await start(before, "alive", [port(8080)]);
  const dead = await start(before, "dead", [port(8081)]);
  await serveTcp(alive.pid);
  netlink.addLink({ kind: "veth", name: "naru0123456789", master: "narut0", peer: { name: "nx" } });
  before.close();
  for (const { id } of before.reservations.list()) before.reservations.release(id);

  const after = openEngine({}, before.path);
  await after.reservations.reserve({ id: "stranger", ports: [port(8090)], target: null });
  await after.service.ensure();
  await after.service.reconcile(new Set(["alive"]));
  const names = netlink.listLinks().map(({ name }) => name);
  expect(names).toContain(alive.endpoint.link.hostLink);
  expect(names).not.toContain(dead.endpoint.link.hostLink);
  expect(names).not.toContain("naru0123456789");
  expect(after.reservations.list().map(({ id }) => id)).toEqual(["alive"]);
  expect(after.service.endpointsIn(after.service.resolve("bridge").id)).toHaveLength(1);
  expect(await ask("TCP:127.0.0.1:8080")).not.toBe("");
  using nftables = openNftables();
  const elements = JSON.stringify(nftables.list("list map inet naru_narut0 publish_any"));
  expect(elements).toContain("8080");
  expect(elements).not.toContain("8081");
});

test("a disconnect from a macvlan network that a crash cut off is finished", async () => {
  const before = openEngine();
  await before.service.ensure();
  netlink.addLink({ kind: "veth", name: "narut1", peer: { name: "narut2" } });
  const network = await before.service.create({
    name: "lan",
    driver: "macvlan",
    ipv4: true,
    ipv6: false,
    internal: false,
    attachable: false,
    labels: {},
    options: { parent: "narut1" },
    ipam: { driver: "", options: {}, pools: [] },
  });
  const a = await start(before, "a");
  const owner = { containerId: "a", containerName: "a" };
  const joined = { owner, pid: a.pid, endpoint: { network: "lan" }, ports: [] };
  await before.service.connect(joined);
  const links = () =>
    Bun.spawnSync([...inside(a.pid), "ip", "-o", "link"])
      .stdout.toString()
      .match(/eth\d/g);
  expect(links()).toEqual(["eth0", "eth1"]);
  before.close();
  {
    // As the record stands between the decision and the deed.
    using store = openStore({ path: join(before.path, "naru.db"), migrations: networkMigrations });
    store.query("UPDATE endpoints SET leaving = 1 WHERE network_id = ?").run(network.id);
  }
  const after = openEngine({}, before.path);
  await after.service.ensure();
  await after.service.reconcile(new Set(["a"]), () => a.pid);
  expect(links()).toEqual(["eth0"]);
  expect(after.service.endpointsOf("a").map(({ networkName }) => networkName)).toEqual(["bridge"]);
  await after.service.connect(joined);
  expect(links()).toEqual(["eth0", "eth1"]);
  after.service.rename({ containerId: "a", containerName: "renamed" });
  const names = after.service.endpointsOf("a").map(({ dnsNames }) => dnsNames);
  expect(names).toEqual([[], ["renamed", "a"]]);
});

test.each([
  ["iptables-nft", true],
  ["iptables-legacy", true],
  ["iptables-nft", false],
])("where Docker drops by %s our bridge is let through, and taken back", async (program, user) => {
  const iptables = (...options: string[]) =>
    Bun.spawnSync([program, ...options])
      .stdout.toString()
      .trim()
      .split("\n");
  iptables("-P", "FORWARD", "DROP");
  if (user) {
    iptables("-N", "DOCKER-USER");
    iptables("-A", "DOCKER-USER", "-j", "RETURN");
    iptables("-I", "FORWARD", "-j", "DOCKER-USER");
  }
  const before = iptables("-S");
  const engine = openEngine();
  await engine.service.ensure();
  await engine.service.ensure();
  const world = await outside();
  await serve(world.prefix, "TCP-LISTEN:7777,reuseaddr");
  const a = await start(engine, "a", [port(8080)]);
  await serveTcp(a.pid);
  expect(await ask("TCP:192.0.2.9:7777", inside(a.pid))).toBe("hello 192.0.2.1");
  expect(await ask("TCP:192.0.2.1:8080", world.prefix)).toBe("hello 192.0.2.9");
  const chain = user ? "-A DOCKER-USER " : "-A FORWARD ";
  const ours = iptables("-S").filter((line) => line.includes("narut0"));
  expect(ours).toHaveLength(2);
  expect(ours.every((line) => line.startsWith(chain))).toBe(true);
  engine.service.uninstall();
  expect(iptables("-S")).toEqual(before);
  expect(netlink.getLink("narut0")).toBeNull();
});

test("two engines on one host leave each other alone", async () => {
  const one = openEngine();
  const other = openEngine({ bridge: "narut9" });
  await one.service.ensure();
  await other.service.ensure();
  const a = await start(one, "a", [port(8080)]);
  const b = await start(other, "b", [port(8081)]);
  await serveTcp(a.pid);
  await serveTcp(b.pid);
  await other.service.reconcile(new Set());
  expect(b.endpoint.link.address).toBe("172.18.0.2");
  expect(await ask("TCP:127.0.0.1:8080")).toBe("hello 172.17.0.1");
  expect(await askInVain("TCP:127.0.0.1:8081")).toBe("");
  expect(netlink.getLink(a.endpoint.link.hostLink)).not.toBeNull();
  expect(netlink.getLink(b.endpoint.link.hostLink)).toBeNull();
});

const FORWARD = "/proc/sys/net/ipv4/ip_forward";
const forwarded = () => readFileSync(FORWARD, "utf8").trim();

test("the host's forwarding is left alone, or opened for all, where the operator says so", async () => {
  const first = openEngine({ forward: false });
  await first.service.ensure();
  expect(forwarded()).toBe("0");
  first.close();
  const second = openEngine({ guardForwarding: false, bridge: "narut1" }, first.path);
  await second.service.ensure();
  expect(forwarded()).toBe("1");
  const table = (name: string) =>
    Bun.spawnSync(["nft", "list", "table", "inet", name]).stdout.toString();
  expect(table("naru_narut1")).not.toContain("meta nfproto ipv4 drop");
  second.close();
  const third = openEngine({ bridge: "narut1" }, first.path);
  await third.service.ensure();
  expect(table("naru_narut1")).toContain("meta nfproto ipv4 drop");
});

/** A request for a network that leaves everything to the engine. */
const plainNetwork = (name: string) => ({
  name,
  driver: "",
  ipv4: true,
  ipv6: false,
  internal: false,
  attachable: false,
  labels: {},
  options: {},
  ipam: { driver: "", options: {}, pools: [] },
});

/** A bridge that is not ours, and has no address yet: `docker7`. */
function addForeignBridge(): void {
  netlink.addLink({ kind: "bridge", name: "docker7", macAddress: "02:00:00:00:00:07", mtu: 1500 });
  netlink.setLink("docker7", { up: true });
}

test("a subnet that another program takes at the same instant is left to it", async () => {
  const engine = openEngine();
  await engine.service.ensure();
  const request = plainNetwork("net");
  const first = await engine.service.create(request);
  // A bridge that is not ours appears, and a moment later the address that its owner chose.
  addForeignBridge();
  await engine.service.remove("net");
  const racing = engine.service.create(request);
  await Bun.sleep(0);
  const address = first.gateway ?? "";
  netlink.addAddress({ link: "docker7", address, prefixLength: 16 });
  const second = await racing;
  expect(second.subnet).not.toBe(first.subnet);
  expect(netlink.getLink(second.bridge ?? "")?.up).toBe(true);
  expect(engine.service.list().filter(({ name }) => name === "net").length).toBe(1);
  expect(netlink.listLinks().filter(({ name }) => name.startsWith("narut0-")).length).toBe(1);
});

test("a default bridge, too, leaves its subnet to whoever takes it at the same instant", async () => {
  addForeignBridge();
  const nftables = openNftables();
  let isTaken = false;
  const racing: typeof nftables = {
    list: (command) => nftables.list(command),
    outline: (command) => nftables.outline(command),
    // The table is written between the choice and the bridge's address.
    apply: (commands) => {
      if (!isTaken)
        netlink.addAddress({ link: "docker7", address: "172.17.0.1", prefixLength: 16 });
      isTaken = true;
      nftables.apply(commands);
    },
    [Symbol.dispose]: () => nftables[Symbol.dispose](),
  };
  const { service } = openEngine({}, undefined, racing);
  await service.ensure();
  expect(service.resolve("bridge").subnet).toBe("172.18.0.0/16");
  const addresses = netlink.listAddresses().filter(({ link }) => link === "narut0");
  expect(addresses.map(({ address }) => address)).toEqual(["172.18.0.1"]);
  const table = Bun.spawnSync(["nft", "list", "table", "inet", "naru_narut0"]).stdout.toString();
  expect(table).toContain("172.18.0.0/16");
  expect(table).not.toContain("172.17.0.0/16");
});

test("engines that make networks at the same instant never choose one subnet twice", async () => {
  const engines = [openEngine({ bridge: "narut0" }), openEngine({ bridge: "narut1" })];
  await Promise.all(engines.map(({ service }) => service.ensure()));
  const made = await Promise.all(
    engines.flatMap(({ service }) =>
      Array.from({ length: 6 }, (_, index) => service.create(plainNetwork(`net${index}`))),
    ),
  );
  const subnets = made.map(({ subnet }) => subnet);
  expect(new Set(subnets).size).toBe(subnets.length);
});
