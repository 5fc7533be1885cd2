/** The default bridge, published ports and the other modes, with real traffic. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { networkInterfaces } from "node:os";

import { type Engine, run, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";
import { eventually, until } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const HTTPD = ["sh", "-c", "echo hello > /index.html; exec httpd -f -p 80 -h /"];
const hostAddress = (): string =>
  Object.values(networkInterfaces())
    .flat()
    .find((one) => one?.family === "IPv4" && !one.internal)?.address ?? "127.0.0.1";

/** What one request is answered; `curl CODE` where it is not. */
async function ask(url: string, seconds: number): Promise<string> {
  const done = await run(["curl", "-s", "--noproxy", "*", "--max-time", String(seconds), url]);
  return done.code === 0 ? done.stdout.trim() : `curl ${done.code}`;
}

/** The answer of a server that may not listen yet. */
async function get(url: string): Promise<string> {
  let answer = "";
  await until(async () => {
    answer = await ask(url, 100);
    return !answer.startsWith("curl ");
  });
  return answer;
}

const portOf = async (name: string, port: string): Promise<string> =>
  (await engine.ok(["port", name, port])).split("\n")[0]?.split(":").at(-1) ?? "";

test("a published port answers on every address of the host and from other containers", async () => {
  await engine.ok(["run", "-d", "--name", "web", "-p", "80", "busybox", ...HTTPD]);
  const port = await portOf("web", "80/tcp");
  expect(await get(`http://127.0.0.1:${port}/`)).toBe("hello");
  expect(await get(`http://[::1]:${port}/`)).toBe("hello");
  expect(await get(`http://${hostAddress()}:${port}/`)).toBe("hello");
  const gateway = await engine.ok(["inspect", "-f", "{{.NetworkSettings.Gateway}}", "web"]);
  expect(
    await engine.ok(["run", "--rm", "busybox", "wget", "-qO-", `http://${gateway}:${port}/`]),
  ).toBe("hello");
  expect(await engine.ok(["exec", "web", "wget", "-qO-", `http://${gateway}:${port}/`])).toBe(
    "hello",
  );
  const address = await engine.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]);
  expect(await engine.ok(["run", "--rm", "busybox", "wget", "-qO-", `http://${address}/`])).toBe(
    "hello",
  );
  await engine.ok(["rm", "-f", "web"]);
  expect(await ask(`http://127.0.0.1:${port}/`, 3)).toBe("curl 7");
});

test("UDP, ranges, -P and a host address are published", async () => {
  // busybox has no UDP server: the host's python3, mounted read-only, is one.
  const echo =
    "import socket\ns = socket.socket(2, 2); s.bind(('', 9)); print('up', flush=True)\n" +
    "while 1: s.sendto(*s.recvfrom(99))";
  const host = ["/usr", "/lib", "/lib64"].flatMap((path) => ["-v", `${path}:${path}:ro`]);
  const flags = ["-d", "--name", "udp", "-p", "127.0.0.1::9/udp", ...host];
  await engine.ok(["run", ...flags, "busybox", "/usr/bin/python3", "-c", echo]);
  await until(async () => (await engine.ok(["logs", "udp"])).includes("up"));
  const port = await portOf("udp", "9/udp");
  const answer = await run([
    "bash",
    "-c",
    `exec 3<>/dev/udp/127.0.0.1/${port}; echo ping >&3; timeout 60 head -n1 <&3`,
  ]);
  expect(answer.stdout).toBe("ping\n");
  const first = freePorts(3);
  await engine.ok([
    "run",
    "-d",
    "--name",
    "ranged",
    "-p",
    `${first}-${first + 2}:80`,
    "--expose",
    "81",
    "-P",
    "busybox",
    ...HTTPD,
  ]);
  expect(await get(`http://127.0.0.1:${first}/`)).toBe("hello");
  expect(await engine.ok(["port", "ranged"])).toContain("81/tcp -> 0.0.0.0:");
  await engine.ok(["rm", "-f", "udp", "ranged"]);
});

test("a port published on 127.0.0.1 is not reachable by the host's other addresses", async () => {
  await engine.ok(["run", "-d", "--name", "private", "-p", "127.0.0.1::80", "busybox", ...HTTPD]);
  const port = await portOf("private", "80/tcp");
  expect(await get(`http://127.0.0.1:${port}/`)).toBe("hello");
  expect(await ask(`http://${hostAddress()}:${port}/`, 3)).not.toBe("hello");
  await engine.ok(["rm", "-f", "private"]);
});

test("a taken port is an error before the start, and is free again after", async () => {
  using holder = Bun.listen({ hostname: "0.0.0.0", port: 0, socket: { data() {} } });
  const taken = await engine.docker([
    "run",
    "-d",
    "--name",
    "late",
    "-p",
    `${holder.port}:80`,
    "busybox",
    ...HTTPD,
  ]);
  expect(taken.code).toBe(125);
  expect(taken.stderr).toMatch(/address already in use|port is already allocated/);
  expect(await engine.ok(["inspect", "-f", "{{.State.Status}}", "late"])).toBe("created");
  const port = freePorts();
  await engine.ok(["run", "-d", "--name", "one", "-p", `${port}:80`, "busybox", ...HTTPD]);
  const second = await engine.docker([
    "run",
    "-d",
    "--name",
    "two",
    "-p",
    `${port}:80`,
    "busybox",
    ...HTTPD,
  ]);
  expect(second.stderr).toContain(`Bind for 0.0.0.0:${port} failed: port is already allocated`);
  await engine.ok(["rm", "-f", "one"]);
  await engine.ok(["start", "two"]);
  expect(await get(`http://127.0.0.1:${port}/`)).toBe("hello");
  await engine.ok(["rm", "-f", "two", "late"]);
});

test("host, none and container networks are what they say", async () => {
  expect(
    await engine.ok(["run", "--rm", "--network", "none", "busybox", "ip", "-o", "addr"]),
  ).not.toContain("eth0");
  expect(
    await engine.ok(["run", "--rm", "--network", "host", "busybox", "ip", "-o", "addr"]),
  ).toContain(engine.bridge);
  await engine.ok(["run", "-d", "--name", "main", "busybox", ...HTTPD]);
  const joined = ["run", "--rm", "--network", "container:main", "busybox"];
  // The server may not listen yet.
  await eventually(async () =>
    expect(await engine.ok([...joined, "wget", "-qO-", "http://127.0.0.1/"])).toBe("hello"),
  );
  await engine.ok(["rm", "-f", "main"]);
});

test("thirty containers get thirty addresses, and all are given back", async () => {
  const ids = await Promise.all(
    Array.from({ length: 30 }, () => engine.ok(["run", "-d", "busybox", "sleep", "1000"])),
  );
  const addresses = (
    await engine.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", ...ids])
  ).split("\n");
  expect(new Set(addresses).size).toBe(30);
  await engine.ok(["rm", "-f", ...ids]);
  // Links go with their namespaces: the kernel takes its time. Namespaces made ahead have theirs on it, too.
  const links = async () =>
    (await run(["ip", "-o", "link", "show", "master", engine.bridge])).stdout;
  await eventually(async () =>
    expect(
      (await links()).split("\n").filter((line) => line !== "" && !line.includes(" narusp")),
    ).toEqual([]),
  );
});

test("a container reaches outside through the host, which is made no router for others", async () => {
  const ruleset = Bun.spawnSync(["nft", "list", "ruleset"]).stdout.toString();
  expect(ruleset).toContain("masquerade");
  expect(await engine.ok(["run", "--rm", "busybox", "sh", "-c", "ip route | head -1"])).toContain(
    "default via",
  );
});
