/** `iptables=false` and `ip6tables=false`: no rule of the engine's, and ports that are relayed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { type Engine, run, startEngine } from "./engine.ts";

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine({ daemonFlags: ["--iptables=false", "--ip6tables=false"] });
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const tables = async () => (await run(["nft", "list", "tables"])).stdout;
const serve = ["busybox", "sh", "-c", "echo here > /tmp/index.html; exec httpd -f -h /tmp"];

async function get(address: string, port: string): Promise<string> {
  for (;;) {
    try {
      return await (await fetch(`http://${address}:${port}/index.html`)).text();
    } catch {
      // The program inside does not listen yet.
      await engine.ok(["exec", "web", "true"]);
    }
  }
}

const portOf = async (): Promise<string> =>
  (await engine.ok(["port", "web", "80/tcp"])).split("\n")[0]?.split(":").at(-1) ?? "";

test("published ports work, on every address of the host, without a rule", async () => {
  await engine.ok(["run", "-d", "--name", "web", "-p", "80", ...serve]);
  const port = await portOf();
  expect(await get("127.0.0.1", port)).toBe("here\n");
  const gateway = await engine.ok([
    "network",
    "inspect",
    "-f",
    "{{(index .IPAM.Config 0).Gateway}}",
    "bridge",
  ]);
  expect(await get(gateway, port)).toBe("here\n");
  const inside = ["run", "--rm", "busybox", "wget", "-qO-", `http://${gateway}:${port}/index.html`];
  expect(await engine.ok(inside)).toBe("here");
  await engine.ok(["network", "create", "own"]);
  const named = ["run", "-d", "--name", "named", "--network", "own", ...serve];
  await engine.ok(named);
  const neighbour = ["run", "--rm", "--network", "own", "busybox"];
  const ask = "until wget -qO- http://named/index.html; do :; done";
  expect(await engine.ok([...neighbour, "sh", "-c", ask])).toBe("here");
  expect(await tables()).not.toContain(engine.bridge);
  // What only the rules keep strangers from is off.
  const setting = `/proc/sys/net/ipv4/conf/${engine.bridge}/route_localnet`;
  expect(readFileSync(setting, "utf8").trim()).toBe("0");
  await engine.ok(["rm", "-f", "named"]);
  await engine.ok(["network", "rm", "own"]);
  const sctp = await engine.docker(["run", "--rm", "-p", "80/sctp", "busybox", "true"]);
  expect(sctp.stderr).toContain("ports of SCTP need the firewall");
});

test("a daemon without them takes those of one with rules away, and back", async () => {
  await engine.killDaemon();
  await engine.startDaemon(undefined, ["--ip6tables=true"]);
  const table = (await tables()).split("\n").find((line) => line.includes(engine.bridge)) ?? "";
  const { stdout } = await run(["nft", "list", ...table.split(" ")]);
  expect(stdout).toContain("meta nfproto ipv4 accept");
  expect(await get("127.0.0.1", await portOf())).toBe("here\n");
  await engine.killDaemon();
  await engine.startDaemon();
  expect(await tables()).not.toContain(engine.bridge);
  expect(await get("127.0.0.1", await portOf())).toBe("here\n");
  await engine.ok(["rm", "-f", "web"]);
});
