/** The files of every kind of host, as the kernel writes them: folders of plain files stand in for cgroupfs. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { CgroupFolder } from "./cgroup.ts";
import { CgroupUsageReader } from "./usage.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync("/tmp/naru-test-usage-");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function folder(
  version: 1 | 2,
  controllers: readonly string[],
  files: Readonly<Record<string, string>>,
): CgroupFolder {
  const path = join(root, controllers.join("-") || "unified");
  mkdirSync(path, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  const hierarchy = { version, mountPoint: path, name: "", controllers, ownPath: "/" };
  return { hierarchy, folder: path };
}

const v1 = () => [
  folder(1, ["cpuacct"], {
    "cpuacct.usage": "3000000000\n",
    "cpuacct.stat": "user 200\nsystem 100\n",
    "cpuacct.usage_percpu": "1000000000 2000000000 \n",
  }),
  folder(1, ["cpu"], { "cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 700\n" }),
  folder(1, ["memory"], {
    "memory.usage_in_bytes": "4096000\n",
    "memory.max_usage_in_bytes": "8192000\n",
    "memory.limit_in_bytes": "67108864\n",
    "memory.failcnt": "3\n",
    "memory.stat": "cache 10\nrss 20\nworkingset_refault_anon 7\ntotal_inactive_file 30\n",
  }),
  folder(1, ["pids"], { "pids.current": "4\n", "pids.max": "max\n" }),
  folder(1, ["blkio"], {
    "blkio.throttle.io_service_bytes": "8:0 Read 4096\n8:0 Write 0\n8:0 Total 4096\nTotal 4096\n",
    "blkio.throttle.io_serviced": "8:0 Read 1\nTotal 1\n",
  }),
];

test("v1: every number from its own hierarchy", () => {
  using reader = new CgroupUsageReader(v1());
  expect(reader.read()).toEqual({
    cpu: {
      totalNano: 3e9,
      userNano: 2e9,
      systemNano: 1e9,
      perCpuNano: [1e9, 2e9],
      periods: 5,
      throttledPeriods: 2,
      throttledNano: 700,
    },
    memory: {
      version: 1,
      usageBytes: 4_096_000,
      maxUsageBytes: 8_192_000,
      limitBytes: 67_108_864,
      failures: 3,
      stat: { cache: 10, rss: 20, total_inactive_file: 30 },
    },
    pids: { current: 4, limit: null },
    io: {
      bytes: [
        { major: 8, minor: 0, operation: "Read", value: 4096 },
        { major: 8, minor: 0, operation: "Write", value: 0 },
        { major: 8, minor: 0, operation: "Total", value: 4096 },
      ],
      operations: [{ major: 8, minor: 0, operation: "Read", value: 1 }],
    },
  });
});

const V2_FILES = {
  "cpu.stat":
    "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
  "memory.current": "4096000\n",
  "memory.max": "max\n",
  "memory.events": "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n",
  "memory.stat": "anon 10\nfile 20\nsec_pagetables 7\ninactive_file 30\n",
  "pids.current": "4\n",
  "pids.max": "100\n",
  "io.stat": "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n8:16\n",
};

test("v2: every number from the one folder", () => {
  using reader = new CgroupUsageReader([folder(2, ["cpu", "memory", "pids", "io"], V2_FILES)]);
  expect(reader.read()).toEqual({
    cpu: {
      totalNano: 3e9,
      userNano: 2e9,
      systemNano: 1e9,
      perCpuNano: null,
      periods: 5,
      throttledPeriods: 2,
      throttledNano: 7000,
    },
    memory: {
      version: 2,
      usageBytes: 4_096_000,
      maxUsageBytes: null,
      limitBytes: Number.POSITIVE_INFINITY,
      failures: 2,
      stat: { anon: 10, file: 20, inactive_file: 30 },
    },
    pids: { current: 4, limit: 100 },
    io: {
      bytes: [
        { major: 8, minor: 0, operation: "read", value: 4096 },
        { major: 8, minor: 0, operation: "write", value: 8192 },
      ],
      operations: null,
    },
  });
});

test("hybrid: v1 where it has the controller, the v2 tree for the rest", () => {
  const [cpuacct, cpu] = v1();
  if (cpuacct === undefined || cpu === undefined) throw new Error("no folders");
  using reader = new CgroupUsageReader([cpuacct, cpu, folder(2, ["memory", "pids"], V2_FILES)]);
  const sample = reader.read();
  expect(sample?.cpu).toMatchObject({ totalNano: 3e9, perCpuNano: [1e9, 2e9] });
  expect(sample?.memory).toMatchObject({ version: 2, usageBytes: 4_096_000 });
  expect(sample?.pids).toEqual({ current: 4, limit: 100 });
  expect(sample?.io).toEqual({ bytes: [], operations: null });
});

test("numbers are read anew each time, through files that stay open and are closed in the end", () => {
  const folders = v1();
  const open = () =>
    readdirSync("/proc/self/fd", { withFileTypes: true }).filter((entry) => entry.isSymbolicLink())
      .length;
  const before = open();
  const reader = new CgroupUsageReader(folders);
  reader.read();
  const during = open();
  writeFileSync(join(root, "memory", "memory.usage_in_bytes"), "5\n");
  writeFileSync(join(root, "memory", "memory.stat"), "cache 11\nrss 21\nx 7\ntotal_rss 31\ny 1\n");
  const second = reader.read();
  expect(second?.memory).toMatchObject({
    usageBytes: 5,
    stat: { cache: 11, rss: 21, total_rss: 31 },
  });
  expect(open()).toBe(during);
  reader[Symbol.dispose]();
  expect(open()).toBe(before);
});

test("a cgroup that is gone, or has no controller at all, is no sample and no error", () => {
  using gone = new CgroupUsageReader([
    { hierarchy: { ...emptyV2, mountPoint: "/nowhere" }, folder: "/nowhere/x" },
  ]);
  expect(gone.read()).toBeNull();
  using bare = new CgroupUsageReader([folder(2, [], { "cpu.stat": "usage_usec 1\n" })]);
  expect(bare.read()).toMatchObject({ memory: null, pids: null, io: { bytes: [] } });
});

const emptyV2 = { version: 2, name: "", controllers: ["memory"], ownPath: "/" } as const;
