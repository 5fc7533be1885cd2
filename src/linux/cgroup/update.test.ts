/** Changed limits, in the files of every kind of host: folders of plain files stand in for cgroupfs. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { Cgroup, type CgroupFolder } from "./cgroup.ts";
import { updateResources } from "./host.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync("/tmp/naru-test-update-");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function folder(
  version: 1 | 2,
  controllers: readonly string[],
  files: readonly string[],
): CgroupFolder {
  const path = join(root, controllers.join("-"));
  mkdirSync(path, { recursive: true });
  for (const name of files) writeFileSync(join(path, name), "");
  const hierarchy = { version, mountPoint: path, name: "", controllers, ownPath: "/" };
  return { hierarchy, folder: path };
}

const text = (...path: string[]): string => readFileSync(join(root, ...path), "utf8");

const MEBI = 1024 * 1024;
const changes = {
  memory: { limit: 128 * MEBI, swap: 256 * MEBI, reservation: 64 * MEBI },
  cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: "0-1" },
  pids: { limit: -1 },
};

test("v1: in each controller's own hierarchy; what is not given is not touched", () => {
  const memory = folder(
    1,
    ["memory"],
    [
      "memory.limit_in_bytes",
      "memory.memsw.limit_in_bytes",
      "memory.soft_limit_in_bytes",
      "memory.swappiness",
    ],
  );
  const cgroup = new Cgroup("/x", [
    memory,
    folder(1, ["cpu"], ["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"]),
    folder(1, ["cpuset"], ["cpuset.cpus", "cpuset.mems"]),
    folder(1, ["pids"], ["pids.max"]),
  ]);
  // Plain files are not cut by a shorter value: the order of the two writes is seen in what is left.
  writeFileSync(join(memory.folder, "memory.memsw.limit_in_bytes"), String(64 * MEBI));
  updateResources(cgroup, changes);
  expect(text("memory", "memory.limit_in_bytes")).toBe(String(128 * MEBI));
  expect(text("memory", "memory.memsw.limit_in_bytes")).toBe(String(256 * MEBI));
  expect(text("memory", "memory.soft_limit_in_bytes")).toBe(String(64 * MEBI));
  expect(text("memory", "memory.swappiness")).toBe("");
  expect(text("cpu", "cpu.shares")).toBe("512");
  expect(text("cpu", "cpu.cfs_quota_us")).toBe("50000");
  expect(text("cpuset", "cpuset.cpus")).toBe("0-1");
  expect(text("cpuset", "cpuset.mems")).toBe("");
  expect(text("pids", "pids.max")).toBe("max");
});

test("v2: in the one folder, swap counted alone", () => {
  const controllers = ["cpu", "cpuset", "memory", "pids"];
  const files = "memory.max memory.swap.max memory.low cpu.weight cpu.max cpuset.cpus pids.max";
  updateResources(new Cgroup("/x", [folder(2, controllers, files.split(" "))]), changes);
  const at = (name: string) => text(controllers.join("-"), name);
  expect(at("memory.max")).toBe(String(128 * MEBI));
  expect(at("memory.low")).toBe(String(64 * MEBI));
  expect(at("cpu.max")).toBe("50000 100000");
  expect(Number(at("cpu.weight"))).toBeGreaterThan(1);
  expect(at("cpuset.cpus")).toBe("0-1");
  expect(at("pids.max")).toBe("max");
});

test("hybrid: v1 where it has the controller, and the v2 tree is left alone", () => {
  const cgroup = new Cgroup("/x", [folder(1, ["pids"], ["pids.max"]), folder(2, ["hugetlb"], [])]);
  updateResources(cgroup, { pids: { limit: 7 } });
  expect(text("pids", "pids.max")).toBe("7");
});
