/** What every runtime driver promises, as tests: each driver's own test file runs them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { type CgroupHost, openCgroupHost } from "#linux/cgroup";
import { mount, MS_NODEV, MS_NOEXEC, MS_NOSUID } from "#linux/mount";
import { setSubreaper } from "#linux/process";
import { capabilityMask, hostCapabilities } from "#linux/security";
import type { RuntimeSpec } from "#oci";

import { defaultSeccomp } from "./defaults/seccomp.ts";
import type { RuntimeDriver } from "./driver.ts";
import { Lab, type Launch } from "./lab.ts";

export interface DriverSuite {
  readonly name: string;
  readonly open: (scratchRoot: string, cgroups: CgroupHost) => RuntimeDriver & Partial<Disposable>;
  /** What this runtime is known not to do, by test name. */
  readonly lacks?: ReadonlySet<string>;
}

const spec = (change: (spec: RuntimeSpec) => void): Pick<Launch, "change"> => ({ change });
const script = (text: string) => ["sh", "-c", text];

/** The error of something that must not work. */
const refusal = (work: Promise<unknown>): Promise<Error> =>
  work.then(
    () => Promise.reject(new Error("this was not refused")),
    (thrown: unknown) => thrown as Error,
  );

export function describeDriver({ name, open, lacks }: DriverSuite): void {
  describe(`the ${name} driver`, () => {
    let lab: Lab;
    const promise = (title: string, body: () => Promise<void>) => {
      if (!lacks?.has(title)) test(title, body, 20_000);
    };
    beforeAll(async () => {
      setSubreaper(true);
      lab = await Lab.open(open, openCgroupHost());
    });
    afterAll(async () => await lab.close());

    promise("runs a program with its arguments, environment and directory", async () => {
      const { output, exitCode } = await lab.run({
        args: script('echo "$0 $GREETING $PWD"; echo oops >&2; exit 7'),
        ...spec(({ process }) => {
          process.args.push("first");
          process.env.push("GREETING=hello");
          process.cwd = "/tmp";
        }),
      });
      expect(output).toBe("first hello /tmp\noops\n");
      expect(exitCode).toBe(7);
    });

    promise("makes a missing working directory", async () => {
      const { output } = await lab.run({
        args: ["pwd"],
        ...spec(({ process }) => {
          process.cwd = "/srv/new/place";
        }),
      });
      expect(output).toBe("/srv/new/place\n");
    });

    promise("is pid 1 in namespaces of its own, with its hostname", async () => {
      const { output } = await lab.run({
        args: script("echo $$; hostname; ip -o link | wc -l"),
      });
      expect(output).toBe("1\nnaru-test\n1\n");
    });

    promise("knows users and groups by the image's own files", async () => {
      const id = async (user: string, groups: string[] = []) =>
        (
          await lab.run({
            args: script("id; echo $HOME; touch /tmp/x; ls -ln /tmp/x"),
            identity: { user, groups },
          })
        ).output;
      expect(await id("web")).toContain(
        "uid=33(web) gid=34(web) groups=10(wheel),34(web)\n/var/www\n",
      );
      expect(await id("1234:99", ["500"])).toContain("uid=1234 gid=99 groups=99,500\n/\n");
      expect((await refusal(id("nosuch"))).message).toMatch(
        "unable to find user nosuch: no matching entries in passwd file",
      );
    });

    promise("has Docker's capabilities, bounded, and none ambient or inheritable", async () => {
      const { output } = await lab.run({ args: ["grep", "^Cap", "/proc/self/status"] });
      const mask = "00000000a80425fb";
      expect(output.replaceAll("\t", " ").trim().split("\n")).toEqual([
        "CapInh: 0000000000000000",
        `CapPrm: ${mask}`,
        `CapEff: ${mask}`,
        `CapBnd: ${mask}`,
        "CapAmb: 0000000000000000",
      ]);
      const user = await lab.run({
        args: ["grep", "^CapEff", "/proc/self/status"],
        identity: { user: "web", groups: [] },
      });
      expect(user.output).toContain("0000000000000000");
    });

    promise("gives no_new_privs and rlimits as asked, clamped to the host's", async () => {
      const { output } = await lab.run({
        args: script("grep NoNewPrivs /proc/self/status; ulimit -n; ulimit -c"),
        ...spec(({ process }) => {
          process.noNewPrivileges = true;
          process.rlimits = [
            { type: "RLIMIT_NOFILE", soft: 77, hard: 88 },
            { type: "RLIMIT_CORE", soft: 0, hard: 2 ** 53 },
          ];
        }),
      });
      expect(output).toBe("NoNewPrivs:\t1\n77\n0\n");
    });

    promise("leaks no descriptor, no signal mask and no ignored signal", async () => {
      const { output } = await lab.run({
        args: ["busybox", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"],
      });
      const { output: open } = await lab.run({ args: ["ls", "/proc/self/fd"] });
      // The fourth is ls' own directory.
      expect(open + output.replaceAll("\t", " ")).toBe(
        "0\n1\n2\n3\nSigBlk: 0000000000000000\nSigIgn: 0000000000000000\n",
      );
    });

    promise("has Docker's /dev", async () => {
      const { output } = await lab.run({
        args: script(
          "ls /dev; echo x > /dev/null; head -c 3 /dev/zero | wc -c; echo ok > /dev/stdout",
        ),
        identity: { user: "web", groups: [] },
      });
      const names = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
      for (const name of names.split(" ")) expect(output.split("\n")).toContain(name);
      expect(output).toEndWith("3\nok\n");
    });

    promise(
      "mounts host files and folders, writable and read-only, where they must be made",
      async () => {
        const source = lab.folder("source");
        writeFileSync(join(source, "file"), "from the host\n");
        const { output } = await lab.run({
          args: script(
            "cat /data/deep/file /etc/one; echo new > /data/deep/made; echo no > /read/made || true; echo no > /etc/one; ls /read",
          ),
          ...spec(({ mounts }) => {
            const bind = (from: string, destination: string, ...options: string[]) =>
              mounts.push({
                destination,
                type: "bind",
                source: from,
                options: ["rbind", "rprivate", ...options],
              });
            bind(source, "/data/deep");
            bind(source, "/read", "ro");
            bind(join(source, "file"), "/etc/one", "ro");
          }),
        });
        expect(output).toContain("from the host\nfrom the host\n");
        expect(output.match(/Read-only file system/g)?.length).toBe(2);
        expect(output).toEndWith("file\nmade\n");
        expect(readFileSync(join(source, "made"), "utf8")).toBe("new\n");
      },
    );

    promise("mounts tmpfs, and a read-only root", async () => {
      const { output } = await lab.run({
        args: script(
          "df -k /scratch | tail -1 | awk '{print $2}'; echo x > /scratch/x; echo x > /x",
        ),
        ...spec((spec) => {
          spec.root.readonly = true;
          const options = ["nosuid", "nodev", "noexec", "size=1m"];
          spec.mounts.push({ destination: "/scratch", type: "tmpfs", source: "tmpfs", options });
        }),
      });
      expect(output).toContain("1024\n");
      expect(output).toContain("can't create /x: Read-only file system");
    });

    promise("shows layers of images, and parts of folders that no link leaves", async () => {
      const [top, base, volume] = [lab.folder("top"), lab.folder("base"), lab.folder("volume")];
      writeFileSync(join(base, "file"), "base\n");
      writeFileSync(join(top, "other"), "top\n");
      mkdirSync(join(base, "deep/er"), { recursive: true });
      writeFileSync(join(base, "deep/er/file"), "deep\n");
      mkdirSync(join(volume, "part"));
      writeFileSync(join(volume, "part/file"), "part\n");
      symlinkSync("part", join(volume, "inside"));
      symlinkSync("/etc", join(volume, "outside"));
      const options = ["rbind", "rprivate"];
      const mounts = (subpath: string) =>
        spec(({ mounts: all }) => {
          const lowers = [top, base];
          const image = { type: "bind", source: "image", options: ["bind", "ro"], shifted: true };
          all.push({ ...image, destination: "/i", lowers });
          all.push({ ...image, destination: "/j", lowers, subpath: "deep/er/file" });
          all.push({
            destination: "/v",
            type: "bind",
            source: volume,
            subpath,
            options,
            shifted: true,
          });
        });
      const text =
        "cat /i/file /i/other /j /v/file; stat -c %u /i/file /v/file; touch /i/x; touch /v/x";
      const { output } = await lab.run({ args: script(text), ...mounts("inside") });
      expect(output).toBe("base\ntop\ndeep\npart\n0\n0\ntouch: /i/x: Read-only file system\n");
      expect(existsSync(join(volume, "part/x"))).toBe(true);
      const refused = await refusal(lab.run({ args: ["true"], ...mounts("outside") }));
      expect(refused.message).toContain(`error mounting "${volume}" to rootfs at "/v"`);
    });

    promise("refuses a file over a directory in Docker's words", async () => {
      const source = join(lab.folder("mismatch"), "file");
      writeFileSync(source, "x");
      const launch = {
        args: ["true"],
        ...spec(({ mounts }) => {
          mounts.push({ destination: "/etc", type: "bind", source, options: ["rbind"] });
        }),
      };
      expect((await refusal(lab.run(launch))).message).toMatch(/not a directory/);
    });

    promise("hides and protects what Docker hides and protects", async () => {
      const { output } = await lab.run({
        args: script(
          "cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l; for f in /proc/sys/kernel/hostname /proc/bus/x /proc/irq/default_smp_affinity; do (echo 1 > $f) 2>&1; done",
        ),
      });
      expect(output).toStartWith("0\n0\n");
      expect(output.match(/Read-only file system|nonexistent directory/g)?.length).toBe(3);
    });

    promise("sets sysctls of its namespaces", async () => {
      const { output } = await lab.run({
        args: ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"],
        ...spec(({ linux }) => {
          linux.sysctl = { "net.ipv4.ip_unprivileged_port_start": "0" };
        }),
      });
      expect(output).toBe("0\n");
    });

    promise("limits memory and counts the kill", async () => {
      const { exitCode, oomKills } = await lab.run({
        args: script("head -c 67108864 /dev/zero | tail -n 1 >/dev/null; exit 9"),
        ...spec(({ linux }) => {
          linux.resources.memory = { limit: 16 << 20, swap: 16 << 20 };
        }),
      });
      expect([exitCode === 9 || exitCode === 137, oomKills > 0]).toEqual([true, true]);
    });

    promise("limits processes", async () => {
      const { output } = await lab.run({
        args: script("for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait"),
        ...spec(({ linux }) => {
          linux.resources.pids = { limit: 4 };
        }),
      });
      expect(output).toContain("can't fork");
    });

    promise("sees its cgroup read-only and nothing above it", async () => {
      const { output } = await lab.run({
        args: script(
          "cat /proc/self/cgroup; find /sys/fs/cgroup -name release_agent; d=$(find /sys/fs/cgroup -name cgroup.procs | head -1); (echo 1 > $d) 2>&1",
        ),
      });
      expect(output).not.toContain("naru-test-runtime");
      expect(output).not.toContain("release_agent");
      expect(output).toContain("Read-only file system");
    });

    promise("filters system calls", async () => {
      const { output } = await lab.run({
        args: script(
          "mkdir /m; mount -t tmpfs x /m; unshare -U true; grep Seccomp: /proc/self/status",
        ),
        ...spec(({ linux }) => {
          const action = "SCMP_ACT_ERRNO";
          linux.seccomp = {
            defaultAction: "SCMP_ACT_ALLOW",
            syscalls: [{ names: ["mount", "unshare"], action, errnoRet: 1 }],
          };
        }),
      });
      expect(output).toContain("Operation not permitted");
      expect(output).toContain("Seccomp:\t2");
    });

    promise(
      "binds no more rights than the source has; a file read-only; no endless quota",
      async () => {
        const source = lab.folder("confined");
        const target = lab.folder("device");
        using _mounted = mount({ target, type: "tmpfs", flags: MS_NOSUID | MS_NODEV | MS_NOEXEC });
        writeFileSync(join(source, "file"), "x\n");
        const { output } = await lab.run({
          args: script(
            "grep -E ' /(shm|f) ' /proc/mounts | cut -d' ' -f2,4; cat /proc/1/oom_score_adj",
          ),
          ...spec(({ mounts, linux, process }) => {
            const options = ["rbind", "rprivate"];
            mounts.push({ destination: "/shm", type: "bind", source: target, options });
            const file = { destination: "/f", type: "bind", source: join(source, "file") };
            mounts.push({ ...file, options: [...options, "rro"] });
            linux.resources.cpu = { quota: -1 };
            process.oomScoreAdj = -5;
          }),
        });
        expect(output).toMatch(/\/shm [^\n]*nosuid,nodev,noexec/);
        expect(output).toMatch(/\/f ro,/);
        expect(output).toMatch(/\n-?\d+\n$/);
      },
    );

    promise("has its domain name, and a multiplexer of its own terminals", async () => {
      const { output } = await lab.run({
        args: script("cat /proc/sys/kernel/domainname; readlink /dev/ptmx"),
        ...spec((all) => {
          all.domainname = "inside.test";
          all.linux.devices.push({ type: "c", path: "/dev/ptmx", major: 5, minor: 2 });
        }),
      });
      expect(output).toBe("inside.test\npts/ptmx\n");
    });

    promise("makes devices outside of /dev and over what is mounted in it", async () => {
      const node = { type: "c", major: 1, minor: 3, fileMode: 0o666 } as const;
      const paths = ["/opt/deep/nil", "/linked/nil", "/dev/sub/nil", "/dev/more/nil"];
      const { output } = await lab.run({
        args: script(
          `for each in ${paths.join(" ")} /etc/nil; do echo x > $each && stat -c '%F %t:%T %u' $each; done; ls /dev/sub`,
        ),
        image: (root) => symlinkSync("/etc", join(root, "linked")),
        ...spec(({ mounts, linux }) => {
          mounts.push({ destination: "/dev/sub", type: "tmpfs", options: ["mode=755"] });
          for (const path of paths) linux.devices.push({ ...node, path });
        }),
      });
      const device = "character special file 1:3 0";
      expect(output).toBe(`${[...paths, ""].map(() => device).join("\n")}\nnil\n`);
    });

    promise("lays no device over what a link of the image leads to outside", async () => {
      const victim = join(lab.folder("victim"), "file");
      writeFileSync(victim, "of the host\n");
      const said = await lab
        .run({
          args: script("cat /etc/nil; stat -c %t:%T /etc/nil"),
          image: (root) => {
            mkdirSync(join(root, "opt"));
            symlinkSync(victim, join(root, "opt/nil"));
          },
          ...spec(({ linux }) => {
            linux.devices.push({ type: "c", path: "/opt/nil", major: 1, minor: 3 });
          }),
        })
        .then(
          ({ output }) => output,
          (thrown: Error) => thrown.message,
        );
      expect(said).toMatch(/./);
      expect(readFileSync(victim, "utf8")).toBe("of the host\n");
      expect(statSync(victim).isFile()).toBe(true);
    });

    promise("leaves the host's null device as it is, though it is the input", async () => {
      const identity = { user: "4321:4321", groups: [] };
      const text = "cat; echo more > /dev/null; cat /proc/self/fd/0; echo end";
      expect((await lab.run({ args: script(text), identity })).output).toBe("end\n");
      // Others use the file as well, but nobody else is that user, remapped or not.
      const { uid, gid } = statSync("/dev/null");
      for (const id of [uid, gid]) expect([4321, 304_321]).not.toContain(id);
    });

    promise("gives a terminal of its own", async () => {
      const { output, exitCode } = await lab.run({
        args: script(
          "tty; stty size; test -t 0 && test -t 1 && test -t 2; ls -l /dev/console; exit 3",
        ),
        terminal: { columns: 91, rows: 27 },
        identity: { user: "web", groups: [] },
      });
      expect(output).toContain("/dev/pts/0\r\n27 91\r\n");
      expect(output).toContain("/dev/console");
      expect(exitCode).toBe(3);
    });

    promise("joins the namespaces of another container", async () => {
      const first = await lab.start({ args: ["sleep", "1234"] });
      const { output } = await lab.run({
        args: script("ps -o args | grep -c '^sleep [1]234'; echo $$; ls -d /proc/[0-9]* | wc -l"),
        ...spec(({ linux }) => {
          for (const [type, name] of [
            ["pid", "pid"],
            ["network", "net"],
            ["ipc", "ipc"],
          ] as const) {
            const entry = linux.namespaces.find((each) => each.type === type);
            if (entry !== undefined) entry.path = `/proc/${first.born.pid}/ns/${name}`;
          }
        }),
      });
      // A runtime may have had helpers of its own in there.
      expect(output).toMatch(/^1\n\d+\n[345]\n$/);
      await first.end();
    });

    promise("joins a pid namespace with a terminal too", async () => {
      const first = await lab.start({ args: ["sleep", "1234"] });
      const { output, exitCode } = await lab.run({
        args: script("tty; exit 6"),
        terminal: { columns: 80, rows: 24 },
        ...spec(({ linux }) => {
          const entry = linux.namespaces.find(({ type }) => type === "pid");
          if (entry !== undefined) entry.path = `/proc/${first.born.pid}/ns/pid`;
        }),
      });
      expect([output, exitCode]).toEqual(["/dev/pts/0\r\n", 6]);
      await first.end();
    });

    promise("shares the host's namespaces where none is listed", async () => {
      const { output } = await lab.run({
        args: script("for name in net uts ipc pid; do readlink /proc/self/ns/$name; done"),
        ...spec((spec) => {
          const { linux } = spec;
          const shared = new Set(["network", "uts", "ipc", "pid"]);
          linux.namespaces = linux.namespaces.filter(({ type }) => !shared.has(type));
          delete spec.hostname;
          spec.mounts = spec.mounts.filter(({ destination }) => destination !== "/dev/mqueue");
        }),
      });
      const own = ["net", "uts", "ipc", "pid"].map((name) => readlinkSync(`/proc/self/ns/${name}`));
      expect(output.trim().split("\n")).toEqual(own);
    });

    promise("gives a privileged container all that the engine has", async () => {
      const all = hostCapabilities();
      const { output } = await lab.run({
        args: script(
          "grep CapEff /proc/self/status; mkdir /m && mount -t tmpfs x /m && echo mounted; echo 1 > /proc/sys/net/ipv4/ip_forward && echo written; grep Seccomp: /proc/self/status",
        ),
        ...spec((spec) => {
          const { process, linux, mounts } = spec;
          process.capabilities = {
            bounding: all,
            effective: all,
            permitted: all,
            inheritable: [],
            ambient: [],
          };
          linux.maskedPaths = [];
          linux.readonlyPaths = [];
          for (const mount of mounts) {
            mount.options = mount.options?.filter((option) => option !== "ro") ?? [];
          }
        }),
      });
      const mask = capabilityMask(all).toString(16).padStart(16, "0");
      expect(output).toBe(`CapEff:\t${mask}\nmounted\nwritten\nSeccomp:\t0\n`);
    });

    promise("runs an init as pid 1 that reaps and passes the exit code on", async () => {
      const { output, exitCode } = await lab.run({
        args: script("echo $(cat /proc/1/comm); test $$ -ne 1 && exit 8"),
        init: "/usr/bin/tini-static",
      });
      expect([output, exitCode]).toEqual(["docker-init\n", 8]);
    });

    promise("refuses with Docker's default filter what it refuses", async () => {
      const { output } = await lab.run({
        args: script(
          "mkdir /m; mount -t tmpfs x /m; unshare -n true; dmesg; grep -E '^Seccomp:' /proc/self/status; date >/dev/null && echo fine",
        ),
        identity: { user: "web", groups: [] },
        ...spec(({ linux, process }) => {
          linux.seccomp = defaultSeccomp({ capabilities: process.capabilities?.bounding ?? [] });
          process.user.umask = 0o077;
        }),
      });
      expect(output.match(/(?:not permitted|denied)/g)?.length).toBeGreaterThanOrEqual(3);
      expect(output).toEndWith("Seccomp:\t2\nfine\n");
    });

    promise("filters as the last thing under no_new_privs", async () => {
      const { output } = await lab.run({
        args: ["grep", "-E", "^(NoNewPrivs|Seccomp):", "/proc/self/status"],
        identity: { user: "web", groups: [] },
        ...spec(({ linux, process }) => {
          process.noNewPrivileges = true;
          linux.seccomp = defaultSeccomp({ capabilities: [] });
        }),
      });
      expect(output).toBe("NoNewPrivs:\t1\nSeccomp:\t2\n");
    });

    promise("says what cannot be executed, so that clients tell 127 and 126 apart", async () => {
      const run = (...args: string[]) => lab.run({ args });
      expect((await refusal(run("nosuch"))).message).toMatch("executable file not found in $PATH");
      expect(await refusal(run("nosuch"))).toMatchObject({ failure: "notFound" });
      expect((await refusal(run("/nosuch"))).message).toMatch("no such file or directory");
      expect(await refusal(run("/nosuch"))).toMatchObject({ failure: "notFound" });
      expect((await refusal(run("/etc/passwd"))).message).toMatch("permission denied");
      expect(await refusal(run("/etc/passwd"))).toMatchObject({ failure: "notExecutable" });
      expect((await refusal(run("/etc"))).message).toMatch(/is a directory|permission denied/);
    });

    promise("leaves nothing of a birth that failed", async () => {
      const before = lab.leftovers();
      expect((await refusal(lab.run({ args: ["nosuch"] }))).message).toMatch(/./);
      const prepare = () => {
        throw new Error("no network today");
      };
      expect((await refusal(lab.run({ args: ["true"], prepare }))).message).toMatch(
        "no network today",
      );
      expect(lab.leftovers()).toEqual(before);
    });

    promise("runs further programs inside, with the container's confinement", async () => {
      const container = await lab.start({ args: ["sleep", "1000"] });
      const { output, exitCode } = await container.exec({
        args: script(
          "id -u; hostname; ls /proc | grep -c '^[0-9]'; grep CapBnd /proc/self/status; ls /proc/self/fd; cat /proc/self/cgroup | head -1; exit 4",
        ),
        identity: { user: "web", groups: [] },
      });
      expect(output).toContain("33\nnaru-test\n");
      expect(output).toContain("CapBnd:\t00000000a80425fb\n0\n1\n2\n3\n");
      expect(output).not.toContain("naru-test-runtime");
      expect(exitCode).toBe(4);
      expect((await refusal(container.exec({ args: ["nosuch"] }))).message).toMatch(
        "executable file not found in $PATH",
      );
      await container.end();
    });

    promise("runs further programs on a terminal", async () => {
      const container = await lab.start({ args: ["sleep", "1000"] });
      const { output, exitCode } = await container.exec({
        // crun 1.8 gives a further program no size; ours comes a moment after its start.
        args: script(
          'tty; until [ "$(stty size 2>/dev/null)" = "20 80" ]; do :; done; stty size; exit 5',
        ),
        terminal: { columns: 80, rows: 20 },
      });
      expect(output).toContain("/dev/pts/0\r\n20 80\r\n");
      expect(exitCode).toBe(5);
      await container.end();
    });

    promise(
      "keeps the supervisor's descriptors out of a working directory (CVE-2024-21626)",
      async () => {
        for (let fd = 3; fd < 12; fd += 1) {
          const launch = {
            args: script("ls ../../../../etc/hostname; cat ../../../../etc/os-release"),
            ...spec(({ process }) => {
              process.cwd = `/proc/self/fd/${fd}`;
            }),
          };
          const output = await lab.run(launch).then(
            (done) => done.output,
            () => "refused",
          );
          expect(output).not.toContain("PRETTY_NAME");
        }
      },
    );

    promise("mounts nothing through a link that leads out (CVE-2021-30465)", async () => {
      const outside = lab.folder("outside");
      const volume = lab.folder("volume");
      symlinkSync(outside, join(volume, "link"));
      symlinkSync("../../../../../../../../../../../../tmp", join(volume, "up"));
      const { output } = await lab
        .run({
          args: ["mount"],
          ...spec(({ mounts }) => {
            const bind = ["rbind", "rprivate"];
            mounts.push({ destination: "/v", type: "bind", source: volume, options: bind });
            for (const target of ["/v/link/inner", "/v/up/inner"]) {
              mounts.push({ destination: target, type: "tmpfs", source: "tmpfs", options: [] });
            }
          }),
        })
        .catch((thrown: Error) => ({ output: thrown.message }));
      expect(existsSync(join(outside, "inner"))).toBe(false);
      expect(existsSync("/tmp/inner")).toBe(false);
      expect(output).not.toBe("");
    });

    promise("mounts where a dangling link of the image leads, inside", async () => {
      const outside = lab.folder("outside");
      const source = join(lab.folder("source"), "file");
      const volume = lab.folder("volume");
      writeFileSync(source, "mounted\n");
      symlinkSync("/run/hidden/file", join(volume, "link"));
      const targets = ["/etc/resolv.conf", "/etc/hosts", "/opt/deep/file", "/v/link", "/etc/up"];
      const { output } = await lab.run({
        args: script(
          `cat ${targets.join(" ")} /run/resolve/stub.conf /run/hidden/file; cat /proc/1/comm`,
        ),
        init: "/usr/bin/tini-static",
        image: (root) => {
          mkdirSync(join(root, "etc"));
          mkdirSync(join(root, "sbin"));
          symlinkSync("../run/resolve/stub.conf", join(root, "etc/resolv.conf"));
          symlinkSync("hosts.first", join(root, "etc/hosts"));
          symlinkSync("/nowhere/hosts", join(root, "etc/hosts.first"));
          symlinkSync("missing/folder", join(root, "opt"));
          symlinkSync(`../../../../../..${outside}/up`, join(root, "etc/up"));
          symlinkSync("/missing/init", join(root, "sbin/docker-init"));
        },
        ...spec(({ mounts }) => {
          // What is mounted over a link's end hides what the image has there.
          mounts.push({ destination: "/run", type: "tmpfs", source: "tmpfs", options: [] });
          const bind = ["rbind", "rprivate"];
          mounts.push({ destination: "/v", type: "bind", source: volume, options: bind });
          for (const destination of targets) {
            mounts.push({ destination, type: "bind", source, options: bind });
          }
        }),
      });
      expect(output).toBe(`${"mounted\n".repeat(7)}docker-init\n`);
      expect(readdirSync(outside)).toEqual([]);
      expect(existsSync("/nowhere")).toBe(false);
    });

    promise("refuses a mount behind a loop of links", async () => {
      const source = lab.folder("source");
      const launch = {
        args: ["true"],
        image: (root: string) => {
          symlinkSync("loop2", join(root, "loop1"));
          symlinkSync("loop1", join(root, "loop2"));
        },
        ...spec(({ mounts }) => {
          mounts.push({ destination: "/loop1/x", type: "bind", source, options: ["rbind"] });
        }),
      };
      expect((await refusal(lab.run(launch))).message).toMatch(/symbolic links/);
    });

    promise("is not fooled by an image's /dev/null (CVE-2025-31133)", async () => {
      const { output } = await lab.run({
        args: script("cat /proc/keys | wc -c; ls -l /dev/null"),
        image: (root) => {
          symlinkSync("/proc/sys/kernel/core_pattern", join(root, "null"));
        },
      });
      expect(output).toStartWith("0\n");
      expect(output).toContain("1,   3");
    });

    promise("refuses an image whose /proc is a link (CVE-2019-19921)", async () => {
      const launch = {
        args: ["true"],
        image: (root: string) => {
          mkdirSync(join(root, "elsewhere"));
          symlinkSync("elsewhere", join(root, "proc"));
        },
        hide: ["proc"],
      };
      expect((await refusal(lab.run(launch))).message).toMatch(/./);
    });

    promise("shows no container the engine's own program (CVE-2019-5736)", async () => {
      const container = await lab.start({
        args: script(
          "while :; do for p in /proc/[0-9]*; do readlink $p/exe; done; sleep 0.01; done 2>/dev/null > /seen",
        ),
      });
      for (let turn = 0; turn < 5; turn += 1) await container.exec({ args: ["true"] });
      const { output } = await container.exec({ args: ["sort", "-u", "/seen"] });
      expect(output).not.toContain("bun");
      await container.end();
    });
  });
}
