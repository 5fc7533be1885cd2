import { expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { ensureSupervisor, type SupervisorClient } from "./index.ts";
import { failure } from "./test-harness.ts";

const main = join(import.meta.dir, "../../main.ts");

function temporaryRoot() {
  const execRoot = mkdtempSync("/tmp/naru-test-ensure-");
  return { execRoot, [Symbol.dispose]: () => rmSync(execRoot, { recursive: true, force: true }) };
}

const ensure = (execRoot: string, binary = process.execPath) =>
  ensureSupervisor({
    execRoot,
    binary,
    prefixArguments: [main],
    onEvent: () => undefined,
  });

const until = async (isTrue: () => boolean) => {
  while (!isTrue()) await new Promise((next) => setTimeout(next, 2));
};

async function shutDown(client: SupervisorClient) {
  await client.request({ type: "shutdown" });
  await client.closed;
}

test("the first to ask starts a supervisor, the others find it", async () => {
  using root = temporaryRoot();
  const clients = await Promise.all([ensure(root.execRoot), ensure(root.execRoot)]);
  const third = await ensure(root.execRoot);
  const pids = [...clients, third].map(({ pid }) => pid);
  expect(new Set(pids).size).toBe(1);
  expect(readdirSync(root.execRoot).filter((name) => name.startsWith("engine"))).toEqual([]);
  await shutDown(third);
  const next = await ensure(root.execRoot);
  expect(next.pid).not.toBe(third.pid);
  await shutDown(next);
});

test("a supervisor has a session of its own, a clean environment and an image that cannot be written", async () => {
  using root = temporaryRoot();
  const binary = join(root.execRoot, "copy"); // the test's own bun is busy anyway
  copyFileSync(process.execPath, binary);
  process.env.BUN_OPTIONS = "";
  const client = await ensure(root.execRoot, binary).finally(() => delete process.env.BUN_OPTIONS);
  const proc = `/proc/${client.pid}`;
  const fields = readFileSync(`${proc}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  expect(fields[3]).toBe(String(client.pid)); // session
  expect(readFileSync(`${proc}/environ`, "utf8")).not.toContain("BUN_OPTIONS");
  const image = openSync(`${proc}/exe`, "r");
  expect(readFileSync(`${proc}/exe`).length).toBe(readFileSync(binary).length);
  expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(root.execRoot);
  await shutDown(client);
  await until(() => !existsSync(proc));
  // While it runs the kernel says ETXTBSY; the exploit keeps a descriptor and waits for the end.
  expect(() => openSync(`/proc/self/fd/${image}`, "r+")).toThrow("EROFS");
  closeSync(image);
});

test("what a daemon that was killed meanwhile left mounted is taken away", async () => {
  using root = temporaryRoot();
  // Beyond every pid that the kernel gives.
  const stale = join(root.execRoot, "engine-99999999");
  const living = join(root.execRoot, "engine-1");
  for (const path of [stale, living]) writeFileSync(path, "");
  Bun.spawnSync(["mount", "--bind", process.execPath, stale]);
  const mounts = () => readFileSync("/proc/self/mountinfo", "utf8");
  expect(mounts()).toContain(stale);
  await failure(
    ensureSupervisor({
      execRoot: root.execRoot,
      binary: process.execPath,
      prefixArguments: ["-e", "process.exit(3)"],
      onEvent: () => undefined,
    }),
  );
  expect(mounts()).not.toContain(stale);
  expect([existsSync(stale), existsSync(living)]).toEqual([false, true]);
});

test("a supervisor that cannot start says why", async () => {
  using root = temporaryRoot();
  const started = ensureSupervisor({
    execRoot: root.execRoot,
    binary: process.execPath,
    prefixArguments: ["-e", "console.error('no such luck'); process.exit(3)"],
    onEvent: () => undefined,
  });
  expect((await failure(started)).message).toBe("the supervisor does not start: no such luck");
});

for (const [how, end] of [
  ["is killed", "process.kill(process.pid, 'SIGKILL')"],
  ["gives way to one that is killed", "process.exit(75)"],
] as const) {
  test(`a supervisor that ${how} while it starts is followed by another`, async () => {
    using root = temporaryRoot();
    const mark = JSON.stringify(join(root.execRoot, "first"));
    const script = `const fs = require("fs");
      if (!fs.existsSync(${mark})) { fs.writeFileSync(${mark}, ""); ${end}; }
      else { console.error("the second one"); process.exit(3); }`;
    const started = ensureSupervisor({
      execRoot: root.execRoot,
      binary: process.execPath,
      prefixArguments: ["-e", script],
      onEvent: () => undefined,
    });
    expect((await failure(started)).message).toBe("the supervisor does not start: the second one");
  });
}
