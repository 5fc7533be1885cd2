/** What /etc/hosts of a container says of others: linked containers, and the host. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { type Engine, NARU, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";
import { eventually } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine({
    daemonFlags: ["--default-address-pool", "base=10.195.0.0/16,size=24"],
  });
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const [PORT, API] = [freePorts(1), freePorts(1)];
const SLEEP = ["busybox", "sleep", "1000"];
const HTTPD = ["busybox", "sh", "-c", "echo hello > /index.html; exec httpd -f -p 80 -h /"];
const addressOf = (name: string): Promise<string> =>
  engine.ok(["inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", name]);
const hostsOf = (name: string, word: string): Promise<string> =>
  engine.ok(["exec", name, "sh", "-c", `grep '\t${word}' /etc/hosts | cut -f1`]);

test("a linked container is found where it is after each of its starts", async () => {
  await engine.ok(["run", "-d", "--name", "db", ...SLEEP]);
  await engine.ok(["run", "-d", "--name", "app", "--link", "db:store", ...SLEEP]);
  await engine.ok(["exec", "app", "sh", "-c", "echo '192.0.2.1\tmine' >> /etc/hosts"]);
  expect(await hostsOf("app", "store")).toBe(await addressOf("db"));
  const before = await addressOf("db");
  // Somebody else has its address meanwhile: it gets another one.
  await engine.ok(["stop", "-t", "0", "db"]);
  await engine.ok(["run", "-d", "--name", "heir", ...SLEEP]);
  await engine.ok(["start", "db"]);
  const after = await addressOf("db");
  expect(after).not.toBe(before);
  expect(await hostsOf("app", "store")).toBe(after);
  expect(await hostsOf("app", "mine")).toBe("192.0.2.1");
  expect((await engine.docker(["exec", "app", "ping", "-c1", "-W5", "store"])).code).toBe(0);
  // What nobody told while the daemon was away is made good when it is back.
  await engine.ok([
    "exec",
    "app",
    "sh",
    "-c",
    `sed 's/^${after}\t/192.0.2.7\t/' /etc/hosts > /h && cat /h > /etc/hosts`,
  ]);
  expect(await hostsOf("app", "store")).toBe("192.0.2.7");
  await engine.restartDaemon();
  expect(await hostsOf("app", "store")).toBe(after);
  await engine.ok(["rm", "-f", "db", "app", "heir"]);
});

test("host-gateway is the default bridge's address, and reaches the host from every network", async () => {
  const format = "{{(index .IPAM.Config 0).Gateway}}";
  const gateway = await engine.ok(["network", "inspect", "-f", format, "bridge"]);
  await engine.ok(["network", "create", "own"]);
  await engine.ok(["run", "-d", "--name", "web", "--network", "own", "-p", `${PORT}:80`, ...HTTPD]);
  using server = Bun.serve({ port: 0, hostname: "0.0.0.0", fetch: () => new Response("the host") });
  const host = ["--add-host", "host.docker.internal:host-gateway"];
  for (const network of ["own", "bridge"]) {
    const name = `from-${network}`;
    await engine.ok(["run", "-d", "--name", name, "--network", network, ...host, ...SLEEP]);
    expect(await hostsOf(name, "host.docker.internal")).toBe(gateway);
    const get = (port: number) =>
      engine.ok(["exec", name, "wget", "-qO-", `http://${gateway}:${port}/`]);
    expect(await get(server.port ?? 0)).toBe("the host");
    // A published port too, whichever network its container is in.
    await eventually(async () => expect(await get(PORT)).toBe("hello"));
  }
  await engine.ok(["rm", "-f", "web", "from-own", "from-bridge"]);
});

test("the API on TCP is served to no container, wherever it listens", async () => {
  await engine.killDaemon();
  await engine.startDaemon(NARU, ["-H", `tcp://0.0.0.0:${API}`, "--tls=false"]);
  const ping = await fetch(`http://127.0.0.1:${API}/_ping`);
  expect(await ping.text()).toBe("OK");
  const format = "{{(index .IPAM.Config 0).Gateway}}";
  for (const network of ["bridge", "own"]) {
    for (const of of ["bridge", "own"]) {
      const gateway = await engine.ok(["network", "inspect", "-f", format, of]);
      const url = `http://${gateway}:${API}/containers/json`;
      const asked = await engine.docker([
        "run",
        "--rm",
        "--network",
        network,
        "busybox",
        "wget",
        url,
      ]);
      expect(asked.stderr).toContain("403 Forbidden");
    }
  }
  const own = await fetch(`http://127.0.0.1:${API}/containers/json`);
  expect(own.status).toBe(200);
});
