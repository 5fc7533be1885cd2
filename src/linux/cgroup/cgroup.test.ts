import { afterEach, expect, test } from "bun:test";
import { readFileSync, readlinkSync } from "node:fs";

import { attempt } from "#linux/ffi";

import {
  type Cgroup,
  cleanPath,
  compileDeviceProgram,
  cpuWeightOf,
  layoutOf,
  openCgroupHost,
  parseOwnPaths,
  v1Writes,
  v2Writes,
} from "./index.ts";
import { attachDeviceProgram } from "./index.ts";

const host = openCgroupHost();
const made: Cgroup[] = [];
const WAIT = { timeoutMs: 5000 };
let counter = 0;

function create(resources: Parameters<typeof host.create>[0]["resources"] = {}): Cgroup {
  counter += 1;
  const cgroup = host.create({ path: `/naru-test-${process.pid}/c${counter}`, resources });
  made.push(cgroup);
  return cgroup;
}

afterEach(async () => {
  for (const cgroup of made.splice(0)) {
    await cgroup.killAll(WAIT);
    expect(await cgroup.remove(WAIT)).toBe(true);
  }
  host.at(`/naru-test-${process.pid}`).tryRemove();
});

/** A process in the cgroup: a shell that writes itself into every `tasks` (or cgroup.procs) file. */
function spawnInside(cgroup: Cgroup, program: string) {
  const files = cgroup.folders.map(({ hierarchy, folder }) =>
    hierarchy.version === 1 ? `${folder}/tasks` : `${folder}/cgroup.procs`,
  );
  const join = files.map((file) => `echo 0 > ${file}`).join(" && ");
  return Bun.spawn(["/bin/sh", "-c", `${join} && echo in && { ${program}; }`], { stdout: "pipe" });
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const reader = stream.getReader();
  const { value } = await reader.read();
  reader.releaseLock();
  return new TextDecoder().decode(value).split("\n", 1)[0] ?? "";
}

test("a layout is told from mountinfo and the own cgroup: v2 alone, v1 alone, hybrid", () => {
  const line = (type: string, target: string, options: string, root = "/") =>
    `32 31 0:29 ${root} ${target} rw - ${type} ${type} rw,${options}`;
  const of = (mountInfo: string, ownCgroup: string) =>
    layoutOf({ mountInfo, ownCgroup, readControllers: () => ["memory", "pids"] });
  const v2 = of(line("cgroup2", "/sys/fs/cgroup", "nsdelegate"), "0::/a.slice");
  expect(v2).toMatchObject({ mode: "v2", hierarchies: [{ name: "", ownPath: "/a.slice" }] });
  const v1 = of(line("cgroup", "/cg/cpu,cpuacct", "cpu,cpuacct"), "3:cpu,cpuacct:/x");
  expect(v1).toMatchObject({
    mode: "v1",
    hierarchies: [{ name: "cpu,cpuacct", controllers: ["cpu", "cpuacct"], ownPath: "/x" }],
  });
  const both = of(
    `${line("cgroup", "/cg/memory", "memory", "/pod")}\n${line("cgroup2", "/cg/unified", "")}`,
    "4:memory:/pod/me\n0::/",
  );
  expect(both.mode).toBe("hybrid");
  expect(both.hierarchies.map(({ ownPath }) => ownPath)).toEqual(["/me", "/"]);
  expect(parseOwnPaths("9:name=systemd:/u").get("name=systemd")).toBe("/u");
});

test("a path never climbs", () => {
  expect(cleanPath("naru//x/")).toBe("/naru/x");
  for (const bad of ["/", "", "/naru/../x"]) expect(() => cleanPath(bad)).toThrow("invalid cgroup");
});

test("limits are written where the kernel reads them", () => {
  const cgroup = create({
    memory: { limit: 64 << 20, swap: 128 << 20, reservation: 32 << 20, swappiness: 0 },
    cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: "0" },
    pids: { limit: 17 },
  });
  const read = (controller: string, file: string) =>
    readFileSync(cgroup.file(controller, file) ?? "", "utf8").trim();
  const v1 = host.hierarchies.some(
    (each) => each.version === 1 && each.controllers.includes("memory"),
  );
  expect(read("memory", v1 ? "memory.limit_in_bytes" : "memory.max")).toBe(`${64 << 20}`);
  if (v1) {
    expect(read("memory", "memory.memsw.limit_in_bytes")).toBe(`${128 << 20}`);
    expect(read("cpu", "cpu.cfs_quota_us")).toBe("50000");
  }
  expect(read("cpuset", "cpuset.cpus")).toBe("0");
  expect(read("pids", "pids.max")).toBe("17");
  expect(cgroup.readUsage().memoryLimitBytes).toBe(64 << 20);
});

test("a limit the kernel refuses leaves no folder", () => {
  const path = `/naru-test-${process.pid}/refused`;
  expect(() => host.create({ path, resources: { cpu: { cpus: "4095" } } })).toThrow("cpuset.cpus");
  expect(host.list(`/naru-test-${process.pid}`)).toEqual([]);
});

test("what a crash left is found by its parent's list", () => {
  create();
  expect(host.list(`/naru-test-${process.pid}`)).toEqual([`c${counter}`]);
  expect(host.list("/naru-test-nowhere")).toEqual([]);
});

test("a process joins, is counted, frozen, thawed, killed, and the folders go", async () => {
  const cgroup = create();
  const child = spawnInside(cgroup, "sleep 1000 & sleep 1000");
  expect(await firstLine(child.stdout)).toBe("in");
  expect(cgroup.pids()).toContain(child.pid);
  expect(cgroup.isEmpty()).toBe(false);
  await cgroup.freeze(WAIT);
  expect(cgroup.isFrozen()).toBe(true);
  cgroup.thaw();
  expect(cgroup.isFrozen()).toBe(false);
  await cgroup.freeze(WAIT);
  await cgroup.killAll(WAIT);
  await child.exited;
  expect(child.signalCode).toBe("SIGKILL");
  expect(cgroup.isEmpty()).toBe(true);
  expect(await cgroup.remove(WAIT)).toBe(true);
  expect(cgroup.exists()).toBe(false);
  await cgroup.killAll(WAIT);
  expect(await cgroup.remove(WAIT)).toBe(true);
});

test("an out-of-memory kill is counted", async () => {
  const cgroup = create({ memory: { limit: 8 << 20, swap: 8 << 20 } });
  const child = spawnInside(cgroup, "head -c 67108864 /dev/zero | tail -n 1");
  await child.exited;
  expect(cgroup.oomKills()).toBeGreaterThan(0);
});

test("joining goes through descriptors that close with their scope", () => {
  const cgroup = create();
  const join = cgroup.openJoin();
  const v1 = host.hierarchies.filter(({ version }) => version === 1).length;
  expect(join.tasks.length).toBe(v1);
  const [first] = join.tasks;
  join[Symbol.dispose]();
  if (first !== undefined) expect(attempt("close", first)).toBe(-9);
});

test("a process that moved below is followed there, in the v2 tree, and nowhere else", async () => {
  const unified = host.hierarchies.find(({ version }) => version === 2);
  if (unified === undefined) return;
  const cgroup = create();
  const folder = unified.mountPoint + cgroup.path;
  const deeper = `mkdir ${folder}/below && echo 0 >${folder}/below/cgroup.procs && echo below && sleep 60`;
  const child = spawnInside(cgroup, deeper);
  while (!readFileSync(`/proc/${child.pid}/cgroup`, "utf8").includes("/below")) await Bun.sleep(5);
  const open = cgroup.openBelow(child.pid) ?? -1;
  expect(readlinkSync(`/proc/self/fd/${open}`)).toBe(`${folder}/below`);
  attempt("close", open);
  expect(cgroup.openBelow(process.pid)).toBeNull();
  expect(create().openBelow(child.pid)).toBeNull();
});

test("v1 and v2 say the same in their own words", () => {
  const resources = {
    memory: { limit: 100, swap: 300 },
    cpu: { shares: 1024, quota: -1, period: 50_000 },
    pids: { limit: -1 },
    blockIO: { throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 7 }] },
    devices: [{ allow: false }, { allow: true, type: "c", major: 1, minor: 3 } as const],
  };
  const texts = (writes: readonly { file: string; value: string }[]) =>
    writes.map(({ file, value }) => `${file} ${value}`);
  expect(texts(v1Writes(resources))).toEqual([
    "memory.limit_in_bytes 100",
    "memory.memsw.limit_in_bytes 300",
    "cpu.shares 1024",
    "cpu.cfs_period_us 50000",
    "cpu.cfs_quota_us -1",
    "pids.max max",
    "blkio.throttle.read_bps_device 8:0 7",
    "devices.deny a",
    "devices.allow c 1:3 rwm",
  ]);
  expect(texts(v2Writes(resources))).toEqual([
    "memory.max 100",
    "memory.swap.max 200",
    "cpu.weight 39",
    "cpu.max max 50000",
    "pids.max max",
    "io.max 8:0 rbps=7",
  ]);
  expect([cpuWeightOf(2), cpuWeightOf(262_144)]).toEqual([1, 10_000]);
});

test("the device program lets through what its last fitting rule allows, and nothing else", async () => {
  const unified = host.hierarchies.find(({ version }) => version === 2);
  if (unified === undefined) return;
  const cgroup = create();
  const folder = cgroup.folders.find(({ hierarchy }) => hierarchy.version === 2)?.folder ?? "";
  attachDeviceProgram(folder, [
    { allow: false },
    { allow: true, type: "c", major: 1, minor: 3 },
    { allow: true, type: "c", major: 1, minor: 5, access: "r" },
  ]);
  const child = spawnInside(
    cgroup,
    "head -c1 /dev/null; (echo x > /dev/null) && echo null; head -c1 /dev/zero >/dev/null && echo zero; (: > /dev/zero) 2>/dev/null || echo refused; head -c1 /dev/full 2>/dev/null || echo no",
  );
  const output = await new Response(child.stdout).text();
  expect(output.split("\n").filter(Boolean)).toEqual(["in", "null", "zero", "refused", "no"]);
  expect(compileDeviceProgram([]).length).toBe(8 * 8);
});
