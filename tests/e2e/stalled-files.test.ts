/**
 * A file system in a container that stops answering: copies that touch it wait and are given up, everyone else's
 * daemon goes on. The file system is a FUSE server of the test's own, which answers until it is told not to.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";
import { HAS_FUSE, startStuckServer, type StuckServer } from "./stuck-server.ts";

let engine: Engine;
let folder = "";
let server: StuckServer;

beforeAll(async () => {
  if (!HAS_FUSE) return;
  engine = await startEngine();
  folder = join(engine.root, "stuck");
  server = await startStuckServer(folder);
}, 120_000);

afterAll(async () => {
  if (!HAS_FUSE) return;
  await server[Symbol.asyncDispose]();
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const tarOf = async (container: string, path: string): Promise<string> => {
  const answer = await engine.fetch(`/containers/${container}/archive?path=${path}`);
  const list = Bun.spawn(["tar", "-xOf", "-"], { stdin: answer, stdout: "pipe" });
  return await new Response(list.stdout).text();
};

test.skipIf(!HAS_FUSE)(
  "a container with such a file system is copied from and into as any other",
  async () => {
    const mount = ["-v", `${folder}:/stuck`];
    await engine.ok(["run", "-d", "--name", "live", ...mount, "busybox", "sleep", "1000"]);
    await engine.ok(["create", "--name", "still", ...mount, "busybox", "true"]);
    for (const name of ["live", "still"]) {
      expect(await tarOf(name, "/stuck/file")).toBe("of the server\n");
      expect(await tarOf(name, "/stuck")).toBe("of the server\n");
      const source = join(engine.root, "local");
      writeFileSync(source, "local\n");
      await engine.ok(["cp", source, `${name}:/etc/local`]);
      expect(await tarOf(name, "/etc/local")).toBe("local\n");
      const missing = await engine.docker(["cp", `${name}:/stuck/nothing`, "-"]);
      expect(missing.stderr).toContain(
        `Could not find the file /stuck/nothing in container ${name}`,
      );
      const refused = await engine.docker(["cp", source, `${name}:/stuck/file/below`]);
      expect(refused.code).toBe(1);
      expect(await engine.ok(["export", name])).toContain("etc/local");
    }
    await engine.ok(["start", "-a", "still"]);
  },
);

test.skipIf(!HAS_FUSE)(
  "users are not looked up in a file that such a file system has: nobody is kept waiting",
  async () => {
    const place = join(engine.root, "users");
    await using own = await startStuckServer(place);
    const passwd = ["-v", `${join(place, "file")}:/etc/passwd`];
    await engine.ok(["run", "-d", "--name", "users", ...passwd, "busybox", "sleep", "1000"]);
    await own.stall();
    expect(await engine.ok(["exec", "users", "echo", "runs"])).toBe("runs");
    expect(await engine.ok("exec -u 7 users grep ^Uid /proc/self/status".split(" "))).toContain(
      "7",
    );
    const { code, stderr } = await engine.docker(["exec", "-u", "daemon", "users", "true"]);
    expect({ code, stderr: stderr.trim() }).toEqual({
      code: 1,
      stderr:
        "Error response from daemon: unable to find user daemon: no matching entries in passwd file",
    });
    own.kill();
    await engine.ok(["rm", "-f", "users"]);
  },
);

test.skipIf(!HAS_FUSE)(
  "while it does not answer everybody else is served, and the copy ends when it is gone",
  async () => {
    await server.stall();
    const stuck = ["live", "still"].map((name) =>
      engine.docker(["cp", `${name}:/stuck/file`, "-"]),
    );
    const exported = engine.docker(["export", "-o", join(engine.root, "out"), "live"]);
    expect(await server.nextLine()).toStartWith("asked");
    // The daemon lives, and so do other files of the same container.
    expect(await (await engine.fetch("/_ping")).text()).toBe("OK");
    expect(await tarOf("live", "/etc/local")).toBe("local\n");
    expect(await engine.ok(["ps", "-q"])).not.toBe("");
    expect(await engine.ok(["diff", "live"])).toContain("A /etc/local");
    server.kill();
    for (const { code } of await Promise.all(stuck)) expect(code).toBe(1);
    await exported;
    await engine.ok(["rm", "-f", "live", "still"]);
  },
);
