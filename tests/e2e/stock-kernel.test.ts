/**
 * What only a whole kernel shows, in the machine of script/test-vm: pure cgroup v2, AppArmor, device programs, every
 * capability, limits raised. Each by what the container sees.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";

import type { ContainerStats } from "#wire/docker";

import { type Engine, startEngine } from "./engine.ts";
import { eventually } from "./until.ts";

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

  test("weights of single disks are the scheduler BFQ's: discarded with a warning before it is loaded", async () => {
    const weigh = () =>
      engine.docker(
        "run --rm --blkio-weight-device /dev/vdb:300 busybox tail -n 1 /sys/fs/cgroup/io.bfq.weight".split(
          " ",
        ),
      );
    const scheduler = "/sys/block/vdb/queue/scheduler";
    if (!readFileSync(scheduler, "utf8").includes("bfq")) {
      expect((await weigh()).stderr).toContain("Weight-device discarded.");
    }
    writeFileSync(scheduler, "bfq");
    await engine.restartDaemon();
    expect(await weigh()).toEqual({ code: 0, stdout: "254:16 300\n", stderr: "" });
    writeFileSync(scheduler, "none");
  });

  test("the host's cgroup namespace shows the whole tree, one of its own the own part", async () => {
    const look = "cut -d: -f3 /proc/self/cgroup; cd /sys/fs/cgroup; ls -d naru* cgroup.type; true";
    expect(await shell(["--cgroupns", "private"], `${look} 2>&1`)).toStartWith("/\n");
    const seen = await shell(
      ["--cgroupns", "host"],
      `${look}; test -d .$(cut -d: -f3 /proc/self/cgroup) && echo mine; touch x 2>&1; true`,
    );
    expect(seen).toContain(`${engine.cgroupParent}/`);
    expect(seen).toContain(engine.cgroupParent.slice(1));
    expect(seen).toContain("mine\n");
    expect(seen).not.toContain("cgroup.type\n");
    expect(seen).toContain("Read-only file system");
    const open = "run --rm --cgroupns host --security-opt writable-cgroups=true busybox true";
    expect((await engine.docker(open.split(" "))).stderr).toContain("writable-cgroups needs");
    const all = await shell(
      ["--cgroupns", "host", "--privileged"],
      "test -w /sys/fs/cgroup/cgroup.procs && echo all",
    );
    expect(all).toBe("all");
  });

  test("limits hold in a parent that somebody took the controllers from", async () => {
    const parent = `${engine.cgroupParent}/of/somebody`;
    const flags = `--cgroup-parent ${parent} -m 64m --cpuset-cpus 0 --pids-limit 9`.split(" ");
    const files =
      "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpuset.cpus /sys/fs/cgroup/pids.max";
    const wanted = `${64 << 20}\n0\n9`;
    expect(await shell(flags, files)).toBe(wanted);
    const control = `/sys/fs/cgroup${parent}/cgroup.subtree_control`;
    await eventually(() => writeFileSync(control, "-memory -cpuset -pids"));
    expect(await shell(flags, files)).toBe(wanted);
  });

  test("stats tell what the second version counts", async () => {
    const work = "dd if=/dev/zero of=/data bs=1M count=8 && sync; while :; do :; done";
    const flags = "-d --name counted -m 64m --pids-limit 11 --cpus 0.2".split(" ");
    await engine.ok(["run", ...flags, "busybox", "sh", "-c", work]);
    await eventually(async () => {
      const answer = await engine.fetch("/v1.51/containers/counted/stats?stream=0&one-shot=1");
      const stats = (await answer.json()) as ContainerStats;
      expect(stats.cpu_stats.throttling_data.throttled_periods).toBeGreaterThan(0);
      expect(stats.cpu_stats.cpu_usage.percpu_usage).toBeUndefined();
      expect(stats.pids_stats.limit).toBe(11);
      expect(stats.memory_stats).toMatchObject({ limit: 64 << 20 });
      expect(stats.memory_stats.stats?.["anon"]).toBeGreaterThan(0);
      expect(stats.memory_stats.stats?.["file"]).toBeGreaterThan(0);
      const written = stats.blkio_stats.io_service_bytes_recursive ?? [];
      const bytes = written.filter(({ op }) => op === "write").map(({ value }) => value);
      expect(Math.max(0, ...bytes)).toBeGreaterThanOrEqual(8 << 20);
    });
    await engine.ok(["rm", "-f", "counted"]);
  });

  test("one whose child wanted too much memory runs on, and both are told", async () => {
    const format = "{{.Action}} {{.Actor.Attributes.name}}";
    const words = ["events", "-f", "event=oom", "-f", "event=die", "--format", format];
    const events = Bun.spawn(["docker", "-H", `unix://${engine.socket}`, ...words], {
      stdout: "pipe",
    });
    const script = "while ! [ -e /end ]; do tail -c 64m /dev/zero; sleep 0.1; done";
    const flags = "-d --name parent -m 16m --memory-swap 16m".split(" ");
    await engine.ok(["run", ...flags, "busybox", "sh", "-c", script]);
    for await (const chunk of events.stdout) {
      expect(new TextDecoder().decode(chunk)).toStartWith("oom parent\n");
      break;
    }
    events.kill();
    const state = () =>
      engine.ok(["inspect", "-f", "{{.State.Running}} {{.State.OOMKilled}}", "parent"]);
    expect(await state()).toBe("true true");
    await engine.ok(["exec", "parent", "touch", "/end"]);
    await engine.ok(["wait", "parent"]);
    expect(await state()).toBe("false true");
    await engine.ok(["rm", "parent"]);
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
