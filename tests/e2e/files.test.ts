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
}, 120_000);
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
    const zipped = Bun.gzipSync(packed);
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
    const id = await running("--read-only", "-v", "/ro:ro", "-v", `${folder}:/locked:ro`);
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
      message: 'cannot overwrite directory "/dir" with non-directory "dir"',
    });
    expect(await put("/k", keep, pack("file"))).toEqual({
      message: 'cannot overwrite non-directory "/file" with directory "file"',
    });
    expect(await put("/etc/passwd", "", pack("dir"))).toEqual({
      message: "extraction point is not a directory",
    });
    expect(await put("/k", "", Buffer.from("no tar at all"))).toMatchObject({
      message: expect.stringContaining("archive/tar"),
    });
    await engine.ok(["rm", "-f", other]);
  });
});
