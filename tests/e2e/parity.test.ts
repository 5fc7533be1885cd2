/** What a Docker 28.5 beside this engine did, command by command, where this engine once did something else. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const refusal = async (...command: string[]): Promise<string> => {
  const { code, stderr } = await engine.docker(command);
  expect(code).not.toBe(0);
  return stderr.trim().split("\n")[0] ?? "";
};

const daemonSaid = (sentence: string) => `Error response from daemon: ${sentence}`;

test("a container is known by /.dockerenv and has /etc/mtab, and neither is a change of it", async () => {
  const id = await engine.ok(["run", "-d", "busybox", "sleep", "1000"]);
  expect(await engine.ok(["exec", id, "cat", "/.dockerenv"])).toBe("");
  expect(await engine.ok(["exec", id, "readlink", "/etc/mtab"])).toBe("/proc/mounts");
  expect(await engine.ok(["diff", id])).toBe("");
  await engine.ok(["exec", id, "rm", "/.dockerenv"]);
  expect(await engine.ok(["diff", id])).toBe("D /.dockerenv");
  await engine.ok(["restart", "-t", "0", id]);
  await refusal("exec", id, "ls", "/.dockerenv");
  await engine.ok(["rm", "-f", id]);
});

describe("exec", () => {
  test("a directory that is none ends it with 127, a program that is one with 126", async () => {
    const id = await engine.ok(["run", "-d", "busybox", "sleep", "1000"]);
    expect((await engine.docker(["exec", "-w", "/nope", id, "pwd"])).code).toBe(127);
    const file = await engine.docker(["exec", "-w", "/etc/passwd", id, "pwd"]);
    expect(file.code).toBe(127);
    expect(file.stdout).toContain(
      "not a directory: unknown: Are you trying to mount a directory onto a",
    );
    const folder = await engine.docker(["exec", id, "/etc"]);
    expect(folder.code).toBe(126);
    expect(folder.stdout).toContain('exec: "/etc": is a directory: permission denied');
    expect(await engine.ok(["inspect", "-f", "{{json .ExecIDs}}", id])).toBe("null");
    await engine.ok(["rm", "-f", id]);
  });

  test("what has no terminal can be given a size", async () => {
    const id = await engine.ok(["run", "-d", "busybox", "sleep", "1000"]);
    const resize = `/v1.51/containers/${id}/resize?h=10&w=10`;
    expect((await engine.fetch(resize, { method: "POST" })).status).toBe(200);
    await engine.ok(["rm", "-f", id]);
    expect((await engine.fetch(resize, { method: "POST" })).status).toBe(404);
  });
});

test("signals that are none: kill says so in Docker's words, stop only of a container that runs", async () => {
  await engine.ok(["run", "-d", "--name", "signalled", "busybox", "sleep", "1000"]);
  const killed = (sentence: string) => daemonSaid(`cannot kill container: ${sentence}`);
  expect(await refusal("kill", "-s", "BOGUS", "signalled")).toBe(
    killed("signalled: invalid signal: BOGUS"),
  );
  expect(await refusal("kill", "-s", "99", "signalled")).toBe(
    killed("signalled: the linux daemon does not support signal 99"),
  );
  expect(await refusal("kill", "nosuch")).toBe(killed("nosuch: No such container: nosuch"));
  expect(await refusal("rm", "signalled")).toStartWith(
    daemonSaid('cannot remove container "signalled": container is running'),
  );
  await engine.ok(["pause", "signalled"]);
  expect(await refusal("exec", "signalled", "true")).toBe(
    daemonSaid("Container signalled is paused, unpause the container before exec"),
  );
  await engine.ok(["unpause", "signalled"]);
  expect(await refusal("stop", "-s", "bogus", "signalled")).toContain("invalid signal: bogus");
  await engine.ok(["kill", "signalled"]);
  await engine.ok(["stop", "-s", "bogus", "signalled"]);
  await engine.ok(["rm", "signalled"]);
});

test("events come in Docker's order: a restart holds a stop, a removal by force a kill", async () => {
  const since = String(Date.now() / 1000);
  await engine.ok(["run", "-d", "--name", "told", "busybox", "sleep", "1000"]);
  await engine.ok(["restart", "-t", "0", "told"]);
  await engine.ok(["rm", "-f", "told"]);
  const format = ["--format", "{{.Type}} {{.Action}}"];
  const until = ["--since", since, "--until", String(Date.now() / 1000 + 1)];
  const told = await engine.ok([
    "events",
    ...until,
    "--filter",
    "type=container",
    "--filter",
    "type=network",
    ...format,
  ]);
  const ended = ["container kill", "network disconnect", "container die"];
  expect(told.split("\n")).toEqual([
    "container create",
    "network connect",
    "container start",
    "container kill",
    ...ended,
    "container stop",
    "network connect",
    "container start",
    "container restart",
    ...ended,
    "container destroy",
  ]);
});

test("an address can only be asked for where somebody chose the subnet", async () => {
  await engine.ok(["network", "create", "chosen-for-us"]);
  await engine.ok(["network", "create", "--subnet", "10.211.7.0/24", "our-choice"]);
  const settings = "invalid endpoint settings:";
  const create = (network: string, ip: string) =>
    engine.docker(["create", "--network", network, "--ip", ip, "busybox", "true"]);
  const noSubnet =
    "user specified IP address is supported only when connecting to networks with user configured subnets";
  expect((await create("chosen-for-us", "172.18.0.9")).stderr).toContain(
    `invalid config for network chosen-for-us: ${settings}\n${noSubnet}`,
  );
  expect((await create("bridge", "172.17.0.9")).stderr).toContain(
    `invalid config for network bridge: ${settings}\n` +
      `* user specified IP address is supported on user defined networks only\n* ${noSubnet}`,
  );
  expect((await create("our-choice", "10.9.0.9")).stderr).toContain(
    `${settings}\nno configured subnet or ip-range contain the IP address 10.9.0.9`,
  );
  const gateway = (network: string) =>
    engine.ok(["network", "inspect", network, "-f", "{{(index .IPAM.Config 0).Gateway}}"]);
  expect(await gateway("chosen-for-us")).toMatch(/^172\./);
  expect(await gateway("our-choice")).toBe("");
  await engine.ok(["network", "rm", "chosen-for-us", "our-choice"]);
});

test("volume prune leaves volumes with options alone, even with --all", async () => {
  const options = ["-o", "type=none", "-o", "o=bind", "-o", "device=/etc"];
  await engine.ok(["volume", "create", ...options, "a-folder-of-the-host"]);
  await engine.ok(["volume", "create", "plain"]);
  const pruned = await engine.ok(["volume", "prune", "-f", "--all"]);
  expect(pruned).toContain("plain");
  expect(await engine.ok(["volume", "ls", "-q"])).toBe("a-folder-of-the-host");
  await engine.ok(["volume", "rm", "a-folder-of-the-host"]);
});
