/** Containers that divide their own cgroup, as systemd, Kubernetes' kind and an engine in a container do. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";

import { type Engine, startEngine } from "./engine.ts";
import { tracesOf } from "./traces.ts";
import { until } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

/** Moves itself below, and hands its controllers down: v2 lets no process be in such a cgroup itself. */
const divide = `
cd /sys/fs/cgroup; test -d unified && cd unified
mkdir init
for pid in $(cat cgroup.procs); do echo $pid >init/cgroup.procs; done
for controller in $(cat cgroup.controllers); do echo +$controller >cgroup.subtree_control; done
echo divided: $(cat cgroup.subtree_control)
`;
const divided = async (name: string, then: string): Promise<void> => {
  const flags = ["--privileged", "--cgroupns", "private", "--name", name];
  await engine.ok(["run", "-d", ...flags, "busybox", "sh", "-c", `${divide}${then}`]);
  await until(async () => /divided: \w/.test(await engine.ok(["logs", name])));
};

test("one that handed its controllers down is entered where its first process is, probed, paused and stopped", async () => {
  await divided("divided", "exec sleep 1000");
  const where = ["sh", "-c", "grep ^0: /proc/self/cgroup"];
  expect(await engine.ok(["exec", "divided", ...where])).toBe("0::/init");
  expect(await engine.ok(["exec", "-d", "divided", "sleep", "2000"])).toBe("");
  expect(await engine.ok(["top", "divided", "-o", "pid,args"])).toContain("sleep 2000");
  await engine.ok(["pause", "divided"]);
  await engine.ok(["unpause", "divided"]);
  expect((await engine.docker(["exec", "divided", "nosuch"])).code).toBe(127);
  // It begins anew, undivided.
  await engine.ok(["restart", "-t", "0", "divided"]);
  await until(async () => (await engine.ok(["logs", "divided"])).split("divided: ").length >= 3);
  expect(await engine.ok(["exec", "divided", ...where])).toBe("0::/init");
  await engine.ok(["rm", "-f", "divided"]);
  const left = () =>
    tracesOf(engine.tag).cgroups.flatMap((folder) =>
      readdirSync(folder).filter((name) => name.length === 64),
    );
  await until(() => left().length === 0);
});
