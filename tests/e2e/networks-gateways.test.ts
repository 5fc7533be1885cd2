/** Gateway modes and the addresses a network leaves the host with, by what a machine beside the host sees. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, run, startEngine } from "./engine.ts";

let engine: Engine;
let parent: string;
let neighbour: string;
const servers: Bun.Subprocess[] = [];
beforeAll(async () => {
  engine = await startEngine();
  parent = `narut${engine.tag}p`;
  neighbour = `naru-test-${engine.tag}`;
  for (const command of [
    `ip netns add ${neighbour}`,
    `ip link add ${parent} type veth peer name lan0 netns ${neighbour}`,
    `ip link set ${parent} up`,
    `ip addr add 203.0.113.1/24 dev ${parent}`,
    `ip addr add 203.0.113.2/24 dev ${parent}`,
    `ip addr add 2001:db8:51::1/64 dev ${parent} nodad`,
    `ip addr add 2001:db8:51::2/64 dev ${parent} nodad`,
    `ip -n ${neighbour} link set lo up`,
    `ip -n ${neighbour} link set lan0 up`,
    `ip -n ${neighbour} addr add 203.0.113.9/24 dev lan0`,
    `ip -n ${neighbour} addr add 2001:db8:51::9/64 dev lan0 nodad`,
    `ip -n ${neighbour} route add default via 203.0.113.1`,
    `ip -n ${neighbour} route add default via 2001:db8:51::1`,
  ]) {
    expect((await run(command.split(" "))).stderr).toBe("");
  }
  const script = join(engine.root, "peer.sh");
  writeFileSync(
    script,
    '#!/bin/sh\nread l\nprintf "HTTP/1.0 200 OK\\r\\n\\r\\n$SOCAT_PEERADDR\\n"\n',
    {
      mode: 0o755,
    },
  );
  for (const listen of ["TCP4-LISTEN:9000", "TCP6-LISTEN:9000,ipv6only=1"]) {
    await serve(`${listen},reuseaddr,fork`, `EXEC:${script}`);
  }
});
afterAll(async () => {
  for (const server of servers) {
    server.kill();
    await server.exited;
  }
  await run(["ip", "link", "delete", parent]);
  await run(["ip", "netns", "delete", neighbour]);
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

/** Tells in the neighbour who connects. */
async function serve(listen: string, answer: string): Promise<void> {
  const words = ["ip", "netns", "exec", neighbour, "socat", "-d", "-d", listen, answer];
  const server = Bun.spawn(words, { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  servers.push(server);
  let log = "";
  const reader = server.stderr.getReader();
  while (!log.includes("listening on")) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`socat ended: ${log}`);
    log += new TextDecoder().decode(value);
  }
}

const MODE = "com.docker.network.bridge.gateway_mode";
const SLEEP = ["busybox", "sleep", "1000"];
const HTTPD =
  "echo hello > /index.html; httpd -p [::]:80 -h /; httpd -p [::]:81 -h /; exec sleep 1000";
const exec = (name: string, ...words: string[]) => engine.docker(["exec", name, ...words]);
/** What the container is to the neighbour. */
const seenAs = async (name: string, address: string): Promise<string> =>
  (await exec(name, "timeout", "20", "wget", "-qO-", `http://${address}:9000/`)).stdout.trim();
/** Silence is an answer too, and waited for no longer than it takes to be sure. */
const fromNeighbour = async (url: string, maxTime = "20"): Promise<string> => {
  const curl = ["curl", "-g", "-s", "--noproxy", "*", "--max-time", maxTime, url];
  return (await run(["ip", "netns", "exec", neighbour, ...curl])).stdout;
};

async function serving(name: string, ...flags: string[]): Promise<void> {
  await engine.ok(["run", "-d", "--name", name, ...flags, "busybox", "sh", "-c", HTTPD]);
  const ready =
    "until wget -qO- http://127.0.0.1:80/ && wget -qO- http://127.0.0.1:81/; do :; done";
  await engine.ok(["exec", name, "sh", "-c", `${ready} >/dev/null 2>&1`]);
}

test("nat-unprotected leaves every port open at the container's address, and hides it going out", async () => {
  const flags = ["-o", `${MODE}_ipv4=nat-unprotected`, "--subnet", "10.86.0.0/24"];
  await engine.ok(["network", "create", ...flags, "open"]);
  await serving("o1", "--network", "open", "--ip", "10.86.0.5");
  expect(await fromNeighbour("http://10.86.0.5/")).toBe("hello\n");
  expect(await fromNeighbour("http://10.86.0.5:81/")).toBe("hello\n");
  expect(await seenAs("o1", "203.0.113.9")).toBe("203.0.113.1");
});

test("routed: of both families the published port is open, and the container goes out as itself", async () => {
  const flags = ["--ipv6", "--subnet", "10.87.0.0/24", "--subnet", "2001:db8:87::/64"];
  const modes = ["-o", `${MODE}_ipv4=routed`, "-o", `${MODE}_ipv6=routed`];
  await engine.ok(["network", "create", ...flags, ...modes, "straight"]);
  const own = ["--ip", "10.87.0.5", "--ip6", "2001:db8:87::5", "-p", "80"];
  await serving("r1", "--network", "straight", ...own);
  for (const address of ["10.87.0.5", "[2001:db8:87::5]"]) {
    expect(await fromNeighbour(`http://${address}/`)).toBe("hello\n");
    expect(await fromNeighbour(`http://${address}:81/`, "1")).toBe("");
  }
  expect(await seenAs("r1", "203.0.113.9")).toBe("10.87.0.5");
  expect(await seenAs("r1", "[2001:db8:51::9]")).toContain("2001:0db8:0087");
});

test("host_ipv4 and host_ipv6 are what the world sees of a network", async () => {
  const host = "com.docker.network.host_ip";
  const flags = ["--ipv6", "--subnet", "10.88.0.0/24", "--subnet", "fd88::/64"];
  const sources = ["-o", `${host}v4=203.0.113.2`, "-o", `${host}v6=2001:db8:51::2`];
  await engine.ok(["network", "create", ...flags, ...sources, "masked"]);
  await engine.ok(["run", "-d", "--name", "m1", "--network", "masked", ...SLEEP]);
  expect(await seenAs("m1", "203.0.113.9")).toBe("203.0.113.2");
  const seen = await seenAs("m1", "[2001:db8:51::9]");
  expect(seen).toBe("[2001:0db8:0051:0000:0000:0000:0000:0002]");
});

test("isolated: the host is no part of the network, its containers are", async () => {
  const flags = ["--internal", "-o", `${MODE}_ipv4=isolated`, "--subnet", "10.89.0.0/24"];
  await engine.ok(["network", "create", ...flags, "island"]);
  await serving("i1", "--network", "island", "--ip", "10.89.0.5");
  await engine.ok(["run", "-d", "--name", "i2", "--network", "island", ...SLEEP]);
  expect((await exec("i2", "timeout", "20", "wget", "-qO-", "http://10.89.0.5/")).stdout).toBe(
    "hello\n",
  );
  expect((await exec("i2", "ping", "-c", "1", "-W", "1", "10.89.0.1")).code).not.toBe(0);
  expect((await run(["ip", "route", "get", "10.89.0.5"])).stdout).not.toContain(engine.bridge);
  expect(await fromNeighbour("http://10.89.0.5/", "1")).toBe("");
});

test("anti-spoofing knows IPv6 addresses too", async () => {
  const flags = ["--ipv6", "--subnet", "10.90.0.0/24", "--subnet", "fd90::/64"];
  await engine.ok([
    "network",
    "create",
    ...flags,
    "-o",
    "naru.network.antispoofing=true",
    "honest",
  ]);
  const own = ["--network", "honest", "--cap-add", "NET_ADMIN"];
  await engine.ok(["run", "-d", "--name", "h1", ...own, "--ip6", "fd90::5", ...SLEEP]);
  await engine.ok(["run", "-d", "--name", "h2", ...own, "--ip6", "fd90::6", ...SLEEP]);
  const pings = async (wait: string, ...from: string[]) =>
    (await exec("h1", "ping", "-6", ...from, "-c", "1", "-W", wait, "fd90::6")).code === 0;
  expect(await pings("20")).toBe(true);
  await exec("h1", "ip", "-6", "addr", "add", "fd90::9/64", "dev", "eth0", "nodad");
  expect(await pings("1", "-I", "fd90::9")).toBe(false);
  expect(await pings("20", "-I", "fd90::5")).toBe(true);
});
