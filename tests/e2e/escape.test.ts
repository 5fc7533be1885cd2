/** Escapes that other engines allowed once, tried on every driver. Each test names the lesson it holds. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { listChildren } from "#linux/process";

import { baseImage, type Engine, NARU, run, startEngine } from "./engine.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
});

/** Imports busybox with extra files laid over it. */
async function imageWith(
  name: string,
  prepare: (root: string) => void,
  changes: string[] = [],
): Promise<void> {
  const root = join(engine.root, `image-${name}`);
  mkdirSync(root);
  await run(["tar", "-C", root, "-xf", await baseImage("busybox")]);
  prepare(root);
  const tar = Bun.spawnSync(["tar", "-C", root, "-c", "."]).stdout;
  await engine.ok(["import", ...changes.flatMap((change) => ["-c", change]), "-", name], {
    stdin: new Blob([tar]),
  });
}

for (const runtime of ["native", "runc"]) {
  const flags = runtime === "native" ? [] : ["--runtime", runtime];
  describe(runtime, () => {
    test("CVE-2024-21626: no descriptor of the engine is a way out, in run and in exec", async () => {
      for (let descriptor = 3; descriptor < 12; descriptor += 1) {
        const done = await engine.docker([
          "run",
          "--rm",
          ...flags,
          "-w",
          `/proc/self/fd/${descriptor}`,
          "busybox",
          "sh",
          "-c",
          "cat ../../../../etc/hostname 2>/dev/null; pwd",
        ]);
        expect(done.stdout).not.toContain(readFileSync("/etc/hostname", "utf8").trim() || "\0");
      }
      await engine.ok(["run", "-d", ...flags, "--name", "fds", "busybox", "sleep", "1000"]);
      for (let descriptor = 3; descriptor < 12; descriptor += 1) {
        const done = await engine.docker([
          "exec",
          "-w",
          `/proc/self/fd/${descriptor}`,
          "fds",
          "ls",
          ".",
        ]);
        expect(done.stdout).not.toContain("vmlinuz");
        expect(done.stdout).not.toContain("snapshots");
      }
      expect(
        await engine.ok([
          "exec",
          "fds",
          "sh",
          "-c",
          "ls -l /proc/self/fd | grep -v -e ' [012] -> ' -e '/proc/' | grep -c -e ' -> ' || true",
        ]),
      ).toBe("0");
      await engine.ok(["rm", "-f", "fds"]);
    });

    test("CVE-2019-5736: the engine's binary cannot be written through a joining process", async () => {
      const before = new Bun.CryptoHasher("sha256")
        .update(await Bun.file(NARU).bytes())
        .digest("hex");
      await engine.ok([
        "run",
        "-d",
        ...flags,
        "--name",
        "attacker",
        "--cap-add",
        "SYS_PTRACE",
        "busybox",
        "sh",
        "-c",
        "while :; do for p in /proc/[0-9]*; do case $(readlink $p/exe 2>/dev/null) in */busybox|'') ;; *) (echo seen $p >> /seen; echo broken > $p/exe) 2>/dev/null && echo WROTE; esac; done; done",
      ]);
      for (let round = 0; round < 15; round += 1) await engine.docker(["exec", "attacker", "true"]);
      expect((await engine.docker(["logs", "attacker"])).stdout).not.toContain("WROTE");
      await engine.ok(["rm", "-f", "attacker"]);
      // What joins containers runs from a read-only mount, which the kernel says before it says that the file is in use.
      const supervisor = engine.supervisorPid();
      const joining = [supervisor, ...listChildren(supervisor)];
      const tries = `for p in ${joining.join(" ")}; do (: > /proc/$p/exe) 2>&1; done; true`;
      const caps = ["--pid", "host", "--cap-add", "SYS_PTRACE"];
      const said = await engine.ok([
        "run",
        "--rm",
        ...flags,
        ...caps,
        "busybox",
        "sh",
        "-c",
        tries,
      ]);
      expect(said.split("\n").length).toBe(joining.length);
      for (const line of said.split("\n")) expect(line).toEndWith("Read-only file system");
      expect(
        new Bun.CryptoHasher("sha256").update(await Bun.file(NARU).bytes()).digest("hex"),
      ).toBe(before);
    });

    test("CVE-2025-31133 and kin: masked paths are masked, whatever the image puts in /dev and /proc", async () => {
      await imageWith(`masks-${runtime}`, (root) => {
        symlinkSync("/proc/sys/kernel/core_pattern", join(root, "dev/null"));
        symlinkSync("/proc/sysrq-trigger", join(root, "dev/console"));
      });
      const before = readFileSync("/proc/sys/kernel/core_pattern", "utf8");
      const output = await engine.docker([
        "run",
        "--rm",
        "-t",
        ...flags,
        `masks-${runtime}`,
        "sh",
        "-c",
        "echo '|/tmp/evil' > /proc/sys/kernel/core_pattern; cat /proc/keys | wc -c; stat -c %F /proc/kcore; echo x > /proc/kcore; wc -c < /proc/kcore",
      ]);
      expect(output.stdout).not.toContain("evil\n");
      expect(readFileSync("/proc/sys/kernel/core_pattern", "utf8")).toBe(before);
    });

    test("CVE-2021-30465 and kin: an image whose /dev is a link makes nothing on the host", async () => {
      const planted = join(engine.root, `planted-${runtime}`);
      mkdirSync(planted);
      await imageWith(`dev-${runtime}`, (root) => {
        rmSync(join(root, "dev"), { recursive: true });
        symlinkSync(planted, join(root, "dev"));
      });
      // The native driver follows the link inside the root; runc would follow it outside, so the oci driver refuses.
      const done = await engine.docker(["run", "--rm", ...flags, `dev-${runtime}`, "true"]);
      expect(done.code === 0).toBe(runtime === "native");
      expect(readdirSync(planted)).toEqual([]);
    });

    test("what masks a file is not the host's to change", async () => {
      // Compared with what the container asks for: others use this file as well.
      utimesSync("/dev/null", new Date(), new Date());
      const before = statSync("/dev/null");
      const done = await engine.docker([
        "run",
        "--rm",
        ...flags,
        "busybox",
        "sh",
        "-c",
        "for f in /proc/keys /proc/timer_list /proc/interrupts; do chmod 0606 $f; chown 7:7 $f; touch -d 2001-01-01 $f; done; cat /proc/keys | wc -c",
      ]);
      const after = statSync("/dev/null");
      chownSync("/dev/null", before.uid, before.gid);
      chmodSync("/dev/null", before.mode & 0o7777);
      expect(done.stdout).toBe("0\n");
      expect(after.mode & 0o777).not.toBe(0o606);
      expect([after.uid, after.gid]).not.toContain(7);
      expect(after.mtime.getUTCFullYear()).toBe(before.mtime.getUTCFullYear());
    });

    test("CVE-2022-0492: cgroup files cannot be written nor a writable hierarchy mounted", async () => {
      const done = await engine.docker([
        "run",
        "--rm",
        ...flags,
        "busybox",
        "sh",
        "-c",
        "for f in $(find /sys/fs/cgroup -name release_agent -o -name notify_on_release 2>/dev/null); do (echo 1 > $f) 2>/dev/null && echo WROTE $f; done; mkdir /m && mount -t cgroup -o memory x /m 2>/dev/null && echo MOUNTED; true",
      ]);
      expect(done.stdout).toBe("");
    });

    test("CVE-2021-30465: a mount target that is a link in a shared volume stays inside", async () => {
      const shared = join(engine.root, `shared-${runtime}`);
      mkdirSync(shared);
      symlinkSync("/", join(shared, "link"));
      const done = await engine.docker([
        "run",
        "--rm",
        ...flags,
        "-v",
        `${shared}:/v`,
        "--tmpfs",
        "/v/link/etc/naru-planted",
        "busybox",
        "true",
      ]);
      void done;
      expect(await Bun.file("/etc/naru-planted").exists()).toBe(false);
    });

    test("CVE-2019-14271 and CVE-2021-41091: nothing of the image runs on the host, and its files are out of reach", async () => {
      await imageWith(`libs-${runtime}`, (root) => {
        mkdirSync(join(root, "lib/x86_64-linux-gnu"), { recursive: true });
        writeFileSync(join(root, "lib/x86_64-linux-gnu/libnss_files.so.2"), "not a library");
        writeFileSync(join(root, "etc/nsswitch.conf"), "passwd: files\n");
      });
      expect(
        await engine.ok(["run", "--rm", ...flags, "-u", "daemon", `libs-${runtime}`, "id", "-un"]),
      ).toBe("daemon");
      const mode = Bun.spawnSync(["stat", "-c", "%a", engine.dataRoot]).stdout.toString().trim();
      expect(Number.parseInt(mode, 8) & 0o007).toBe(0);
    });

    test("CVE-2026-31431: AF_ALG, AF_VSOCK and io_uring are refused", async () => {
      await imageWith(`sockets-${runtime}`, () => undefined);
      const python =
        "import socket,ctypes\nfor f in (38, 40):\n  try:\n    socket.socket(f, 5 if f == 38 else 1); print('OPEN', f)\n  except OSError as e: print(e.errno)\n  if ctypes.CDLL(None).syscall(41, ctypes.c_ulong(2**32 + f), 5 if f == 38 else 1, 0) >= 0: print('OPEN', f)\nprint(ctypes.CDLL(None, use_errno=True).syscall(425, 8, None), ctypes.get_errno())";
      const done = await engine.docker([
        "run",
        "--rm",
        ...flags,
        "-v",
        "/usr:/usr:ro",
        "-v",
        "/lib:/lib:ro",
        "-v",
        "/lib64:/lib64:ro",
        "busybox",
        "/usr/bin/python3",
        "-c",
        python,
      ]);
      expect(done.stdout).not.toContain("OPEN");
      expect(done.stdout.trim().split("\n").at(-1)).toMatch(/^-1 (1|38)$/);
    });

    test("CVE-2024-40635: a user id outside 0..2147483647 is refused", async () => {
      for (const user of ["2147483648", "4294967296", "0:4294967295"]) {
        const done = await engine.docker(["run", "--rm", ...flags, "-u", user, "busybox", "id"]);
        expect(done.code).not.toBe(0);
      }
    });

    test("CVE-2022-23648: a volume named by the image cannot traverse", async () => {
      const secret = join(engine.root, `secret-${runtime}`);
      mkdirSync(secret);
      writeFileSync(join(secret, "file"), "of the host");
      const name = `volumes-${runtime}`;
      const up = "/../../../../../..";
      await imageWith(name, () => undefined, [`VOLUME ${up}${secret}`]);
      const look = `ls -a ${secret}; grep -c ' ${secret} ' /proc/mounts`;
      for (const more of [[], ["-v", `${up}${secret}/deep`]]) {
        const args = ["run", "--rm", ...flags, ...more, name, "sh", "-c", look];
        const listed = (await engine.ok(args)).split("\n");
        expect(listed).not.toContain("file");
        expect(listed.at(-1)).toBe("1");
      }
    });
  });
}

test("CVE-2025-9074: the API answers on no container network", async () => {
  const gateway = await engine.ok([
    "run",
    "--rm",
    "busybox",
    "sh",
    "-c",
    "ip route | awk '/default/{print $3}'",
  ]);
  for (const port of ["2375", "2376", "80"]) {
    const done = await engine.docker([
      "run",
      "--rm",
      "busybox",
      "wget",
      "-T",
      "1",
      "-qO-",
      `http://${gateway}:${port}/version`,
    ]);
    expect(done.code).not.toBe(0);
  }
});

test("CVE-2020-15257: no abstract socket is open and the supervisor's are root's alone", () => {
  const abstract = readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .filter((line) => / @.*naru/.test(line));
  expect(abstract).toEqual([]);
  const modes = Bun.spawnSync(["find", engine.execRoot, "-type", "s", "-printf", "%m %p\n"])
    .stdout.toString()
    .trim()
    .split("\n");
  for (const line of modes) expect(line.slice(0, 3)).toBe("600");
});
