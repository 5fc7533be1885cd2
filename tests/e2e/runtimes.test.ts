/** What `--runtime runc` and `--runtime crun` can do besides an ordinary container: as much as the native runtime. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, readFileSync, statSync, writeFileSync } from "node:fs";

import { type Engine, startEngine } from "./engine.ts";
import { eventually } from "./until.ts";

const FIRST = 900_000_000 + Math.floor(Math.random() * 1000) * 100_000;
/** Somebody every host has, with ranges of this test alone. */
const line = `nobody:${FIRST}:65536\n`;
const FILES = ["/etc/subuid", "/etc/subgid"];

let engine: Engine;

beforeAll(async () => {
  for (const file of FILES) appendFileSync(file, line);
  engine = await startEngine({ daemonFlags: ["--userns-remap", "nobody"] });
});

afterAll(async () => {
  for (const file of FILES) writeFileSync(file, readFileSync(file, "utf8").replace(line, ""));
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const sh = (text: string) => ["busybox", "sh", "-c", text];
const lines = (text: string) => text.trim().split("\n");

for (const runtime of ["runc", "crun"]) {
  const start = ["run", "--runtime", runtime];
  describe.skipIf(Bun.which(runtime) === null)(runtime, () => {
    for (const [ids, flags] of [
      ["the host's", ["--userns=host"]],
      ["remapped", []],
    ] as const) {
      test(`shows images and parts of volumes, with ${ids} ids`, async () => {
        const volume = `parts-${runtime}-${flags.length}`;
        await engine.ok([
          "run",
          "--rm",
          ...flags,
          "-v",
          `${volume}:/v`,
          ...sh("mkdir -p /v/a/b; echo part >/v/a/b/file; ln -s a/b /v/in; ln -s /etc /v/out"),
        ]);
        const mounts = [
          "--mount=type=image,src=busybox,dst=/image",
          "--mount=type=image,src=busybox,dst=/tool/busybox,image-subpath=bin/busybox",
          `--mount=type=volume,src=${volume},dst=/part,volume-subpath=in`,
          `--mount=type=volume,src=${volume},dst=/read,volume-subpath=a,readonly`,
        ];
        const text =
          "/image/bin/busybox echo runs; /tool/busybox echo too; cat /part/file; echo new >/part/new; touch /read/x /image/x; stat -c %u /part/new /image/bin";
        const said = await engine.docker([...start, "--rm", ...flags, ...mounts, ...sh(text)]);
        expect(lines(said.stdout)).toEqual(["runs", "too", "part", "0", "0"]);
        expect(lines(said.stderr).map((each) => each.replace(/.*: /, ""))).toEqual([
          "Read-only file system",
          "Read-only file system",
        ]);
        const out = `--mount=type=volume,src=${volume},dst=/part,volume-subpath=out`;
        const refused = await engine.docker([...start, "--rm", ...flags, out, "busybox", "true"]);
        expect(refused.code).not.toBe(0);
        const look = [
          "run",
          "--rm",
          ...flags,
          "-v",
          `${volume}:/v`,
          "busybox",
          "cat",
          "/v/a/b/new",
        ];
        expect(await engine.ok(look)).toBe("new");
      });
    }

    test("remaps ids: root inside is nobody of the host's, in exec and with a terminal as well", async () => {
      const name = `mapped-${runtime}`;
      const flags = ["-d", "--name", name, "--hostname", "inside", "--init"];
      const text =
        "tr -s ' ' </proc/self/uid_map; stat -c %u:%g /bin/sh /etc/hosts; echo err >/dev/stderr; exec sleep 1000";
      await engine.ok([...start, ...flags, ...sh(text)]);
      const pid = Number(await engine.ok(["inspect", "-f", "{{.State.Pid}}", name]));
      expect(statSync(`/proc/${pid}`).uid).toBe(FIRST);
      const printed = [`0 ${FIRST} 65536`, "0:0", "0:0"];
      await eventually(async () => {
        expect(lines((await engine.docker(["logs", name])).stdout)).toEqual(printed);
      });
      const inside = ["exec", "-u", "1000:50", name, "sh", "-c"];
      const seen = await engine.ok([...inside, "id -u; hostname; echo x >/dev/stdout"]);
      expect(lines(seen)).toEqual(["1000", "inside", "x"]);
      expect((await engine.ok(["exec", "-t", name, "tty"])).trim()).toMatch(/^\/dev\/pts\/\d$/);
      const address = await engine.ok(["inspect", "-f", "{{.NetworkSettings.IPAddress}}", name]);
      await engine.ok(["exec", "-d", name, "httpd", "-p", "80", "-h", "/etc"]);
      const ask = `until wget -qO- http://${address}/hostname; do sleep 0.05; done`;
      expect(await engine.ok([...start, "--rm", ...sh(ask)])).toBe("inside");
      const joined = ["--rm", "--pid", `container:${name}`, "--network", `container:${name}`];
      const beside = await engine.ok([...start, ...joined, ...sh("ps -o comm | grep -c '^sleep'")]);
      expect(beside).toBe("1");
      await engine.ok(["rm", "-f", name]);
    });

    test("shows remapped containers their devices, a host folder as nobody's, and no more of the host", async () => {
      const flags = ["--rm", "--device", "/dev/null:/dev/sub/nothing", "-u", "5:6"];
      const text =
        "stat -c '%u %t:%T' /dev/sub/nothing; echo x >/dev/sub/nothing && echo written; cat /h/secret; echo y >/dev/stdout";
      const folder = `${engine.root}/host-${runtime}`;
      await Bun.write(`${folder}/secret`, "host");
      await Bun.$`chmod 600 ${folder}/secret`.quiet();
      const said = await engine.docker([...start, ...flags, "-v", `${folder}:/h`, ...sh(text)]);
      expect(lines(said.stdout)).toEqual(["0 1:3", "written", "y"]);
      expect(said.stderr).toContain("cat: can't open '/h/secret': Permission denied");
      const hostile =
        "mknod /tmp/d b 8 0; mount -t ext4 /dev/sda /mnt; echo 1 >/proc/sys/kernel/panic";
      const powers = ["--cap-add", "ALL", "--security-opt", "seccomp=unconfined"];
      const before = readFileSync("/proc/sys/kernel/panic", "utf8");
      const tried = await engine.docker([...start, "--rm", ...powers, ...sh(hostile)]);
      expect(tried.code).not.toBe(0);
      expect(tried.stderr).toContain("mknod: /tmp/d: Operation not permitted");
      expect(readFileSync("/proc/sys/kernel/panic", "utf8")).toBe(before);
    });
  });
}

test("nothing of such a container is mounted on the host, and all of it is gone with it", async () => {
  const mine = () =>
    readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .filter((each) => each.includes(`${engine.execRoot}/containers/`));
  if (Bun.which("runc") === null) return;
  await engine.ok(["run", "-d", "--runtime", "runc", "--name", "seen", ...sh("exec sleep 1000")]);
  expect(mine()).toEqual([]);
  await engine.ok(["rm", "-f", "seen"]);
  expect(mine()).toEqual([]);
});
