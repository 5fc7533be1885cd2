/** A container's files through the real docker CLI: cp both ways, export, diff, commit, and what hostile containers try. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { type Engine, run, startEngine } from "./engine.ts";

let engine: Engine;
let folder: string;

beforeAll(async () => {
  engine = await startEngine();
  folder = mkdtempSync("/tmp/naru-test-files-");
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** A container that runs until it is removed. */
const running = (...args: string[]): Promise<string> =>
  engine.ok(["run", "-d", ...args, "busybox", "sleep", "1000"]);
/** One that ended after running a script. */
const ended = async (script: string, ...args: string[]): Promise<string> => {
  const name = `e${crypto.randomUUID().slice(0, 8)}`;
  await engine.ok(["run", "--name", name, ...args, "busybox", "sh", "-c", script]);
  return name;
};
const inside = (id: string, script: string): Promise<string> =>
  engine.ok(["exec", id, "sh", "-c", script]);
const local = (name: string): string => join(folder, name);
const tar = async (stdin: Uint8Array | Blob, ...args: string[]) =>
  (await run(["tar", ...args], { stdin })).stdout;

describe("cp", () => {
  for (const state of ["running", "stopped"] as const) {
    test(`copies files and directories into and out of a ${state} container`, async () => {
      const id = await running();
      if (state === "stopped") await engine.ok(["stop", "-t", "0", id]);
      const tree = local(`tree-${state}`);
      mkdirSync(`${tree}/sub`, { recursive: true });
      writeFileSync(`${tree}/sub/a`, "alpha", { mode: 0o640 });
      symlinkSync("sub/a", `${tree}/link`);
      await engine.ok(["cp", tree, `${id}:/srv`]);
      await engine.ok(["cp", `${tree}/sub/a`, `${id}:/tmp/renamed`]);
      const back = local(`back-${state}`);
      await engine.ok(["cp", `${id}:/srv`, back]);
      expect(readFileSync(`${back}/sub/a`, "utf8")).toBe("alpha");
      expect(statSync(`${back}/sub/a`).mode & 0o777).toBe(0o640);
      expect(readlinkSync(`${back}/link`)).toBe("sub/a");
      if (state === "stopped") await engine.ok(["start", id]);
      expect(await inside(id, "cat /srv/link; cat /tmp/renamed; stat -c %a /srv/sub/a")).toBe(
        "alphaalpha640",
      );
      await engine.ok(["rm", "-f", id]);
    });
  }

  test("a container that was never started has files too", async () => {
    const id = await engine.ok(["create", "-v", "/data", "busybox", "cat", "/data/x", "/etc/y"]);
    writeFileSync(local("x"), "in the volume ");
    writeFileSync(local("y"), "in the root");
    await engine.ok(["cp", local("x"), `${id}:/data/x`]);
    await engine.ok(["cp", local("y"), `${id}:/etc/y`]);
    expect(await engine.ok(["start", "-a", id])).toBe("in the volume in the root");
    await engine.ok(["cp", `${id}:/data/x`, local("x2")]);
    expect(readFileSync(local("x2"), "utf8")).toBe("in the volume ");
    await engine.ok(["rm", "-fv", id]);
  });

  test("`-` streams a tar both ways", async () => {
    const id = await running();
    mkdirSync(local("s/deep"), { recursive: true });
    writeFileSync(local("s/deep/f"), "streamed");
    const packed = Bun.spawnSync(["tar", "-C", local("s"), "-c", "deep"]).stdout;
    await engine.ok(["cp", "-", `${id}:/opt/..`], { stdin: packed });
    expect(await inside(id, "cat /deep/f")).toBe("streamed");
    const zipped = Bun.gzipSync(new Uint8Array(packed));
    await engine.ok(["cp", "-", `${id}:/tmp`], { stdin: zipped });
    expect(await inside(id, "cat /tmp/deep/f")).toBe("streamed");
    const shell = `docker -H unix://${engine.socket} cp ${id}:/deep - | tar -t`;
    const { stdout } = await run(["sh", "-c", shell]);
    expect(stdout.trim().split("\n")).toEqual(["deep/", "deep/f"]);
    await engine.ok(["rm", "-f", id]);
  });

  test("owners, modes, times, hard links, devices and attributes survive", async () => {
    const id = await running();
    await inside(
      id,
      "mkdir /t; cd /t; echo x > f; chown 12:34 f; chmod 4755 f; touch -d '2020-01-02 03:04:05' f; " +
        "ln f g; mkfifo p; mknod n c 1 3; ln -s /nowhere l",
    );
    const listing = async (at: string) =>
      await inside(id, `cd ${at}; stat -c '%n %F %a %u:%g %h %Y %t,%T' * | sort; readlink l`);
    const stream = await engine.fetch(`/containers/${id}/archive?path=/t`);
    const bytes = await stream.bytes();
    await inside(id, "mkdir /u");
    const put = await engine.fetch(`/containers/${id}/archive?path=/u`, {
      method: "PUT",
      body: bytes,
    });
    expect(put.status).toBe(200);
    const strip = (text: string) => text.replaceAll(/^(l|n|p) (.*) \d{9,} /gm, "$1 $2 ");
    expect(strip(await listing("/u/t"))).toBe(strip(await listing("/t")));
    await engine.ok(["rm", "-f", id]);
  });

  test("holes stay holes on the way in, and are not sent on the way out", async () => {
    const id = await running();
    await inside(
      id,
      "cd /tmp; echo start > big; dd if=/dev/zero of=big bs=1 count=1 seek=300M 2>/dev/null",
    );
    const answer = await engine.fetch(`/containers/${id}/archive?path=/tmp/big`);
    const bytes = await answer.bytes();
    expect(bytes.length).toBeLessThan(1_000_000);
    expect(await tar(bytes, "-tv")).toContain(String(300 * 1024 * 1024 + 1));
    await engine.fetch(`/containers/${id}/archive?path=/var`, { method: "PUT", body: bytes });
    expect(
      await inside(id, "cmp /tmp/big /var/big && stat -c %s /var/big && head -c5 /var/big"),
    ).toBe(`${300 * 1024 * 1024 + 1}\nstart`);
    expect(Number(await inside(id, "du -k /var/big | cut -f1"))).toBeLessThan(1000);
    await engine.ok(["cp", `${id}:/tmp/big`, local("big")]);
    expect(statSync(local("big")).size).toBe(300 * 1024 * 1024 + 1);
    await engine.ok(["rm", "-f", id]);
  });

  test("-a gives what is copied to the container's user, -L follows the last link", async () => {
    const id = await running("--user", "1234:5678");
    writeFileSync(local("owned"), "o");
    await engine.ok(["cp", "-a", local("owned"), `${id}:/tmp/owned`]);
    await engine.ok(["cp", local("owned"), `${id}:/tmp/kept`]);
    expect(await inside(id, "stat -c %u:%g /tmp/owned /tmp/kept")).toBe("1234:5678\n0:0");
    await inside(id, "echo t > /tmp/target; ln -s target /tmp/link; ln -s /tmp/link /tmp/twice");
    await engine.ok(["cp", `${id}:/tmp/twice`, local("as-link")]);
    expect(lstatSync(local("as-link")).isSymbolicLink()).toBe(true);
    await engine.ok(["cp", "-L", `${id}:/tmp/twice`, local("as-file")]);
    expect(readFileSync(local("as-file"), "utf8")).toBe("t\n");
    await engine.ok(["rm", "-f", id]);
  });

  test("the stat header is what Docker's is", async () => {
    const id = await running();
    await inside(id, "mkdir -p /a/b; ln -s ../a/b /a/l; chmod 1777 /a/b");
    const stat = async (path: string) => {
      const url = `/containers/${id}/archive?path=${encodeURIComponent(path)}`;
      const answer = await engine.fetch(url, { method: "HEAD" });
      const header = answer.headers.get("X-Docker-Container-Path-Stat") ?? "";
      return JSON.parse(Buffer.from(header, "base64").toString()) as Record<string, unknown>;
    };
    expect(await stat("/a/l")).toMatchObject({ name: "l", mode: 134218239, linkTarget: "/a/b" });
    expect(await stat("a/l/")).toMatchObject({ name: "l", mode: 2148532735, linkTarget: "" });
    expect(await stat("/")).toMatchObject({ name: "/" });
    expect((await stat("/etc/passwd"))["mtime"]).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    await engine.ok(["rm", "-f", id]);
  });

  test("volumes and tmpfs mounts are where the container has them", async () => {
    const id = await running("-v", "/vol", "--tmpfs", "/mem", "-v", `${folder}:/host`);
    writeFileSync(local("v"), "v");
    for (const at of ["/vol", "/mem", "/host/sub"]) {
      await inside(id, `mkdir -p ${at}`);
      await engine.ok(["cp", local("v"), `${id}:${at}/v`]);
    }
    expect(await inside(id, "cat /vol/v /mem/v /host/sub/v")).toBe("vvv");
    expect(readFileSync(local("sub/v"), "utf8")).toBe("v");
    await engine.ok(["cp", `${id}:/mem/v`, local("mem-v")]);
    await engine.ok(["stop", "-t", "0", id]);
    await engine.ok(["cp", `${id}:/vol/v`, local("vol-v")]);
    expect(readFileSync(local("vol-v"), "utf8")).toBe("v");
    await engine.ok(["rm", "-fv", id]);
  });

  test("errors are Docker's", async () => {
    const id = await running("--read-only", "-v", `${folder}:/locked:ro`);
    writeFileSync(local("r"), "r");
    const failure = async (...args: string[]) =>
      (await engine.docker(["cp", ...args])).stderr.trim();
    expect(await failure(`${id}:/nope`, local("n"))).toContain(
      "Could not find the file /nope in container",
    );
    expect(await failure(local("r"), `${id}:/tmp/r`)).toContain(
      "container rootfs is marked read-only",
    );
    expect(await failure(local("r"), `${id}:/locked/r2`)).toContain(
      "mounted volume is marked read-only",
    );
    expect(existsSync(local("r2"))).toBe(false);
    await engine.ok(["stop", "-t", "0", id]);
    expect(await failure(local("r"), `${id}:/tmp/r`)).toContain(
      "container rootfs is marked read-only",
    );
    expect(await failure(local("r"), `${id}:/locked/r2`)).toContain(
      "mounted volume is marked read-only",
    );
    expect(await failure(local("r"), "nosuch:/x")).toContain("No such container: nosuch");
    await engine.ok(["rm", "-f", id]);
    const other = await running();
    const put = async (path: string, query: string, body: Uint8Array) => {
      const url = `/containers/${other}/archive?path=${path}${query}`;
      return (await engine.fetch(url, { method: "PUT", body })).json();
    };
    await inside(other, "mkdir -p /k/dir; echo x > /k/file");
    mkdirSync(local("kinds/file"), { recursive: true });
    writeFileSync(local("kinds/dir"), "");
    const pack = (name: string) => Bun.spawnSync(["tar", "-C", local("kinds"), "-c", name]).stdout;
    const keep = "&noOverwriteDirNonDir=true";
    expect(await put("/k", keep, pack("dir"))).toEqual({
      message: 'cannot overwrite directory "/k/dir" with non-directory "/k"',
    });
    expect(await put("/k", keep, pack("file"))).toEqual({
      message: 'cannot overwrite non-directory "/k/file" with directory "/k"',
    });
    expect(await put("/etc/passwd", "", pack("dir"))).toEqual({
      message: "extraction point is not a directory",
    });
    expect(await put("/k", "", Buffer.from("no tar at all"))).toEqual({
      message: "unexpected EOF",
    });
    expect(await put("/k", "", Buffer.from("no tar at all\n".repeat(100)))).toMatchObject({
      message: expect.stringContaining("archive/tar"),
    });
    await engine.ok(["rm", "-f", other]);
  });
});

describe("diff and export", () => {
  test("diff ends where no path leads further, and goes for others between its steps", async () => {
    const id = await ended(
      'n=$(printf "%0200d" 1); for i in $(seq 40); do mkdir $n; cd -P $n; done; echo deep > leaf; ' +
        "mkdir /many; cd /many; for i in $(seq 3000); do : > $i; done",
    );
    const lines = (await engine.ok(["diff", id])).split("\n");
    expect(lines.filter((line) => line.startsWith("A /0")).length).toBe(20);
    expect(lines.filter((line) => line.startsWith("A /many/")).length).toBe(3000);
    await engine.ok(["rm", id]);
  });

  test("diff tells what was added, changed and deleted, and nothing the engine did", async () => {
    const fresh = await ended("true");
    expect(await engine.ok(["diff", fresh])).toBe("");
    const id = await ended(
      "echo x > /etc/new; rm /etc/group; echo y >> /etc/passwd; mkdir -p /opt/a/b; rm -r /home; mkdir /home; " +
        "echo z > /home/z; cat /etc/shadow > /dev/null; echo gone > /root/gone; rm /root/gone",
    );
    const image = await engine
      .ok(["run", "--rm", "busybox", "ls", "-d", "/opt", "/home"], {})
      .catch(() => "/home");
    const lines = (await engine.ok(["diff", id])).split("\n");
    expect(lines).toContain("A /etc/new");
    expect(lines).toContain("D /etc/group");
    expect(lines).toContain("C /etc/passwd");
    expect(lines).toContain("C /etc");
    expect(lines).toContain("A /opt/a/b");
    expect(lines).toContain(image.includes("/opt") ? "C /opt" : "A /opt");
    expect(lines).toContain("A /home/z");
    expect(lines.join("\n")).not.toMatch(/shadow|gone|hosts|resolv|proc|dev/);
    await engine.ok(["rm", fresh, id]);
  });

  test("export holds the whole root, of a running and of a stopped container alike", async () => {
    const id = await running("-v", "/data");
    await inside(id, "echo in > /exported; echo v > /data/v; rm /etc/group");
    for (const state of ["running", "stopped"]) {
      if (state === "stopped") await engine.ok(["stop", "-t", "0", id]);
      await engine.ok(["export", "-o", local("export.tar"), id]);
      const names = await tar(Bun.file(local("export.tar")), "-t");
      expect(names).toContain("\nexported\n");
      expect(names).toContain("bin/busybox");
      expect(names).not.toContain("etc/group");
      expect(names).not.toContain("data/v");
      expect(names).not.toMatch(/^proc\/\d/m);
      const imported = await engine.ok(["import", local("export.tar"), "exported"]);
      expect(await engine.ok(["run", "--rm", imported, "cat", "/exported"])).toBe("in");
    }
    await engine.ok(["rm", "-fv", id]);
    await engine.ok(["rmi", "-f", "exported"]);
  });
});

describe("commit", () => {
  const inspect = async (image: string) =>
    (
      JSON.parse(await engine.ok(["image", "inspect", image])) as {
        Id: string;
        Parent: string;
        Author: string;
        Comment: string;
        Config: Record<string, unknown>;
        RootFS: { Layers: string[] };
      }[]
    )[0];

  test("makes an image of a container with its changes, config and history", async () => {
    const id = await ended("echo kept > /kept; rm /etc/group; chown 5:6 /kept", "-e", "A=1");
    const made = await engine.ok([
      "commit",
      "-a",
      "Me <me@example.com>",
      "-m",
      "what changed",
      "--change",
      'CMD ["cat", "/kept"]',
      "--change",
      "ENV B=2",
      "--change",
      "LABEL l=v",
      id,
      "committed:one",
    ]);
    const image = await inspect("committed:one");
    expect(image).toMatchObject({
      Id: made,
      Author: "Me <me@example.com>",
      Comment: "what changed",
    });
    expect(image?.Parent).toBe((await inspect("busybox"))?.Id ?? "");
    expect(image?.Config).toMatchObject({ Cmd: ["cat", "/kept"], Labels: { l: "v" } });
    expect(image?.Config["Env"]).toEqual(expect.arrayContaining(["A=1", "B=2"]));
    expect(image?.RootFS.Layers).toHaveLength(2);
    expect(await engine.ok(["run", "--rm", "committed:one"])).toBe("kept");
    const look = "stat -c %u:%g /kept; test -e /etc/group || echo gone; echo $A$B";
    expect(await engine.ok(["run", "--rm", "committed:one", "sh", "-c", look])).toBe(
      "5:6\ngone\n12",
    );
    const history = await engine.ok([
      "history",
      "--no-trunc",
      "--format",
      "{{.CreatedBy}}|{{.Comment}}",
      made,
    ]);
    expect(history.split("\n")[0]).toMatch(/^sh -c echo kept.*\|what changed$/);
    await engine.ok(["rm", id]);
    await engine.ok(["rmi", "committed:one"]);
  });

  test("keeps the container's healthcheck, and what --change makes of it", async () => {
    const id = await ended("true", "--health-cmd", "echo fine", "--health-interval", "7s");
    await engine.ok(["commit", id, "healthy:1"]);
    expect((await inspect("healthy:1"))?.Config["Healthcheck"]).toEqual({
      Test: ["CMD-SHELL", "echo fine"],
      Interval: 7e9,
    });
    const change = 'HEALTHCHECK --interval=50ms --retries=1 CMD ["sh", "-c", "echo probed"]';
    await engine.ok(["commit", "--change", change, id, "healthy:2"]);
    const live = await engine.ok(["run", "-d", "healthy:2", "sleep", "1000"]);
    const told = Bun.spawn(
      ["docker", "-H", `unix://${engine.socket}`, "events", "--since", "1", "-f"].concat(
        `container=${live}`,
        ["--format", "{{.Action}}"],
      ),
      { stdout: "pipe" },
    );
    const decoder = new TextDecoder();
    let seen = "";
    for await (const chunk of told.stdout) {
      seen += decoder.decode(chunk);
      if (seen.includes("health_status: healthy")) break;
    }
    told.kill();
    const log = ["inspect", "-f", "{{(index .State.Health.Log 0).Output}}", live];
    expect((await engine.ok(log)).trim()).toBe("probed");
    await engine.ok(["commit", "--change", "HEALTHCHECK NONE", id, "healthy:3"]);
    const none = ["create", "healthy:3", "true"];
    const off = await engine.ok(none);
    for (const client of ["docker", "naru"] as const) {
      const shown = await engine[client](["inspect", "-f", "{{json .State.Health}}", off]);
      expect(shown).toMatchObject({ code: 0, stdout: "null\n" });
    }
    await engine.ok(["rm", "-f", live, off, id]);
    await engine.ok(["rmi", "healthy:1", "healthy:2", "healthy:3"]);
  });

  test("freezes a running container meanwhile, and not with --pause=false", async () => {
    const since = String(Math.floor(Date.now() / 1000) - 1);
    const id = await running();
    await inside(id, "echo live > /live");
    await engine.ok(["commit", id, "live:1"]);
    await engine.ok(["commit", "--pause=false", id, "live:2"]);
    expect(await engine.ok(["run", "--rm", "live:2", "cat", "/live"])).toBe("live");
    expect(await engine.ok(["inspect", "-f", "{{.State.Status}}", id])).toBe("running");
    const until = String(Math.ceil(Date.now() / 1000) + 1);
    const events = await engine.ok([
      "events",
      "--since",
      since,
      "--until",
      until,
      "--filter",
      `container=${id}`,
      "--format",
      "{{.Action}}",
    ]);
    const actions = events.split("\n").filter((action) => /pause|commit/.test(action));
    expect(actions).toEqual(["pause", "commit", "unpause", "commit"]);
    await engine.ok(["rm", "-f", id]);
    await engine.ok(["rmi", "-f", "live:1", "live:2"]);
  });

  test("without changes adds history only", async () => {
    const id = await ended("true");
    await engine.ok(["commit", id, "same"]);
    expect((await inspect("same"))?.RootFS.Layers).toHaveLength(1);
    expect(await engine.ok(["run", "--rm", "same", "echo", "runs"])).toBe("runs");
    const failed = await engine.docker(["commit", "nosuch", "x"]);
    expect(failed.stderr).toContain("No such container: nosuch");
    expect((await engine.docker(["commit", "--change", "RUN true", id])).stderr).toContain(
      "RUN is not a valid change command",
    );
    await engine.ok(["rm", id]);
    await engine.ok(["rmi", "same"]);
  });
});

describe("hostile containers and archives", () => {
  const secret = () => local("secret");

  test("links planted anywhere lead inside the container only", async () => {
    writeFileSync(secret(), "the host's");
    const id = await running();
    await inside(
      id,
      `ln -s ${folder} /out; ln -s ../../../../../../../..${folder} /up; ln -s ${secret()} /plain; ` +
        "ln -s /proc/1/root /magic; mkdir /in",
    );
    for (const path of ["/out/secret", "/up/secret", "/plain/", "/magic/../secret"]) {
      const answer = await engine.fetch(`/containers/${id}/archive?path=${path}`);
      expect([400, 404]).toContain(answer.status);
    }
    writeFileSync(local("p"), "planted");
    await engine.docker(["cp", local("p"), `${id}:/out/secret`]);
    await engine.docker(["cp", local("p"), `${id}:/plain`]);
    await engine.docker(["cp", local("p"), `${id}:/in/../../../..${folder}/escaped`]);
    // A link in the archive itself, then an entry through it.
    mkdirSync(local("evil"), { recursive: true });
    symlinkSync(folder, local("evil/door"));
    const first = Bun.spawnSync(["tar", "-C", local("evil"), "-c", "door"]).stdout;
    rmSync(local("evil/door"));
    mkdirSync(local("evil/door"));
    writeFileSync(local("evil/door/secret"), "overwritten");
    const second = Bun.spawnSync(["tar", "-C", local("evil"), "-c", "door/secret"]).stdout;
    const joined = Buffer.concat([first.subarray(0, 512), second]);
    await engine.fetch(`/containers/${id}/archive?path=/in`, { method: "PUT", body: joined });
    const dots = Bun.spawnSync([
      "tar",
      "-C",
      local("evil/door"),
      "-Pc",
      "--transform",
      "s,^,../../../,",
      "secret",
    ]);
    await engine.fetch(`/containers/${id}/archive?path=/in`, { method: "PUT", body: dots.stdout });
    expect(readFileSync(secret(), "utf8")).toBe("the host's");
    expect(existsSync(local("escaped"))).toBe(false);
    expect(await inside(id, "cat /in/secret")).toBe("overwritten");
    await engine.ok(["rm", "-f", id]);
  });

  test("a container that swaps directories for links during a copy gets nothing out", async () => {
    writeFileSync(secret(), "the host's");
    const id = await running();
    await inside(id, "mkdir -p /race/d; echo inside > /race/d/secret");
    await engine.ok([
      "exec",
      "-d",
      id,
      "sh",
      "-c",
      `cd /race; while :; do mv d e; ln -s ${folder} d; rm d; mv e d; done`,
    ]);
    const pack = Bun.spawnSync([
      "tar",
      "-C",
      "/",
      "--transform",
      "s,.*,d/secret,",
      "-c",
      "etc/hostname",
    ]).stdout;
    for (let round = 0; round < 60; round += 1) {
      const got = await engine.fetch(`/containers/${id}/archive?path=/race/d/secret`);
      const text = await got.text();
      expect(text).not.toContain("the host's");
      const put = await engine.fetch(`/containers/${id}/archive?path=/race`, {
        method: "PUT",
        body: pack,
      });
      await put.text();
    }
    expect(readFileSync(secret(), "utf8")).toBe("the host's");
    await engine.ok(["rm", "-f", id]);
  });

  test("huge headers, cut connections and endless archives leave the daemon well", async () => {
    const id = await running();
    const put = (body: RequestInit["body"]) =>
      engine.fetch(`/containers/${id}/archive?path=/tmp`, { method: "PUT", body: body ?? null });
    const header = Bun.spawnSync(["tar", "-C", "/", "-c", "etc/hostname"]).stdout.subarray(0, 512);
    const long = Buffer.from(header);
    long.write("L", 156, "latin1");
    long.write("77777777777\0", 124, "latin1");
    long.fill(0x20, 148, 156);
    const sum = long.reduce((total, byte) => total + byte, 0);
    long.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    const refused = await put(Buffer.concat([long, Buffer.alloc(1 << 20)]));
    expect(refused.status).toBe(400);
    const cut = await put(header);
    expect(cut.status).toBe(400);
    await inside(id, "dd if=/dev/urandom of=/tmp/large bs=1M count=40 2>/dev/null");
    const abort = new AbortController();
    const answer = await engine.fetch(`/containers/${id}/archive?path=/tmp/large`, {
      signal: abort.signal,
    });
    await answer.body?.getReader().read();
    abort.abort();
    await engine.ok(["stop", "-t", "0", id]);
    // A reader that went away does not hold a stopped container for ever either.
    const stopped = new AbortController();
    const held = await engine.fetch(`/containers/${id}/archive?path=/tmp/large`, {
      signal: stopped.signal,
    });
    await held.body?.getReader().read();
    stopped.abort();
    await engine.ok(["start", id]);
    expect(await inside(id, "echo well")).toBe("well");
    await engine.ok(["rm", "-f", id]);
  });

  test("the JSON of every answer was Docker's", () => {
    expect(engine.violations()).toEqual([]);
  });
});
