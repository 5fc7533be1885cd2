/** Daemon and supervisor are killed while networks and containers come and go: nothing doubled, nothing left. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { type Engine, run, startEngine } from "./engine.ts";
import { expectNothingLeft } from "./leftovers.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const readMounts = () => readFileSync("/proc/self/mountinfo", "utf8").split("\n");
const ROUNDS = 6;
const LONGEST_MS = 700;

const SLEEP = ["busybox", "sleep", "1000"];
const TMPFS = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m"];
/** One that is a mount while somebody has it, one with data in it that outlives everybody, and an anonymous one. */
const volumes = (mounted: string) => ["-v", `${mounted}:/ram`, "-v", "kept:/kept", "-v", "/own"];

/** A queue on the host, a port of it, and rules of the bridge's ports come and go too. */
const LIMITED = ["--network", "stable", "--label", "naru.egress=50mbit", "-p", "80"];
const UNFRIENDLY = ["-o", "com.docker.network.bridge.enable_icc=false"];

/** Until a command fails, because nobody answers any more. */
async function churn(worker: number): Promise<void> {
  for (let index = 0; ; index += 1) {
    const [network, name] = [`churn${worker}`, `life${worker}-${index}`];
    for (const args of [
      ["network", "create", ...UNFRIENDLY, network],
      ["volume", "create", ...TMPFS, name],
      ["run", "-d", "--name", name, ...LIMITED, ...volumes(name), ...SLEEP],
      ["network", "connect", network, name],
      ["network", "disconnect", "stable", name],
      ["rm", "-f", name],
      ["network", "rm", network],
      ["volume", "rm", name],
    ]) {
      const done = await engine.docker(args);
      if (done.code !== 0) return;
    }
  }
}

test("SIGKILL at random moments leaves no address twice, no link, rule, namespace or mount", async () => {
  await engine.ok(["network", "create", "--subnet", "10.245.0.0/24", "stable"]);
  const flags = ["--network", "stable", "-v", "kept:/kept"];
  for (const name of ["keeper", "friend"]) {
    await engine.ok(["run", "-d", "--name", name, ...flags, ...SLEEP]);
  }
  await engine.ok(["exec", "keeper", "sh", "-c", "echo kept > /kept/data"]);
  for (let round = 0; round < ROUNDS; round += 1) {
    const working = Promise.all([churn(0), churn(1)]);
    await Bun.sleep(Math.random() * LONGEST_MS);
    if (round % 2 === 1) process.kill(engine.supervisorPid(), "SIGKILL");
    await engine.killDaemon();
    await working;
    await engine.startDaemon();
    const ids = (await engine.ok(["ps", "-q"])).split("\n").filter((id) => id !== "");
    const template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    const shown = await engine.ok(["inspect", "-f", template, ...ids]);
    const addresses = shown.split(/\s+/).filter((address) => address !== "");
    expect(new Set(addresses).size).toBe(addresses.length);
    expect((await engine.docker(["exec", "keeper", "ping", "-c1", "10.245.0.1"])).code).toBe(0);
    expect((await engine.docker(["exec", "keeper", "ping", "-c1", "-W5", "friend"])).code).toBe(0);
    expect(await engine.ok(["exec", "keeper", "cat", "/kept/data"])).toBe("kept");
    const others = (await engine.ok(["ps", "-aq", "-f", "name=life"])).split("\n");
    if (others[0] !== "") await engine.ok(["rm", "-f", ...others]);
    // A prune leaves volumes with options alone, as Docker's does.
    const left = await engine.ok(["volume", "ls", "-q", "-f", "dangling=true"]);
    if (left !== "") await engine.ok(["volume", "rm", ...left.split("\n")]);
    expect(await engine.ok(["volume", "ls", "-q"])).toBe("kept");
    const mounts = readMounts().filter((line) => line.includes(`${engine.dataRoot}/volumes/`));
    expect(mounts).toEqual([]);
    await engine.docker(["network", "rm", "-f", "churn0", "churn1"]);
  }
  await engine.ok(["rm", "-f", "keeper", "friend"]);
  await engine.ok(["volume", "rm", "kept"]);
  await engine.ok(["network", "prune", "-f"]);
  await expectNothingLeft(engine);
  const table = (await run(["nft", "list", "table", "inet", `naru_${engine.bridge}`])).stdout;
  expect(table).not.toContain(`${engine.bridge}-`);
  expect(table).not.toContain("10.245.0.0");
  expect(table).not.toMatch(/elements = \{[^}]*tcp/);
  const guards = (await run(["nft", "list", "table", "bridge", `naru_${engine.bridge}`])).stdout;
  expect(guards).not.toContain("elements");
});

test("a wiped ruleset is noticed, and rules of users' networks come back", async () => {
  await engine.ok(["network", "create", "--subnet", "10.246.0.0/24", "again"]);
  const table = ["inet", `naru_${engine.bridge}`];
  expect((await run(["nft", "delete", "table", ...table])).code).toBe(0);
  // The next change finds it gone; without one the daemon looks for itself.
  await engine.ok(["network", "create", "other"]);
  const list = async () => (await run(["nft", "list", "table", ...table])).stdout;
  expect(await list()).toContain("10.246.0.0/24");
  await engine.ok(["network", "rm", "again", "other"]);
  expect(await list()).not.toContain("10.246.0.0/24");
});
