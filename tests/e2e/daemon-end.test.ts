/** Ends of the daemon that are more than its own: the machine's, and the engine's on this host. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, NARU, startEngine } from "./engine.ts";
import { tracesOf } from "./traces.ts";
import { eventually, until } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

async function endDaemon(): Promise<void> {
  process.kill(engine.daemonPid, "SIGTERM");
  await engine.daemonEnded();
}

/** Words that start the daemon as a service of a systemd which answers so. */
function underSystemd(answer: string): string[] {
  const folder = join(engine.root, `systemd-${answer}`);
  mkdirSync(folder);
  writeFileSync(
    join(folder, "systemctl"),
    `#!/bin/sh\ntest "$1" = is-system-running && echo ${answer}\n`,
  );
  chmodSync(join(folder, "systemctl"), 0o755);
  return ["env", "INVOCATION_ID=naru-test", `PATH=${folder}:${process.env["PATH"]}`];
}

test("when the machine ends, containers are stopped their own way; when the service ends, they run on", async () => {
  await endDaemon();
  await engine.startDaemon(NARU, [], underSystemd("running"));
  const trap = "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done";
  const flags = ["--stop-signal", "USR1", "--restart", "unless-stopped", "--name", "own"];
  await engine.ok(["run", "-d", ...flags, "busybox", "sh", "-c", trap]);
  await until(async () => (await engine.ok(["logs", "own"])).includes("ready"));
  const pid = await engine.ok(["inspect", "-f", "{{.State.Pid}}", "own"]);
  await endDaemon();
  expect(existsSync(`/proc/${pid}`)).toBe(true);
  await engine.startDaemon(NARU, [], underSystemd("stopping"));
  expect(await engine.ok(["inspect", "-f", "{{.State.Pid}}", "own"])).toBe(pid);
  await endDaemon();
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  // Nobody stopped it: after the machine's start it comes back.
  await engine.startDaemon();
  const isRunning = ["inspect", "-f", "{{.State.Running}}", "own"];
  await until(async () => (await engine.ok(isRunning)) === "true");
  const events = await engine.ok(
    // Not "0s": docker's "now" ends with the last whole second.
    ["events", "--since", "0", "--until", `${Date.now() / 1000}`, "-f", "container=own"].concat(
      "-f",
      "event=die",
      "--format",
      "{{.Actor.Attributes.exitCode}}",
    ),
  );
  expect(events).toBe("7");
});

test("uninstalling leaves nothing in the kernel, is refused while a daemon runs, and may run twice", async () => {
  await engine.ok(["network", "create", "left"]);
  await engine.ok(["run", "-d", "--network", "left", "-p", "80", "busybox", "sleep", "1000"]);
  await engine.ok(["run", "-d", "--name", "still", "busybox", "sleep", "1000"]);
  await engine.ok(["pause", "still"]);
  const daemon = engine.daemonPid;
  expect(await engine.tryDaemon(["--uninstall"])).toContain("another naru daemon uses");
  process.kill(daemon, "SIGKILL");
  await until(() => !existsSync(`/proc/${daemon}`));
  expect(tracesOf(engine.tag).links.length).toBeGreaterThan(1);
  for (const _ of ["once", "twice"]) {
    await engine.tryDaemon(["--uninstall"]);
    const { links, tables, cgroups, processes } = tracesOf(engine.tag);
    expect({ links, tables, cgroups }).toEqual({ links: [], tables: [], cgroups: [] });
    expect(processes.filter((text) => text.includes("sleep"))).toEqual([]);
  }
  await engine.startDaemon();
  expect(await engine.ok(["inspect", "-f", "{{.State.Status}}", "still"])).toBe("exited");
  expect(await engine.ok(["network", "ls", "--format", "{{.Name}}"])).toContain("left");
  expect(await engine.ok(["run", "--rm", "busybox", "echo", "again"])).toBe("again");
});

test("what others have in the engine's cgroup parent lives on, through a start and through uninstalling", async () => {
  const unified = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].find((root) =>
    existsSync(join(root, "cgroup.procs")),
  );
  const folders = ["neighbour.service", "ab".repeat(32)].map((name) =>
    join(unified ?? "", engine.cgroupParent, name),
  );
  const others = folders.map((folder) => {
    mkdirSync(folder, { recursive: true });
    return Bun.spawn(["sh", "-c", `echo 0 >${folder}/cgroup.procs && exec sleep 1000`]);
  });
  const counted = () => folders.map((folder) => readFileSync(`${folder}/cgroup.procs`, "utf8"));
  const pids = others.map(({ pid }) => `${pid}\n`);
  await eventually(() => expect(counted()).toEqual(pids));
  await engine.restartDaemon();
  expect(await engine.ok(["run", "--rm", "busybox", "echo", "beside"])).toBe("beside");
  await engine.killDaemon();
  await engine.tryDaemon(["--uninstall"]);
  expect(counted()).toEqual(pids);
  for (const other of others) {
    other.kill("SIGKILL");
    await other.exited;
  }
  for (const folder of folders) rmdirSync(folder);
  await engine.startDaemon();
});
