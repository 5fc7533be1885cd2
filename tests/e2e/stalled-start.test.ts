/**
 * Starts whose mounts' sources never answer: only they wait. Daemon and supervisor serve everybody else, and the start
 * is ended by whoever stops, kills or removes its container.
 */
import { expect, test } from "bun:test";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { HAS_FUSE, startStuckServer, stuckLab } from "./stuck-server.ts";

const lab = stuckLab();

test.skipIf(!HAS_FUSE)(
  "what answers is mounted as ever: files, folders, nested mounts, read-only",
  async () => {
    const inner = join(lab.engine.root, "inner");
    mkdirSync(inner);
    const mounts = [
      "-v",
      `${lab.folder}/file:/one`,
      "--mount",
      `type=bind,src=${lab.folder},dst=/all,ro`,
    ];
    const nested = ["-v", `${inner}:/all/inner`];
    const look =
      "cat /one /all/file; stat -f -c %T /all >/dev/null; touch /all/file 2>&1; grep -c ' /all ' /proc/mounts";
    const said = await lab.engine.ok(["run", "--rm", ...mounts, "busybox", "sh", "-c", look]);
    expect(said).toBe("of the server\nof the server\ntouch: /all/file: Read-only file system\n1");
    const refused = await lab.engine.docker([
      "run",
      "--rm",
      ...mounts,
      ...nested,
      "busybox",
      "true",
    ]);
    expect(refused.code).toBe(125);
    const missing = ["--mount", `type=bind,src=${lab.folder}/nothing,dst=/x`, "busybox", "true"];
    const none = await lab.engine.docker(["run", "--rm", ...missing]);
    expect(none.stderr).toContain(
      `invalid mount config for type "bind": bind source path does not exist: ${lab.folder}/nothing`,
    );
    await lab.engine.ok([
      "volume",
      "create",
      "-o",
      "type=none",
      "-o",
      "o=bind",
      "-o",
      `device=${lab.folder}`,
      "remote",
    ]);
    expect(
      await lab.engine.ok(["run", "--rm", "-v", "remote:/r:nocopy", "busybox", "cat", "/r/file"]),
    ).toBe("of the server");
    if (Bun.which("crun") === null) return;
    const other = ["run", "--rm", "--runtime", "crun", ...mounts, "busybox", "cat", "/one"];
    expect(await lab.engine.ok(other)).toBe("of the server");
  },
);

test.skipIf(!HAS_FUSE)("while it does not answer only its own containers wait", async () => {
  await lab.engine.ok([
    "run",
    "-d",
    "--name",
    "other",
    "busybox",
    "sh",
    "-c",
    "read line; echo over",
  ]);
  const talker = ["run", "-d", "-i", "--name", "talker", "busybox", "cat"];
  await lab.engine.ok(talker);
  await lab.server.stall();
  const start = async (name: string, source: string) => {
    const mount = ["-v", `${source}:/x`];
    const ended = lab.engine.docker(["run", "-d", "--name", name, ...mount, "busybox", "true"]);
    // Its question has come to the server, which keeps it; 36 is the kernel's wish to forget another one.
    for (let line = "asked 36"; line === "asked 36";) line = await lab.server.nextLine();
    return { ended };
  };
  const stateOf = (name: string) => lab.engine.ok(["inspect", "-f", "{{.State.Status}}", name]);

  const killed = await start("killed", lab.folder);
  expect(await lab.engine.ok(["run", "--rm", "busybox", "echo", "served"])).toBe("served");
  expect(await lab.engine.ok(["exec", "talker", "echo", "too"])).toBe("too");
  expect(await lab.engine.ok(["rm", "-f", "other"])).toBe("other");
  expect(await stateOf("killed")).toBe("created");
  await lab.engine.ok(["kill", "killed"]);
  expect((await killed.ended).stderr).toContain("was given up");
  expect(await stateOf("killed")).toBe("created");

  const removed = await start("removed", lab.folder);
  await lab.engine.ok(["rm", "-f", "removed"]);
  expect((await removed.ended).code).toBe(125);

  const stopped = await start("stopped", "remote");
  await lab.engine.ok(["stop", "stopped"]);
  expect((await stopped.ended).stderr).toContain("was given up");

  const last = await start("last", lab.folder);
  lab.server.kill();
  expect((await last.ended).code).toBe(125);
  await lab.engine.ok(["rm", "-f", "talker", "killed", "stopped", "last"]);
  await lab.engine.ok(["volume", "rm", "remote"]);
});

for (const runtime of ["native", "crun"]) {
  const lacks = !HAS_FUSE || (runtime !== "native" && Bun.which(runtime) === null);
  test.skipIf(lacks)(
    `a mount inside a file system that hangs is waited for alone: ${runtime}`,
    async () => {
      // An ordinary folder, with the other one somewhere below it.
      const outer = join(lab.engine.root, `outer-${runtime}`);
      mkdirSync(outer);
      await using other = await startStuckServer(join(outer, "stuck"));
      const inner = join(lab.engine.root, `inner-${runtime}`);
      const mounts = ["-v", `${outer}:/all`, "-v", `${inner}:/all/stuck/deep/inner`];
      // The kernel's first question is answered then.
      readdirSync(join(outer, "stuck"));
      await other.stall();
      const which = runtime === "native" ? [] : ["--runtime", runtime];
      const flags = ["-d", "--name", "nested", ...which, ...mounts];
      const ended = lab.engine.docker(["run", ...flags, "busybox", "true"]);
      // Where the mount's target is: its question has come to the server, which keeps it.
      for (let line = ""; line !== "asked 1";) line = await other.nextLine();
      expect(await lab.engine.ok(["run", "--rm", "busybox", "echo", "served"])).toBe("served");
      expect(await lab.engine.ok(["inspect", "-f", "{{.State.Status}}", "nested"])).toBe("created");
      await lab.engine.ok(["kill", "nested"]);
      expect((await ended).stderr).toContain("was given up");
      await lab.engine.ok(["rm", "nested"]);
    },
  );
}
