/**
 * What only a whole kernel shows, in the machine of script/test-vm: pure cgroup v2, AppArmor, device programs, every
 * capability, limits raised. Each by what the container sees.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
const once = (...args: string[]) => engine.ok(["run", "--rm", ...args]);
const shell = (flags: readonly string[], script: string) =>
  once(...flags, "busybox", "sh", "-c", script);

describe.skipIf(process.env["NARU_VM"] === undefined)("on a stock kernel", () => {
  beforeAll(async () => {
    engine = await startEngine();
  });
  afterAll(async () => {
    expect(engine.violations()).toEqual([]);
    await engine[Symbol.asyncDispose]();
  });

  test("docker info tells of cgroup v2, AppArmor and no missing limit", async () => {
    const info = JSON.parse(await engine.ok(["info", "-f", "{{json .}}"]));
    expect(info.CgroupVersion).toBe("2");
    expect(info.SecurityOptions).toEqual(
      expect.arrayContaining(["name=apparmor", "name=cgroupns", "name=seccomp,profile=builtin"]),
    );
    expect(info.Warnings ?? []).toEqual([]);
  });

  test("limits stand in the container's own cgroup, at the root of what it sees", async () => {
    const flags =
      "-m 64m --memory-swap 96m --memory-reservation 32m --cpu-shares 512 --cpus 0.5 --cpuset-cpus 0 --pids-limit 77";
    const files =
      "memory.max memory.swap.max memory.low cpu.weight cpu.max cpuset.cpus pids.max cgroup.type";
    const script = `cat /proc/self/cgroup; cd /sys/fs/cgroup; for f in ${files}; do cat $f 2>&1; done; touch x 2>&1`;
    const lines = (await shell(flags.split(" "), `${script}; true`)).split("\n");
    expect(lines).toEqual([
      "0::/",
      String(64 << 20),
      expect.stringMatching(/^33554432$/),
      String(32 << 20),
      "20",
      "50000 100000",
      "0",
      "77",
      expect.any(String),
      expect.stringContaining("Read-only file system"),
    ]);
  });

  test("what cgroup v2 has not is discarded or refused in Docker's words", async () => {
    const discarded: [string[], string][] = [
      [["-m", "64m", "--memory-swappiness", "7"], "Memory swappiness discarded."],
      [["-m", "64m", "--oom-kill-disable"], "OomKillDisable discarded."],
    ];
    for (const [flags, warning] of discarded) {
      const run = await engine.docker(["run", "--rm", ...flags, "busybox", "echo", "ran"]);
      expect(run.stdout).toBe("ran\n");
      expect(run.stderr).toContain(warning);
    }
    const realtime = ["--cpu-rt-runtime", "1000", "--cpu-rt-period", "500000"];
    const refused = await engine.docker(["run", "--rm", ...realtime, "busybox", "true"]);
    expect(refused.code).toBe(125);
    expect(refused.stderr).toContain("kernel does not support CPU real-time scheduler");
  });

  test("throttles and weights of block devices", async () => {
    const disk = "/dev/vda";
    const flags = `--device-read-bps ${disk}:1mb --device-write-bps ${disk}:2mb --device-read-iops ${disk}:100 --device-write-iops ${disk}:200`;
    expect(await shell(flags.split(" "), "cat /sys/fs/cgroup/io.max")).toBe(
      "254:0 rbps=1048576 wbps=2097152 riops=100 wiops=200",
    );
    const weights = ["run", "--rm", "--blkio-weight", "500"];
    const weighed = await engine.docker([
      ...weights,
      "busybox",
      "cat",
      "/sys/fs/cgroup/io.weight",
      "/sys/fs/cgroup/io.bfq.weight",
    ]);
    expect(`${weighed.stdout}${weighed.stderr}`).toMatch(/default (4950|500)\n/);
  });

  test("one that wants too much memory is killed, and that is told", async () => {
    const flags = ["--name", "hungry", "-m", "16m", "--memory-swap", "16m"];
    const { code } = await engine.docker([
      "run",
      ...flags,
      "busybox",
      "tail",
      "-c",
      "64m",
      "/dev/zero",
    ]);
    expect(code).toBe(137);
    expect(await engine.ok(["inspect", "-f", "{{.State.OOMKilled}}", "hungry"])).toBe("true");
    await engine.ok(["rm", "hungry"]);
  });

  test("update changes a running one, pause holds it, stats tell of it", async () => {
    await engine.ok(["run", "-d", "--name", "busy", "-m", "64m", "busybox", "sleep", "1000"]);
    const update = "update -m 96m --memory-swap -1 --pids-limit 9 --cpus 0.25 busy";
    await engine.ok(update.split(" "));
    const files = ["memory.max", "memory.swap.max", "pids.max", "cpu.max"].map(
      (name) => `/sys/fs/cgroup/${name}`,
    );
    expect(await engine.ok(["exec", "busy", "cat", ...files])).toBe(
      `${96 << 20}\nmax\n9\n25000 100000`,
    );
    await engine.ok(["pause", "busy"]);
    const id = await engine.ok(["inspect", "-f", "{{.Id}}", "busy"]);
    const events = `/sys/fs/cgroup${engine.cgroupParent}/${id}/cgroup.events`;
    expect(readFileSync(events, "utf8")).toContain("frozen 1");
    await engine.ok(["unpause", "busy"]);
    const stats = JSON.parse(await engine.ok(["stats", "--no-stream", "--format", "json", "busy"]));
    expect(stats.PIDs).toBe("1");
    expect(stats.MemUsage).toMatch(/ \/ 96MiB$/);
    await engine.ok(["rm", "-f", "busy"]);
  });

  test("devices: the default ones, those given, and no other, by a program of the kernel's", async () => {
    const tries =
      "mknod /dev/own b 254 0 && (head -c1 /dev/own >/dev/null) 2>&1; head -c1 /dev/zero | wc -c; mknod /tmp/n c 1 3 && echo x >/tmp/n && echo null";
    const without = await shell([], `${tries}; true`);
    expect(without).toContain("Operation not permitted");
    expect(without).toContain("1\nnull");
    expect(await shell(["--device", "/dev/vda:/dev/own:r"], "head -c1 /dev/own | wc -c")).toBe("1");
    const writes = ["--device", "/dev/vda:/dev/own:r"];
    const refused = await engine.docker([
      "run",
      "--rm",
      ...writes,
      "busybox",
      "sh",
      "-c",
      ": >>/dev/own",
    ]);
    expect(refused.stderr).toContain("Operation not permitted");
    const rule = ["--device-cgroup-rule", "b 254:* rmw"];
    expect(await shell(rule, "mknod /tmp/d b 254 0 && head -c1 /tmp/d | wc -c")).toBe("1");
  });

  test("processes run under AppArmor's docker-default, exec's too, unless told otherwise", async () => {
    const read = ["cat", "/proc/self/attr/apparmor/current"];
    expect(await once("busybox", ...read)).toBe("docker-default (enforce)");
    expect(await once("--privileged", "busybox", ...read)).toBe("unconfined");
    expect(await once("--security-opt", "apparmor=unconfined", "busybox", ...read)).toBe(
      "unconfined",
    );
    await engine.ok(["run", "-d", "--name", "armed", "busybox", "sleep", "1000"]);
    expect(await engine.ok(["exec", "armed", ...read])).toBe("docker-default (enforce)");
    expect(await engine.ok(["inspect", "-f", "{{.AppArmorProfile}}", "armed"])).toBe(
      "docker-default",
    );
    await engine.ok(["rm", "-f", "armed"]);
    const missing = await engine.docker([
      "run",
      "--rm",
      "--security-opt",
      "apparmor=naru-none",
      "busybox",
      "true",
    ]);
    expect(missing.code).not.toBe(0);
    expect(missing.stderr).toContain("apparmor");
  });

  test("AppArmor's profile holds where capabilities would not", async () => {
    const mounts = "mkdir /m; mount -t tmpfs none /m && echo mounted; true";
    const add = ["--cap-add", "SYS_ADMIN"];
    expect(await shell(add, mounts)).not.toContain("mounted");
    expect(await shell([...add, "--security-opt", "apparmor=unconfined"], mounts)).toBe("mounted");
  });

  test("a privileged one has every capability and every device, and may make cgroups", async () => {
    const own = /CapEff:\t(\w+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "";
    const script =
      "grep CapEff /proc/self/status; test -b /dev/vda && echo disk; mkdir /sys/fs/cgroup/below && echo made; mkdir /m && mount -t tmpfs none /m && echo mounted";
    expect(await shell(["--privileged"], script)).toBe(`CapEff:\t${own}\ndisk\nmade\nmounted`);
  });

  test("limits of processes may be higher than the engine's own", async () => {
    const flags = ["nofile=1048576:1048576", "memlock=-1:-1", "core=0", "rtprio=9:9"].flatMap(
      (limit) => ["--ulimit", limit],
    );
    expect(await shell(flags, "ulimit -Hn; ulimit -l; ulimit -c; ulimit -r")).toBe(
      "1048576\nunlimited\n0\n9",
    );
  });
});
