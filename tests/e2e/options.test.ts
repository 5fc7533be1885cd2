/** Options of `docker run` that limit and confine, each by what the container sees. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, statSync } from "node:fs";

import { type Engine, startEngine } from "./engine.ts";
import { realtimeIsTaken } from "./realtime.ts";

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine();
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const once = (...args: string[]) => engine.ok(["run", "--rm", ...args]);
const refused = async (...args: string[]) => {
  const { code, stderr } = await engine.docker(["run", "--rm", ...args]);
  expect(code).not.toBe(0);
  return stderr;
};
const unified = existsSync("/sys/fs/cgroup/cgroup.controllers");

/** `/dev/vda`: throttles are for block devices. */
const blockDevice = (): string | undefined =>
  readdirSync("/sys/block")
    .map((name) => `/dev/${name}`)
    .find((path) => existsSync(path) && statSync(path).isBlockDevice());

test.skipIf(unified || blockDevice() === undefined)(
  "throttles of block devices are in the container's cgroup and in inspect",
  async () => {
    const disk = blockDevice() ?? "";
    const flags = [
      "--device-read-bps",
      `${disk}:1mb`,
      "--device-write-bps",
      `${disk}:2mb`,
      "--device-read-iops",
      `${disk}:100`,
      "--device-write-iops",
      `${disk}:200`,
    ];
    const folder = "/sys/fs/cgroup/blkio/blkio.throttle";
    const read = ["read_bps", "write_bps", "read_iops", "write_iops"].map(
      (name) => `${folder}.${name}_device`,
    );
    const output = await once(...flags, "busybox", "cat", ...read);
    expect(output.split("\n").map((line) => line.split(" ")[1])).toEqual([
      "1048576",
      "2097152",
      "100",
      "200",
    ]);
    const id = await engine.ok(["create", ...flags, "busybox", "true"]);
    const format = "{{json .HostConfig.BlkioDeviceReadBps}}";
    expect(await engine.ok(["inspect", "-f", format, id])).toBe(
      `[{"Path":"${disk}","Rate":1048576}]`,
    );
    await engine.ok(["rm", id]);
    expect(await refused("--device-read-bps", "/dev/null:1mb", "busybox", "true")).toContain(
      "/dev/null is not a block device",
    );
  },
);

test.skipIf(unified || realtimeIsTaken())(
  "real-time shares reach the cgroup, and are checked",
  async () => {
    const flags = ["--cpu-rt-period", "500000", "--cpu-rt-runtime", "1000"];
    const folder = "/sys/fs/cgroup/cpu";
    if (existsSync(`${folder}/cpu.rt_runtime_us`)) {
      const files = [`${folder}/cpu.rt_period_us`, `${folder}/cpu.rt_runtime_us`];
      expect(await once(...flags, "busybox", "cat", ...files)).toBe("500000\n1000");
      expect(
        await refused("--cpu-rt-period", "1000", "--cpu-rt-runtime", "2000", "busybox", "true"),
      ).toContain("cpu real-time runtime cannot be higher than cpu real-time period");
    } else {
      expect(await refused(...flags, "busybox", "true")).toContain(
        "kernel does not support CPU real-time scheduler",
      );
    }
  },
);

test("the cgroup namespace is the host's on v1 and private on v2, unless asked", async () => {
  const read = ["busybox", "sh", "-c", "cut -d: -f3 /proc/self/cgroup | sort -u"];
  const byDefault = await once(...read);
  if (unified) expect(byDefault).toBe("/");
  else expect(byDefault).toContain(engine.cgroupParent);
  expect(await once("--cgroupns", "private", ...read)).toBe("/");
  expect(await once("--cgroupns", "host", ...read)).toContain(engine.cgroupParent);
});

test("a namespace of a container that is not there or does not run is refused in Docker's words", async () => {
  const id = await engine.ok(["create", "--name", "idle", "busybox", "true"]);
  expect(await refused("--pid", "container:idle", "busybox", "true")).toContain(
    `failed to join PID namespace: container ${id} is not running`,
  );
  expect(await refused("--ipc", "container:idle", "busybox", "true")).toContain(
    `failed to join IPC namespace: container ${id} is not running`,
  );
  expect(await refused("--pid", "container:gone", "busybox", "true")).toContain(
    "Error response from daemon: No such container: gone",
  );
  await engine.ok(["rm", "idle"]);
  await engine.ok(["run", "-d", "--name", "donor", "busybox", "sleep", "1000"]);
  expect(await refused("--ipc", "container:donor", "busybox", "true")).toContain(
    "non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
  );
  expect(await once("--pid", "container:donor", "busybox", "ps")).toContain("sleep 1000");
  await engine.ok(["rm", "-f", "donor"]);
});

test("what is not procfs is not mounted at /proc", async () => {
  for (const mount of ["files:/proc", "/tmp:/proc"]) {
    expect(await refused("-v", mount, "busybox", "true")).toContain(
      '"/proc" cannot be mounted because it is not of type proc',
    );
  }
  expect(await once("-v", "/proc:/proc", "busybox", "cat", "/proc/1/comm")).not.toBe("cat");
});

test("options that cannot go together are refused in Docker's words", async () => {
  const cases: [string[], string][] = [
    [["--restart", "always"], "cannot specify both --restart and --rm"],
    [["--uts", "host", "-h", "x"], "conflicting options: hostname and the UTS mode"],
    [["--net", "container:x", "-h", "x"], "conflicting options: hostname and the network mode"],
    [["-h", "x".repeat(65)], "error during container init: sethostname: invalid argument"],
    [["--isolation", "hyperv"], "invalid isolation (hyperv): linux only supports 'default'"],
    [["--security-opt", "foo=bar"], 'invalid --security-opt 2: "foo=bar"'],
    [["--oom-score-adj", "2000"], "range for oom score adj is [-1000, 1000]"],
  ];
  for (const [flags, sentence] of cases) {
    const { stderr } = await engine.docker(["run", "--rm", ...flags, "busybox", "true"]);
    expect(stderr).toContain(sentence);
  }
});

test("cgroups are writable where asked, and AppArmor and SELinux options pass on a host without them", async () => {
  const write = ["busybox", "sh", "-c", "mkdir /sys/fs/cgroup/*/x 2>&1 || mkdir /sys/fs/cgroup/x"];
  expect((await engine.docker(["run", "--rm", ...write])).code).not.toBe(0);
  await once(
    "--security-opt",
    "writable-cgroups=true",
    ...write.slice(0, -1),
    "mkdir -p $(ls -d /sys/fs/cgroup/*/ | tail -1)x || mkdir /sys/fs/cgroup/x",
  );
  if (!existsSync("/sys/kernel/security/apparmor")) {
    await once("--security-opt", "apparmor=none-such", "busybox", "true");
  }
  await once("--security-opt", "label=type:svirt_t", "busybox", "true");
});

test("the user's own groups and --group-add are an exec's too, by number and name", async () => {
  const flags = ["--group-add", "daemon", "--group-add", "4242"];
  expect((await once(...flags, "busybox", "id", "-G")).split(" ")).toContain("4242");
  await engine.ok(["run", "-d", "--name", "groups", ...flags, "busybox", "sleep", "1000"]);
  expect(await engine.ok(["exec", "-u", "1000", "groups", "id", "-G"])).toContain("4242");
  await engine.ok(["rm", "-f", "groups"]);
  expect(await refused("--group-add", "nosuch", "busybox", "true")).toContain(
    "unable to find group nosuch",
  );
});

test("an image is mounted read-only, whole or a part of it, and outlives its name", async () => {
  const script = "mkdir -p /data/deep; echo one >/data/deep/file; ln -s ../.. /data/deep/out";
  await engine.ok(["run", "--name", "maker", "busybox", "sh", "-c", script]);
  await engine.ok(["commit", "maker", "data:latest"]);
  const mount = (more = "") => ["--mount", `type=image,src=data,dst=/m${more}`];
  expect(await once(...mount(), "busybox", "cat", "/m/data/deep/file")).toBe("one");
  expect(await once(...mount(",image-subpath=data/deep"), "busybox", "ls", "/m")).toBe("file\nout");
  expect(await once(...mount(",image-subpath=data/deep/file"), "busybox", "cat", "/m")).toBe("one");
  expect(await refused(...mount(), "busybox", "touch", "/m/x")).toContain("Read-only file system");
  expect(await refused(...mount(",image-subpath=nosuch"), "busybox", "true")).toContain(
    "no such file or directory",
  );
  expect(await refused(...mount(",image-subpath=../etc"), "busybox", "true")).toContain(
    "subpath must be a relative path within the volume",
  );
  expect(await refused("--mount", "type=image,src=nosuch,dst=/m", "busybox", "true")).toContain(
    "No such image: nosuch",
  );
  const cat = ["busybox", "cat", "/m/data/deep/file"];
  await engine.ok(["create", "--name", "keeper", ...mount(), ...cat]);
  const format = "{{range .Mounts}}{{.Type}} {{.Source}} {{.RW}}{{end}}";
  expect(await engine.ok(["inspect", "-f", format, "keeper"])).toBe("image data false");
  await engine.ok(["rm", "maker"]);
  await engine.ok(["rmi", "-f", "data"]);
  expect(await engine.ok(["start", "-a", "keeper"])).toBe("one");
  await engine.ok(["rm", "keeper"]);
});
