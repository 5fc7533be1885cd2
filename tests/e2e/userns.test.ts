/**
 * Remapped ids through the docker CLI: what containers see, what the host sees, and that images, volumes and archives
 * name owners as the container does.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  chownSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { type Engine, run, startEngine } from "./engine.ts";
import { eventually } from "./until.ts";

const FIRST = 700_000_000 + Math.floor(Math.random() * 1000) * 100_000;
/** Somebody every host has, with ranges of this test alone. */
const line = `nobody:${FIRST}:65536\n`;
const FILES = ["/etc/subuid", "/etc/subgid"];

let engine: Engine;

const withoutLine = (file: string): void =>
  writeFileSync(file, readFileSync(file, "utf8").replace(line, ""));

beforeAll(async () => {
  for (const file of FILES) appendFileSync(file, line);
  engine = await startEngine({ daemonFlags: ["--userns-remap", "nobody"] });
});

afterAll(async () => {
  for (const file of FILES) withoutLine(file);
  await engine[Symbol.asyncDispose]();
});

const sh = (text: string) => ["busybox", "sh", "-c", text];
const lines = (text: string) => text.trim().split("\n");
const pidOf = async (id: string) =>
  Number(await engine.ok(["inspect", "-f", "{{.State.Pid}}", id]));

describe("a remapped container", () => {
  test("is root inside and nobody of the host's outside; image files are root's", async () => {
    const id = await engine.ok([
      "run",
      "-d",
      ...sh(
        "id -u; stat -c %u:%g /bin/sh /etc/hosts /etc/resolv.conf /dev/null; tr -s ' ' </proc/self/gid_map; exec sleep 1000",
      ),
    ]);
    const pid = await pidOf(id);
    expect(statSync(`/proc/${pid}`).uid).toBe(FIRST);
    expect(lines(await engine.ok(["exec", id, "sh", "-c", "id -u; id -g"]))).toEqual(["0", "0"]);
    const printed = ["0", "0:0", "0:0", "0:0", "0:0", ` 0 ${FIRST} 65536`];
    await eventually(async () => expect(lines(await engine.ok(["logs", id]))).toEqual(printed));
    expect(await engine.ok(["exec", "-u", "1000:50", id, "id", "-u"])).toBe("1000");
    expect(await engine.ok(["info", "-f", "{{.SecurityOptions}}"])).toContain("name=userns");
    expect(await engine.ok(["inspect", "-f", "[{{.HostConfig.UsernsMode}}]", id])).toBe("[]");
    await engine.ok(["rm", "-f", id]);
  });

  test("speaks through its streams as any user, with a terminal too", async () => {
    const text = "echo out > /dev/stdout; echo err > /dev/stderr";
    const said = await engine.docker(["run", "--rm", "-u", "1234", ...sh(text)]);
    expect(said).toEqual({ code: 0, stdout: "out\n", stderr: "err\n" });
    const terminal = await engine.ok([
      "run",
      "--rm",
      "-t",
      ...sh("stat -c %u $(tty); echo hi >/dev/console"),
    ]);
    expect(terminal.replaceAll("\r", "")).toContain("0\nhi");
  });

  test("has a network of its own, its published port answers", async () => {
    const id = await engine.ok([
      "run",
      "-d",
      "--hostname",
      "inside",
      ...sh("echo hi > /index.html; exec httpd -f -h /"),
    ]);
    const address = await engine.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", id]);
    expect(
      await engine.ok([
        "run",
        "--rm",
        ...sh(`until wget -qO- http://${address}/; do sleep 0.05; done`),
      ]),
    ).toBe("hi");
    expect(await engine.ok(["exec", id, "hostname"])).toBe("inside");
    await engine.ok(["rm", "-f", id]);
  });

  test("writes a volume as itself, and a host folder as nobody", async () => {
    const folder = join(engine.root, "shared");
    mkdirSync(folder, { mode: 0o755 });
    writeFileSync(join(folder, "secret"), "host", { mode: 0o600 });
    const text = "echo x > /v/file; chown 7:8 /v/file; cat /h/secret; touch /h/new; echo end";
    const said = await engine.docker([
      "run",
      "--rm",
      "-v",
      "shifted:/v",
      "-v",
      `${folder}:/h`,
      ...sh(text),
    ]);
    expect(said.stdout).toBe("end\n");
    expect(lines(said.stderr)).toEqual([
      "cat: can't open '/h/secret': Permission denied",
      "touch: /h/new: Permission denied",
    ]);
    // A container with the host's ids sees the same owner.
    const stat = ["-v", "shifted:/v", "busybox", "stat", "-c", "%u:%g", "/v/file"];
    expect(await engine.ok(["run", "--rm", ...stat])).toBe("7:8");
    expect(await engine.ok(["run", "--rm", "--userns=host", ...stat])).toBe("7:8");
    const open = join(engine.root, "open");
    mkdirSync(open);
    await engine.ok(["run", "--rm", "--userns=host", "-v", `${open}:/h`, ...sh("chmod 777 /h")]);
    await engine.ok(["run", "--rm", "-u", "5:6", "-v", `${open}:/h`, ...sh("touch /h/new")]);
    const { uid, gid } = statSync(join(open, "new"));
    expect([uid, gid]).toEqual([FIRST + 5, FIRST + 6]);
  });

  test("set-user-id programs make root inside, and nothing more", async () => {
    const text =
      "echo root::0:0::/:/bin/sh > /etc/passwd; rm -f /bin/su; cp /bin/busybox /bin/su; chmod 4755 /bin/su; exec sleep 1000";
    const id = await engine.ok(["run", "-d", ...sh(text)]);
    const inside = "while ! [ -u /bin/su ]; do :; done; /bin/su root -c 'id -u'";
    expect(await engine.ok(["exec", "-u", "1000", id, "sh", "-c", inside])).toBe("0");
    await engine.ok(["rm", "-f", id]);
  });

  test("cannot reach the host with all of its powers", async () => {
    const before = readFileSync("/proc/sys/kernel/panic", "utf8");
    const text =
      "mknod /tmp/d b 8 0; mount -t ext4 /dev/sda /mnt; echo 77 > /proc/sys/kernel/panic; dmesg -n 1; nice -n -5 true; ls /proc/1/root >/dev/null && echo end";
    const said = await engine.docker([
      "run",
      "--rm",
      "--cap-add",
      "ALL",
      "--security-opt",
      "seccomp=unconfined",
      ...sh(text),
    ]);
    expect(said.stdout).toBe("end\n");
    expect(said.stderr).toContain("mknod: /tmp/d: Operation not permitted");
    expect(said.stderr).toContain("/proc/sys/kernel/panic");
    expect(readFileSync("/proc/sys/kernel/panic", "utf8")).toBe(before);
  });
});

describe("archives name owners as the container does", () => {
  test("cp out of and into a running and a stopped one, diff, commit and run", async () => {
    const text = "echo data > /made; chown 11:12 /made; exec sleep 1000";
    const id = await engine.ok(["run", "-d", ...sh(text)]);
    await engine.ok(["exec", id, "sh", "-c", "while [ $(stat -c %u /made) != 11 ]; do :; done"]);
    const target = join(engine.root, "made");
    const owners = async () => {
      const { stdout, stderr } = await run([
        "sh",
        "-c",
        `docker -H "$0" cp "$1:/made" - | tar -tv --numeric-owner`,
        `unix://${engine.socket}`,
        id,
      ]);
      return stdout.split(/\s+/)[1] ?? stderr;
    };
    expect(await owners()).toBe("11/12");
    writeFileSync(join(engine.root, "put"), "in");
    await engine.ok(["cp", join(engine.root, "put"), `${id}:/put`]);
    writeFileSync(target, "with an owner");
    chownSync(target, 11, 12);
    await engine.ok(["cp", "-a", target, `${id}:/again`]);
    const stat = ["exec", id, "stat", "-c", "%u:%g", "/put", "/again"];
    expect(lines(await engine.ok(stat))).toEqual(["0:0", "11:12"]);
    expect(lines(await engine.ok(["diff", id])).toSorted()).toEqual([
      "A /again",
      "A /made",
      "A /put",
    ]);
    await engine.ok(["commit", id, "remapped"]);
    await engine.ok(["kill", id]);
    await engine.ok(["wait", id]);
    expect(await owners()).toBe("11/12");
    await engine.ok(["cp", join(engine.root, "put"), `${id}:/late`]);
    await engine.ok(["rm", id]);
    const seen = ["remapped", "stat", "-c", "%u:%g", "/made", "/put"];
    expect(lines(await engine.ok(["run", "--rm", ...seen]))).toEqual(["11:12", "0:0"]);
    expect(lines(await engine.ok(["run", "--rm", "--userns=host", ...seen]))).toEqual([
      "11:12",
      "0:0",
    ]);
  });
});

describe("a remapped container in another's namespaces", () => {
  const first = ["run", "-d", "--name", "first", "--ipc", "shareable"];
  beforeAll(async () => {
    await engine.ok([...first, ...sh("touch /dev/shm/left; exec sleep 1234")]);
  });
  afterAll(async () => void (await engine.ok(["rm", "-f", "first"])));

  const joining = (flags: readonly string[], text: string): Promise<string> =>
    engine.ok(["run", "--rm", ...flags, ...sh(text)]);
  const namespace = (name: string) => `readlink /proc/self/ns/${name}`;
  const ofFirst = (name: string) =>
    engine.ok(["exec", "first", "readlink", `/proc/self/ns/${name}`]);

  test("sees its processes, its network and its shared memory, each alone and all at once", async () => {
    const pids = ["--pid", "container:first"];
    expect(await joining(pids, `ps -o args | grep -c '^sleep [1]234'; ${namespace("pid")}`)).toBe(
      `1\n${await ofFirst("pid")}`,
    );
    const network = ["--network", "container:first"];
    // Its own numbers, and a network that both have power over.
    const script = `${namespace("net")}; echo $$; ls /sys/class/net; ip link set lo mtu 60000 && echo changed`;
    const caps = ["--cap-add", "NET_ADMIN"];
    expect(await joining([...network, ...caps], script)).toBe(
      `${await ofFirst("net")}\n1\neth0\nlo\nchanged`,
    );
    const memory = "ls /dev/shm; stat -c %u /dev/shm/left; touch /dev/shm/more && echo made";
    expect(await joining(["--ipc", "container:first"], memory)).toBe("left\n0\nmade");
    const all = [...pids, ...network, "--ipc", "container:first"];
    const names = ["user", "pid", "net", "ipc"];
    expect(lines(await joining(all, names.map(namespace).join(";")))).toEqual(
      await Promise.all(names.map(ofFirst)),
    );
  });

  test("is mapped as the first, keeps a root of its own, and runs with a terminal, an init and an exec", async () => {
    const flags = ["-d", "--name", "second", "--init", "--pid", "container:first"];
    await engine.ok(["run", ...flags, ...sh("touch /mine; trap 'exit 3' TERM; sleep 9999 & wait")]);
    expect(statSync(`/proc/${await pidOf("second")}`).uid).toBe(FIRST);
    expect(await engine.ok(["exec", "second", "stat", "-c", "%u", "/mine"])).toBe("0");
    expect(await engine.ok(["exec", "second", "readlink", "/proc/self/ns/pid"])).toBe(
      await ofFirst("pid"),
    );
    expect((await engine.docker(["exec", "first", "ls", "/mine"])).code).toBe(1);
    await engine.ok(["stop", "-t", "20", "second"]);
    expect(await engine.ok(["inspect", "-f", "{{.State.ExitCode}}", "second"])).not.toBe("0");
    await engine.ok(["rm", "second"]);
    const terminal = await joiningWithTerminal();
    expect(terminal).toBe("/dev/pts/0");
  });

  const joiningWithTerminal = async () =>
    (await engine.ok(["run", "--rm", "-t", "--network", "container:first", ...sh("tty")])).trim();

  test("cannot join those of containers with other user namespaces; with the host's ids it can", async () => {
    await engine.ok(["run", "-d", "--name", "other", ...sh("exec sleep 1000")]);
    await engine.ok(["run", "-d", "--name", "plain", "--userns=host", ...sh("exec sleep 1000")]);
    const refused = async (...flags: string[]) =>
      (await engine.docker(["run", "--rm", ...flags, "busybox", "true"])).stderr;
    expect(await refused("--pid", "container:first", "--network", "container:other")).toContain(
      "containers that have different user namespaces",
    );
    expect(await refused("--pid", "container:plain")).toContain("has the host's user namespace");
    const host = ["--userns=host", "--network", "container:first"];
    expect(await joining(host, namespace("net"))).toBe(await ofFirst("net"));
    expect(await joining(["--ipc", "host"], namespace("ipc"))).toBe(
      (await run(["readlink", "/proc/self/ns/ipc"])).stdout.trim(),
    );
    await engine.ok(["rm", "-f", "other", "plain"]);
  });
});

describe("what happens around a remapped container", () => {
  test("a network joins it, and its limits change", async () => {
    const id = await engine.ok(["run", "-d", ...sh("exec sleep 1000")]);
    await engine.ok(["network", "create", "second"]);
    await engine.ok(["network", "connect", "second", id]);
    expect(await engine.ok(["exec", id, "ls", "/sys/class/net"])).toBe("eth0\neth1\nlo");
    await engine.ok(["update", "-m", "30m", "--memory-swap", "60m", id]);
    await engine.ok(["rm", "-f", id]);
    await engine.ok(["network", "rm", "second"]);
  });

  test("a build step is remapped, and what it makes is the image's", async () => {
    const folder = join(engine.root, "build");
    mkdirSync(folder);
    const steps = "FROM busybox\nRUN cat /proc/self/uid_map > /map; chown 9:9 /map\n";
    writeFileSync(join(folder, "Dockerfile"), steps);
    await engine.ok(["build", "-q", "-t", "stepped", folder], { env: { DOCKER_BUILDKIT: "0" } });
    const text = "cat /map; stat -c %u:%g /map";
    const seen = await engine.ok(["run", "--rm", "--userns=host", "stepped", "sh", "-c", text]);
    expect(lines(seen)[0]).toContain(`${FIRST}`);
    expect(lines(seen)[1]).toBe("9:9");
  });

  test("its devices are those it was given, its init is bound in", async () => {
    const flags = ["--device", "/dev/null:/dev/sub/nothing", "--init", "--read-only"];
    const text = "stat -c '%u %t:%T' /dev/sub/nothing; echo x > /dev/sub/nothing; touch /x";
    const said = await engine.docker(["run", "--rm", ...flags, ...sh(text)]);
    expect(said.stdout).toBe("0 1:3\n");
    expect(said.stderr).toBe("touch: /x: Read-only file system\n");
  });

  test("a device goes where it is wanted, beside /dev and into one of somebody else's", async () => {
    const look = 'echo x > $each && stat -c "%F %t:%T %u" $each';
    const device = "character special file 1:3 0";
    const runtimes = ["naru", "runc", "crun"].filter((name) => name === "naru" || Bun.which(name));
    for (const runtime of runtimes) {
      const paths = ["/opt/deep/nil", "/dev/shm/nil"];
      const devices = paths.flatMap((path) => ["--device", `/dev/null:${path}`]);
      const beside = ["--runtime", runtime, "--read-only", ...devices];
      const text = `for each in ${paths.join(" ")}; do ${look}; done`;
      expect(await engine.ok(["run", "--rm", ...beside, ...sh(text)])).toBe(`${device}\n${device}`);
      // runc itself does not start without a null device.
      const asked = ["--device", "/dev/null", "--device", "/dev/null:/dev/nil"];
      const own = ["--runtime", runtime, "-v", `${runtime}:/dev`, ...asked];
      const inside = `test -e /dev/full || echo bare; each=/dev/nil; ${look}`;
      expect(await engine.ok(["run", "--rm", ...own, ...sh(inside)])).toBe(`bare\n${device}`);
    }
    await engine.ok(["volume", "rm", ...runtimes]);
  });

  test("an id that it has no name for is refused", async () => {
    const { stderr } = await engine.docker(["run", "--rm", "-u", "70000", "busybox", "id"]);
    expect(stderr).toContain("Container ID 70000 cannot be mapped to a host ID");
  });
});

describe("the daemon", () => {
  test("refuses what shares the host, unless the container has the host's ids", async () => {
    const refused = async (...flags: string[]) =>
      (await engine.docker(["run", "--rm", ...flags, "busybox", "true"])).stderr;
    expect(await refused("--privileged")).toContain(
      "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
    );
    expect(await refused("--network=host")).toContain(
      "cannot share the host's network namespace when user namespaces are enabled",
    );
    expect(await refused("--pid=host")).toContain(
      "cannot share the host PID namespace when user namespaces are enabled",
    );
    const host = ["run", "--rm", "--userns=host", "--privileged", "--network=host", "--pid=host"];
    expect(await engine.ok([...host, ...sh("tr -s ' ' </proc/self/uid_map")])).toBe(
      " 0 0 4294967295",
    );
  });

  test("comes back to its containers, and starts them with other ids or none", async () => {
    const id = await engine.ok(["run", "-d", ...sh("touch /first; exec sleep 1000")]);
    await engine.killDaemon();
    await engine.startDaemon();
    expect(await engine.ok(["exec", id, "id", "-u"])).toBe("0");
    expect(await engine.ok(["exec", id, "cat", "/proc/self/uid_map"])).toContain(`${FIRST}`);
    await engine.killDaemon();
    await engine.startDaemon(undefined, ["--userns-remap", ""]);
    await engine.ok(["restart", "-t", "0", id]);
    expect(statSync(`/proc/${await pidOf(id)}`).uid).toBe(0);
    expect(await engine.ok(["exec", id, "stat", "-c", "%u", "/first"])).toBe("0");
    await engine.ok(["rm", "-f", id]);
  });
});
