/**
 * Flags of `run`, `create` and `exec` one by one: what to ask for, what the container then sees. The docker CLI and ours
 * get the same answer.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
let folder: string;

beforeAll(async () => {
  engine = await startEngine({ daemonFlags: ["--default-ulimit", "core=7:9"] });
  folder = join(engine.root, "flags");
  mkdirSync(folder);
  writeFileSync(join(folder, "env"), "# comment\nA=from file\nB=2\n");
  writeFileSync(join(folder, "labels"), "one=1\ntwo=2\n");
  const errno = { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 95 };
  const profile = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [errno] };
  writeFileSync(join(folder, "seccomp.json"), JSON.stringify(profile));
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const v1 = existsSync("/sys/fs/cgroup/memory/memory.limit_in_bytes");
const cgroup = (file: string) => ["cat", `/sys/fs/cgroup/${file}`];
const sh = (script: string) => ["sh", "-c", script];
const grep = (pattern: string, file: string) => ["grep", "-E", pattern, file];

/** Flags, what the container runs, what it prints. `@` in a flag stands for the test's folder. */
type Case = readonly [flags: string, command: readonly string[], output: string | RegExp];

const cases: readonly Case[] = [
  ["--ulimit nofile=100:200", sh("ulimit -Sn; ulimit -Hn"), "100\n200"],
  ["", grep("core", "/proc/self/limits"), /size +7 +9 /],
  ["--ulimit core=1:2", grep("core", "/proc/self/limits"), /size +1 +2 /],
  ["--sysctl net.ipv4.ip_forward=1", ["cat", "/proc/sys/net/ipv4/ip_forward"], "1"],
  ["--sysctl kernel.msgmax=4096", ["cat", "/proc/sys/kernel/msgmax"], "4096"],
  ["--shm-size 8m", sh("df /dev/shm | tail -1 | awk '{print $2}'"), "8192"],
  [
    "--tmpfs /t:size=1m,mode=700,exec",
    sh("grep ' /t ' /proc/mounts; stat -c %a /t"),
    /size=1024k.*\n700$/,
  ],
  [
    "--mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770",
    sh("stat -c %a /t; grep ' /t ' /proc/mounts"),
    /^1770\n.*noexec.*size=1024k/,
  ],
  ["--read-only --tmpfs /t", sh("touch /t/x && touch /x 2>&1 || true"), /Read-only file system/],
  [
    "--hostname h --domainname d",
    sh("hostname; cat /proc/sys/kernel/domainname; hostname -f"),
    /^h\nd\nh/,
  ],
  ["--oom-score-adj 500", ["cat", "/proc/self/oom_score_adj"], "500"],
  ["--env-file @/env -e A=flag", sh("echo $A $B"), "flag 2"],
  ["-u 1000:2000 --group-add 3000", ["id", "-u"], "1000"],
  ["-u 1000:2000 --group-add 3000", ["id", "-G"], "2000 3000"],
  ["-w /made/here", ["pwd"], "/made/here"],
  ["--cap-drop ALL --cap-add CHOWN", grep("CapEff", "/proc/self/status"), /0000000000000001$/],
  ["--security-opt no-new-privileges", grep("NoNewPrivs", "/proc/self/status"), /1$/],
  ["--security-opt seccomp=unconfined", grep("^Seccomp:", "/proc/self/status"), /0$/],
  ["--security-opt seccomp=builtin", grep("^Seccomp:", "/proc/self/status"), /2$/],
  [
    "--security-opt seccomp=@/seccomp.json",
    sh("mkdir /x 2>&1 || true"),
    /Operation not supported|Not supported/,
  ],
  [
    "--security-opt systempaths=unconfined",
    sh("head -c1 /proc/timer_list | wc -c; grep -c ' /proc/sys ' /proc/mounts || true"),
    "1\n0",
  ],
  ["--privileged", sh("test -w /sys/fs/cgroup && grep CapEff /proc/self/status | wc -l"), "1"],
  ["--init", ["cat", "/proc/1/comm"], /init|tini/],
  ["--net none", sh("ls /sys/class/net"), "lo"],
  ["--mac-address 02:42:ac:11:00:99", ["cat", "/sys/class/net/eth0/address"], "02:42:ac:11:00:99"],
  ["--add-host a.test:10.1.2.3", grep("a.test", "/etc/hosts"), /^10\.1\.2\.3/],
  [
    "--dns 10.9.9.9 --dns-search s.test --dns-option ndots:3",
    sh("grep -v ^# /etc/resolv.conf"),
    "nameserver 10.9.9.9\nsearch s.test\noptions ndots:3",
  ],
  ["--entrypoint echo", ["hello"], "hello"],
  ["--pids-limit 77", cgroup(v1 ? "pids/pids.max" : "pids.max"), "77"],
  ["-m 64m", cgroup(v1 ? "memory/memory.limit_in_bytes" : "memory.max"), "67108864"],
  ["--cpu-shares 512", cgroup(v1 ? "cpu/cpu.shares" : "cpu.weight"), v1 ? "512" : /^\d+$/],
  ["--cpus 0.5", cgroup(v1 ? "cpu/cpu.cfs_quota_us" : "cpu.max"), /^50000/],
  ["--cpuset-cpus 0", cgroup(v1 ? "cpuset/cpuset.cpus" : "cpuset.cpus"), "0"],
  ...(v1
    ? ([
        [
          "--device-cgroup-rule 'c 42:* rm'",
          grep("c 42:", "/sys/fs/cgroup/devices/devices.list"),
          "c 42:* rm",
        ],
        ["--device /dev/zero:/dev/mine:r", sh("head -c2 /dev/mine | wc -c"), "2"],
        ["-m 64m --memory-swappiness 7", cgroup("memory/memory.swappiness"), "7"],
        [
          "-m 64m --oom-kill-disable",
          sh("grep oom_kill_disable /sys/fs/cgroup/memory/memory.oom_control"),
          "oom_kill_disable 1",
        ],
        [
          "-m 64m --memory-reservation 32m",
          cgroup("memory/memory.soft_limit_in_bytes"),
          "33554432",
        ],
      ] satisfies Case[])
    : []),
];

/** As a shell would, but only single quotes. */
const words = (text: string): string[] =>
  [...text.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) =>
    (quoted ?? plain ?? "").replace("@", folder),
  );

describe("run", () => {
  for (const [flags, command, output] of cases) {
    const title = flags === "" ? "nothing asked" : flags;
    test(`${title}: ${command.join(" ")}`, async () => {
      const args = ["run", "--rm", ...words(flags), "busybox", ...command];
      const answers = await Promise.all([engine.docker(args), engine.naru(args)]);
      for (const { stdout, stderr } of answers) {
        expect(stderr).toBe("");
        if (typeof output === "string") expect(stdout).toBe(`${output}\n`);
        else expect(stdout.trimEnd()).toMatch(output);
      }
    });
  }
});

describe("create", () => {
  const flags = [
    "--annotation",
    "note=x",
    "--stop-signal",
    "SIGUSR1",
    "--stop-timeout",
    "3",
    "--platform",
    "linux",
    "--runtime",
    "naru",
    "--pull",
    "never",
    "-l",
    "three=3",
    "--detach-keys",
    "ctrl-a",
    "--restart",
    "on-failure:2",
    "--userns",
    "host",
  ];
  const of = (id: string, format: string) => engine.ok(["inspect", "-f", format, id]);

  for (const client of ["docker", "naru"] as const) {
    test(`files name the container and its labels, and inspect tells every option (${client})`, async () => {
      const file = join(folder, `${client}.cid`);
      const more = ["--cidfile", file, "--label-file", join(folder, "labels")];
      const asked = client === "docker" ? flags : flags.filter((flag) => flag !== "");
      const known = asked.filter(
        (flag, index) => flag !== "--detach-keys" && asked[index - 1] !== "--detach-keys",
      );
      const { code, stderr } = await engine[client]([
        "create",
        ...known,
        ...more,
        "busybox",
        "true",
      ]);
      expect(stderr).toBe("");
      expect(code).toBe(0);
      const id = readFileSync(file, "utf8").trim();
      expect(await of(id, "{{json .Config.Labels}}")).toBe('{"one":"1","three":"3","two":"2"}');
      expect(await of(id, "{{.Config.StopSignal}} {{.Config.StopTimeout}}")).toBe("SIGUSR1 3");
      expect(await of(id, "{{.HostConfig.RestartPolicy}} {{.HostConfig.UsernsMode}}")).toBe(
        "{on-failure 2} host",
      );
      expect(await of(id, "{{json .HostConfig.Annotations}}")).toBe('{"note":"x"}');
      expect((await engine[client](["create", ...more, "busybox", "true"])).stderr).toContain(
        "container ID file found",
      );
      await engine.ok(["rm", id]);
    });
  }
});

describe("exec", () => {
  beforeAll(async () => {
    const flags = ["--cap-drop", "ALL", "-e", "A=container", "-u", "1000", "-w", "/tmp"];
    await engine.ok(["run", "-d", "--name", "target", ...flags, "busybox", "sleep", "1000"]);
  });

  const execs: readonly Case[] = [
    ["", sh("id -u; pwd; echo $A"), "1000\n/tmp\ncontainer"],
    ["-u root -w / -e A=flag", sh("id -u; pwd; echo $A"), "0\n/\nflag"],
    ["--env-file @/env", sh("echo $A $B"), "from file 2"],
    ["-u 0", grep("CapEff", "/proc/self/status"), /0000000000000000$/],
    ["--privileged -u 0", grep("CapEff", "/proc/self/status"), /[1-9a-f]/],
    ["--detach-keys ctrl-x", ["echo", "x"], "x"],
  ];
  for (const [flags, command, output] of execs) {
    test(`${flags === "" ? "nothing asked" : flags}: ${command.join(" ")}`, async () => {
      const args = ["exec", ...words(flags), "target", ...command];
      for (const { stdout, stderr } of [await engine.docker(args), await engine.naru(args)]) {
        expect(stderr).toBe("");
        if (typeof output === "string") expect(stdout).toBe(`${output}\n`);
        else expect(stdout.trimEnd().split(":\t").at(-1)).toMatch(output);
      }
    });
  }

  test("those that run are in the container's inspect, and detached ones leave at once", async () => {
    await engine.ok(["exec", "-d", "target", "sleep", "1000"]);
    const ids = JSON.parse(
      await engine.ok(["inspect", "-f", "{{json .ExecIDs}}", "target"]),
    ) as string[];
    const states = await Promise.all(
      ids.map(
        async (id) =>
          (await (await engine.fetch(`/exec/${id}/json`)).json()) as { Running: boolean },
      ),
    );
    expect(states.filter(({ Running: running }) => running)).toHaveLength(1);
  });
});
