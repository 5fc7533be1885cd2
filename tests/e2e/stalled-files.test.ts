/**
 * A file system in a container that stops answering: copies that touch it wait and are given up, everyone else's
 * daemon goes on. The file system is a FUSE server of the test's own, which answers until it is told not to.
 */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { HAS_FUSE, startStuckServer, stuckLab } from "./stuck-server.ts";

const lab = stuckLab();

const tarOf = async (container: string, path: string): Promise<string> => {
  const answer = await lab.engine.fetch(`/containers/${container}/archive?path=${path}`);
  const list = Bun.spawn(["tar", "-xOf", "-"], { stdin: answer, stdout: "pipe" });
  return await new Response(list.stdout).text();
};

test.skipIf(!HAS_FUSE)(
  "a container with such a file system is copied from and into as any other",
  async () => {
    const mount = ["-v", `${lab.folder}:/stuck`];
    await lab.engine.ok(["run", "-d", "--name", "live", ...mount, "busybox", "sleep", "1000"]);
    await lab.engine.ok(["create", "--name", "still", ...mount, "busybox", "true"]);
    for (const name of ["live", "still"]) {
      expect(await tarOf(name, "/stuck/file")).toBe("of the server\n");
      expect(await tarOf(name, "/stuck")).toBe("of the server\n");
      const source = join(lab.engine.root, "local");
      writeFileSync(source, "local\n");
      await lab.engine.ok(["cp", source, `${name}:/etc/local`]);
      expect(await tarOf(name, "/etc/local")).toBe("local\n");
      const missing = await lab.engine.docker(["cp", `${name}:/stuck/nothing`, "-"]);
      expect(missing.stderr).toContain(
        `Could not find the file /stuck/nothing in container ${name}`,
      );
      const refused = await lab.engine.docker(["cp", source, `${name}:/stuck/file/below`]);
      expect(refused.code).toBe(1);
      expect(await lab.engine.ok(["export", name])).toContain("etc/local");
    }
    await lab.engine.ok(["start", "-a", "still"]);
  },
);

test.skipIf(!HAS_FUSE)(
  "users are not looked up in a file that such a file system has: nobody is kept waiting",
  async () => {
    const place = join(lab.engine.root, "users");
    await using own = await startStuckServer(place);
    const passwd = ["-v", `${join(place, "file")}:/etc/passwd`];
    await lab.engine.ok(["run", "-d", "--name", "users", ...passwd, "busybox", "sleep", "1000"]);
    await own.stall();
    expect(await lab.engine.ok(["exec", "users", "echo", "runs"])).toBe("runs");
    expect(await lab.engine.ok("exec -u 7 users grep ^Uid /proc/self/status".split(" "))).toContain(
      "7",
    );
    const { code, stderr } = await lab.engine.docker(["exec", "-u", "daemon", "users", "true"]);
    expect({ code, stderr: stderr.trim() }).toEqual({
      code: 1,
      stderr:
        "Error response from daemon: unable to find user daemon: no matching entries in passwd file",
    });
    own.kill();
    await lab.engine.ok(["rm", "-f", "users"]);
  },
);

test.skipIf(!HAS_FUSE)(
  "while it does not answer everybody else is served, and the copy ends when it is gone",
  async () => {
    await lab.server.stall();
    const stuck = ["live", "still"].map((name) =>
      lab.engine.docker(["cp", `${name}:/stuck/file`, "-"]),
    );
    const exported = lab.engine.docker(["export", "-o", join(lab.engine.root, "out"), "live"]);
    expect(await lab.server.nextLine()).toStartWith("asked");
    // The daemon lives, and so do other files of the same container.
    expect(await (await lab.engine.fetch("/_ping")).text()).toBe("OK");
    expect(await tarOf("live", "/etc/local")).toBe("local\n");
    expect(await lab.engine.ok(["ps", "-q"])).not.toBe("");
    expect(await lab.engine.ok(["diff", "live"])).toContain("A /etc/local");
    lab.server.kill();
    for (const { code } of await Promise.all(stuck)) expect(code).toBe(1);
    await exported;
    await lab.engine.ok(["rm", "-f", "live", "still"]);
  },
);
