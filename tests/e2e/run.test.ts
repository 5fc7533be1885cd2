/** `docker run` as a user knows it: the program's surroundings, limits and exit codes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const sh = (script: string, ...flags: string[]): Promise<string> =>
  engine.ok(["run", "--rm", ...flags, "busybox", "sh", "-c", script]);

describe("the program", () => {
  test("its output reaches the terminal, stdout and stderr apart", async () => {
    const done = await engine.docker([
      "run",
      "--rm",
      "busybox",
      "sh",
      "-c",
      "echo out; echo err >&2",
    ]);
    expect(done).toEqual({ code: 0, stdout: "out\n", stderr: "err\n" });
  });

  test("its exit code is docker's", async () => {
    expect((await engine.docker(["run", "--rm", "busybox", "sh", "-c", "exit 37"])).code).toBe(37);
  });

  test("death by a signal is 128 and the signal's number", async () => {
    // Process 1 cannot be killed from inside: an init takes its place.
    const done = await engine.docker([
      "run",
      "--rm",
      "--init",
      "busybox",
      "sh",
      "-c",
      "kill -9 $$",
    ]);
    expect(done.code).toBe(137);
  });

  test("a command that is not there is 127, in runc's words", async () => {
    const done = await engine.docker(["run", "--rm", "busybox", "nosuchprogram"]);
    expect(done.code).toBe(127);
    expect(done.stderr).toContain('exec: "nosuchprogram": executable file not found in $PATH');
  });

  test("a path that is not there is 127", async () => {
    const done = await engine.docker(["run", "--rm", "busybox", "/no/such"]);
    expect(done.code).toBe(127);
    expect(done.stderr).toContain("no such file or directory");
  });

  test("a file that may not be executed is 126", async () => {
    const done = await engine.docker(["run", "--rm", "busybox", "/etc/passwd"]);
    expect(done.code).toBe(126);
    expect(done.stderr).toContain("permission denied");
  });

  test("a directory is 126", async () => {
    expect((await engine.docker(["run", "--rm", "busybox", "/etc"])).code).toBe(126);
  });

  test("an option the engine refuses is 125", async () => {
    const done = await engine.docker(["run", "--rm", "--memory", "1m", "busybox", "true"]);
    expect(done.code).toBe(125);
    expect(done.stderr).toContain("Minimum memory limit allowed is 6MB");
  });

  test("an image that is nowhere is 125", async () => {
    const done = await engine.docker(["run", "--rm", "--pull=never", "nosuchimage", "true"]);
    expect(done.code).toBe(125);
    expect(done.stderr).toContain("No such image: nosuchimage:latest");
  });

  test("stdin is passed and its end is seen", async () => {
    const done = await engine.docker(["run", "--rm", "-i", "busybox", "wc", "-c"], {
      stdin: "x".repeat(300_000),
    });
    expect(done.stdout.trim()).toBe("300000");
  });

  test("a large output arrives whole", async () => {
    const done = await engine.docker(["run", "--rm", "busybox", "sh", "-c", "seq 1 200000"]);
    expect(done.stdout.length).toBe(1_288_895);
    expect(done.stdout.endsWith("200000\n")).toBe(true);
  });

  test("environment, working directory and user are as asked", async () => {
    expect(
      await sh(
        "echo $A-$B; pwd; id",
        "-e",
        "A=1",
        "-e",
        "B=two words",
        "-w",
        "/var/new/dir",
        "-u",
        "daemon",
      ),
    ).toBe("1-two words\n/var/new/dir\nuid=1(daemon) gid=1(daemon) groups=1(daemon)");
  });

  test("root has root's groups, a number needs no name, and --group-add adds", async () => {
    expect(await sh("id")).toBe("uid=0(root) gid=0(root) groups=0(root),10(wheel)");
    expect(await sh("id", "-u", "1234:5678", "--group-add", "99")).toBe(
      "uid=1234 gid=5678 groups=99,5678",
    );
  });

  test("an unknown user is refused in Docker's words", async () => {
    const done = await engine.docker(["run", "--rm", "-u", "nosuch", "busybox", "true"]);
    expect(done.code).toBe(125);
    expect(done.stderr).toContain("unable to find user nosuch: no matching entries in passwd file");
  });

  test("PATH, HOME and HOSTNAME are set", async () => {
    const lines = (await sh("env", "--hostname", "ferry")).split("\n");
    expect(lines).toContain("HOME=/root");
    expect(lines).toContain("HOSTNAME=ferry");
    expect(lines).toContain("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  });

  test("--init runs an init as process 1 that reaps", async () => {
    const output = await sh(
      "tr '\\0' ' ' < /proc/1/cmdline; (sleep 0.01 &) ; sleep 0.1; awk '$3 == \"Z\"' /proc/[0-9]*/stat | wc -l",
      "--init",
    );
    expect(output).toContain("docker-init -- sh");
    expect(output.endsWith("0")).toBe(true);
  });

  test("--entrypoint and the command are joined", async () => {
    expect(await engine.ok(["run", "--rm", "--entrypoint", "echo", "busybox", "a", "b"])).toBe(
      "a b",
    );
  });

  test("a terminal is a terminal, with its size", async () => {
    const done = await engine.ok([
      "run",
      "--rm",
      "-t",
      "busybox",
      "sh",
      "-c",
      "tty; test -t 0 && test -t 1 && echo yes",
    ]);
    expect(done).toContain("/dev/pts/0");
    expect(done).toContain("yes");
  });
});

describe("isolation", () => {
  test("it sees its own processes, hostname and interfaces only", async () => {
    expect(await sh("echo $$; ls /proc | grep -c '^[0-9]'")).toBe("1\n3");
    expect(await sh("hostname", "--hostname", "web")).toBe("web");
    expect(await sh("ls /sys/class/net | sort | tr '\\n' ' '")).toBe("eth0 lo ");
    expect(await sh("ls /sys/class/net | sort | tr '\\n' ' '", "--network", "none")).toBe("lo ");
  });

  test("namespaces differ from the host's, and the host modes share them", async () => {
    const own = (type: string) =>
      Bun.spawnSync(["readlink", `/proc/self/ns/${type}`])
        .stdout.toString()
        .trim();
    const inside = (
      await sh(
        "for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done",
        // Docker's default on v1 is the host's.
        "--cgroupns",
        "private",
      )
    ).split("\n");
    expect(inside).toHaveLength(6);
    for (const [index, type] of ["mnt", "pid", "net", "ipc", "uts", "cgroup"].entries()) {
      expect(inside[index]).not.toBe(own(type));
    }
    expect(await sh("readlink /proc/self/ns/pid", "--pid", "host")).toBe(own("pid"));
    expect(await sh("readlink /proc/self/ns/ipc", "--ipc", "host")).toBe(own("ipc"));
    expect(await sh("readlink /proc/self/ns/uts", "--uts", "host")).toBe(own("uts"));
    expect(await sh("readlink /proc/self/ns/net", "--network", "host")).toBe(own("net"));
  });

  test("--pid, --ipc and --network container: join another's namespaces", async () => {
    await engine.ok([
      "run",
      "-d",
      "--name",
      "first",
      "--ipc",
      "shareable",
      "busybox",
      "sleep",
      "1000",
    ]);
    const ns = await engine.ok([
      "exec",
      "first",
      "sh",
      "-c",
      "for n in pid ipc net; do readlink /proc/self/ns/$n; done",
    ]);
    const joined = await sh(
      "for n in pid ipc net; do readlink /proc/self/ns/$n; done",
      "--pid",
      "container:first",
      "--ipc",
      "container:first",
      "--network",
      "container:first",
    );
    expect(joined).toBe(ns);
    await engine.ok(["rm", "-f", "first"]);
  });

  test("it holds Docker's fourteen capabilities, as far as the host has them", async () => {
    const host = BigInt(
      `0x${/CapBnd:\s*(\w+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]}`,
    );
    const dockers = 0xa80425fbn;
    const effective = await sh("grep CapEff /proc/self/status | cut -f2");
    expect(BigInt(`0x${effective}`)).toBe(dockers & host);
    expect(await sh("grep CapInh /proc/self/status | cut -f2")).toBe("0000000000000000");
    expect(
      BigInt(
        `0x${await sh("grep CapEff /proc/self/status | cut -f2", "--cap-drop", "ALL", "--cap-add", "NET_ADMIN")}`,
      ),
    ).toBe(1n << 12n);
    expect(BigInt(`0x${await sh("grep CapEff /proc/self/status | cut -f2", "--privileged")}`)).toBe(
      host,
    );
  });

  test("an ordinary user has no effective capability and setuid can be shut off", async () => {
    expect(await sh("grep CapEff /proc/self/status | cut -f2", "-u", "1000")).toBe(
      "0000000000000000",
    );
    expect(
      await sh(
        "grep NoNewPrivs /proc/self/status | cut -f2",
        "--security-opt",
        "no-new-privileges",
      ),
    ).toBe("1");
  });

  test("seccomp filters by default and can be turned off", async () => {
    expect(await sh("grep '^Seccomp:' /proc/self/status | cut -f2")).toBe("2");
    expect(
      await sh(
        "grep '^Seccomp:' /proc/self/status | cut -f2",
        "--security-opt",
        "seccomp=unconfined",
      ),
    ).toBe("0");
    expect(
      (await engine.docker(["run", "--rm", "busybox", "unshare", "-U", "true"])).code,
    ).not.toBe(0);
  });

  test("kernel files are masked or read-only, devices are Docker's", async () => {
    expect(
      await sh(
        "cat /proc/keys /proc/timer_list /proc/kcore 2>/dev/null | wc -c; ls /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -vc -e : -e '^$' || true",
      ),
    ).toBe("0\n0");
    expect(
      (
        await engine.docker([
          "run",
          "--rm",
          "busybox",
          "sh",
          "-c",
          "echo 1 > /proc/sys/kernel/panic",
        ])
      ).code,
    ).not.toBe(0);
    expect(await sh("ls /dev | sort | tr '\\n' ' '")).toBe(
      `${existsSync("/proc/kcore") ? "core " : ""}fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero `,
    );
    expect(await sh("mount | grep -c ' /sys/fs/cgroup.*rw,' || true")).toBe("0");
  });

  test("only its own descriptors are open", async () => {
    expect(await sh("ls /proc/self/fd | tr '\\n' ' '")).toBe("0 1 2 3 ");
  });
});

describe("files", () => {
  test("a bind mount is shared, read-only when asked, and a missing source is made for -v only", async () => {
    const folder = join(engine.root, "share");
    mkdirSync(folder);
    writeFileSync(join(folder, "from-host"), "hello");
    expect(
      await sh("cat /data/from-host; echo back > /data/from-container", "-v", `${folder}:/data`),
    ).toBe("hello");
    expect(readFileSync(join(folder, "from-container"), "utf8")).toBe("back\n");
    const readOnly = await engine.docker([
      "run",
      "--rm",
      "-v",
      `${folder}:/data:ro`,
      "busybox",
      "touch",
      "/data/x",
    ]);
    expect(readOnly.stderr).toContain("Read-only file system");
    await sh("true", "-v", `${join(engine.root, "made")}:/data`);
    const missing = await engine.docker([
      "run",
      "--rm",
      "--mount",
      `type=bind,source=${engine.root}/absent,target=/data`,
      "busybox",
      "true",
    ]);
    expect(missing.code).toBe(125);
    expect(missing.stderr).toContain("bind source path does not exist");
  });

  test("a single file can be mounted", async () => {
    writeFileSync(join(engine.root, "one"), "single");
    expect(await sh("cat /etc/one", "-v", `${engine.root}/one:/etc/one:ro`)).toBe("single");
  });

  test("a tmpfs has its size and options", async () => {
    expect(
      await sh(
        "mount | grep ' /scratch '; df -k /scratch | tail -1 | awk '{print $2}'",
        "--tmpfs",
        "/scratch:size=1m,mode=1770",
      ),
    ).toMatch(
      /tmpfs on \/scratch type tmpfs \(rw,nosuid,nodev,noexec,relatime,size=1024k,mode=1770.*\)\n1024/,
    );
    expect(await sh("df -k /dev/shm | tail -1 | awk '{print $2}'", "--shm-size", "8m")).toBe(
      "8192",
    );
  });

  test("--read-only makes the root read-only and leaves tmpfs writable", async () => {
    const done = await engine.docker([
      "run",
      "--rm",
      "--read-only",
      "--tmpfs",
      "/tmp",
      "busybox",
      "sh",
      "-c",
      "touch /tmp/ok && touch /no",
    ]);
    expect(done.code).not.toBe(0);
    expect(done.stderr).toContain("/no: Read-only file system");
  });

  test("a link in the image cannot lead a mount target out of the root", async () => {
    const folder = join(engine.root, "context");
    mkdirSync(join(folder, "etc"), { recursive: true });
    symlinkSync("/../../../../../../tmp", join(folder, "evil"));
    const tar = Bun.spawnSync(["tar", "-C", folder, "-c", "."]).stdout;
    await engine.ok(["import", "-", "evil"], { stdin: new Blob([tar]) });
    const before = new Set(new Bun.Glob("*").scanSync({ cwd: "/tmp", onlyFiles: false }));
    await engine.docker([
      "run",
      "--rm",
      "-v",
      "/etc/hostname:/evil/naru-escaped",
      "evil",
      "/nothing",
    ]);
    const after = [...new Bun.Glob("*").scanSync({ cwd: "/tmp", onlyFiles: false })].filter(
      (name) => !before.has(name),
    );
    expect(after).not.toContain("naru-escaped");
  });

  test("hosts, hostname and resolv.conf are the container's own", async () => {
    const output = await sh(
      "cat /etc/hosts /etc/hostname; grep -c nameserver /etc/resolv.conf",
      "--hostname",
      "web",
      "--add-host",
      "db:10.0.0.9",
    );
    expect(output).toMatch(/127\.0\.0\.1\s+localhost/);
    expect(output).toContain("10.0.0.9\tdb");
    expect(output).toMatch(/\d+\.\d+\.\d+\.\d+\s+web\n/);
    expect(output).toMatch(/\nweb\n/);
    expect(
      await sh("cat /etc/resolv.conf", "--dns", "9.9.9.9", "--dns-search", "example.org"),
    ).toContain("nameserver 9.9.9.9");
  });

  test("files written in the container stay in it, and vanish with it", async () => {
    await engine.ok([
      "run",
      "--name",
      "writer",
      "busybox",
      "sh",
      "-c",
      "echo kept > /kept; rm -f /etc/group",
    ]);
    await engine.ok(["start", "-a", "writer"]);
    await engine.ok(["rm", "writer"]);
    expect(await sh("ls /kept 2>/dev/null; ls /etc/group")).toBe("/etc/group");
  });

  test("an anonymous volume outlives a restart and goes with --rm", async () => {
    await engine.ok([
      "run",
      "--name",
      "vol",
      "-v",
      "/data",
      "busybox",
      "sh",
      "-c",
      "cat /data/x 2>/dev/null; echo once > /data/x",
    ]);
    expect(await engine.ok(["start", "-a", "vol"])).toBe("once");
    await engine.ok(["rm", "-v", "vol"]);
  });
});

describe("limits", () => {
  const cgroupFile = (file: string) => `cat /sys/fs/cgroup/${file}`;
  const unified = existsSync("/sys/fs/cgroup/cgroup.controllers");
  const last = String(availableParallelism() - 1);

  test("a memory limit bites and is told as OOM", async () => {
    const single = await engine.docker([
      "run",
      "--name",
      "oom2",
      "--memory",
      "32m",
      "--memory-swap",
      "32m",
      "busybox",
      "tail",
      "-c",
      "200m",
      "/dev/zero",
    ]);
    expect(single.code).toBe(137);
    expect(await engine.ok(["inspect", "-f", "{{.State.OOMKilled}}", "oom2"])).toBe("true");
    await engine.ok(["rm", "oom2"]);
  });

  test("the numbers stand in the container's own cgroup", async () => {
    for (const [flags, [v1, v2], value] of [
      ["-m 64m", ["memory/memory.limit_in_bytes", "memory.max"], "67108864"],
      ["--cpu-shares 512", ["cpu/cpu.shares", "cpu.weight"], unified ? "20" : "512"],
      ["--cpus 0.5", ["cpu/cpu.cfs_quota_us", "cpu.max"], unified ? "50000 100000" : "50000"],
      [`--cpuset-cpus ${last}`, ["cpuset/cpuset.cpus", "cpuset.cpus"], last],
      ["--pids-limit 77", ["pids/pids.max", "pids.max"], "77"],
    ] as const) {
      expect(await sh(cgroupFile(unified ? v2 : v1), ...flags.split(" "))).toBe(value);
    }
  });

  test("a limit on processes stops a fork bomb", async () => {
    const done = await engine.docker([
      "run",
      "--rm",
      "--pids-limit",
      "20",
      "busybox",
      "sh",
      "-c",
      "for i in $(seq 50); do sleep 5 & done; echo end",
    ]);
    expect(done.stderr).toContain("can't fork");
  });
});

test("the oci runtimes run the same thing", async () => {
  for (const runtime of ["runc", "crun"]) {
    const done = await engine.docker([
      "run",
      "--rm",
      "--runtime",
      runtime,
      "-e",
      "A=1",
      "busybox",
      "sh",
      "-c",
      "echo $A; hostname | wc -c; exit 4",
    ]);
    expect({ runtime, ...done }).toEqual({ runtime, code: 4, stdout: "1\n13\n", stderr: "" });
  }
  const unknown = await engine.docker(["run", "--rm", "--runtime", "nosuch", "busybox", "true"]);
  expect(unknown.code).toBe(125);
  expect(unknown.stderr).toContain("unknown or invalid runtime name: nosuch");
});
