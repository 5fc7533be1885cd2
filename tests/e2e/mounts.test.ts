/** Mounts as Docker 25 and later make them: what they hide, how far "read-only" reaches, what inspect lists. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import { baseImage, type Engine, run, startEngine } from "./engine.ts";

let engine: Engine;
let source: string;

beforeAll(async () => {
  engine = await startEngine();
  source = join(engine.root, "source");
  mkdirSync(join(source, "below"), { recursive: true });
  await run(["mount", "-t", "tmpfs", "naru-test", join(source, "below")]);
});

afterAll(async () => {
  await run(["umount", "-l", join(source, "below")]);
  await engine[Symbol.asyncDispose]();
});

const touchBoth = ["busybox", "sh", "-c", "touch /m/x; touch /m/below/x"];

for (const runtime of ["naru", "runc", "crun"]) {
  test(`a read-only bind is read-only all the way down (${runtime})`, async () => {
    const mount = ["run", "--rm", "--runtime", runtime, "-v", `${source}:/m:ro`];
    const { stderr } = await engine.docker([...mount, ...touchBoth]);
    expect(stderr).toContain("/m/x: Read-only file system");
    expect(stderr).toContain("/m/below/x: Read-only file system");
  });
}

test("a bind may be read-only at its top alone", async () => {
  const mount = `type=bind,src=${source},dst=/m,readonly,bind-recursive=writable`;
  const { code, stderr } = await engine.docker(["run", "--rm", "--mount", mount, ...touchBoth]);
  expect(stderr).toContain("/m/x: Read-only file system");
  expect(code).toBe(0);
});

test("a mounted /etc still holds the engine's files", async () => {
  expect(await engine.ok(["run", "--rm", "--tmpfs", "/etc", "busybox", "ls", "/etc"])).toBe(
    "hostname\nhosts\nresolv.conf",
  );
});

test("an image whose resolv.conf is a link into a /run that is not there starts and restarts", async () => {
  const tree = join(engine.root, "linked");
  mkdirSync(join(tree, "etc"), { recursive: true });
  symlinkSync("../run/systemd/resolve/stub-resolv.conf", join(tree, "etc/resolv.conf"));
  symlinkSync("/missing/hosts", join(tree, "etc/hosts"));
  const tar = `${tree}.tar`;
  await run(["cp", await baseImage("busybox"), tar]);
  await run(["tar", "-rf", tar, "-C", tree, "./etc/resolv.conf", "./etc/hosts"]);
  await engine.ok(["import", tar, "linked"]);
  for (const options of [[], ["--tmpfs", "/run"]]) {
    const read = ["cat", "/etc/resolv.conf", "/missing/hosts"];
    const output = await engine.ok(["run", "--rm", ...options, "linked", ...read]);
    expect(output).toContain("nameserver");
    expect(output).toContain("localhost");
  }
  await engine.ok(["run", "--name", "linked", "linked", "cat", "/etc/hosts"]);
  expect(await engine.ok(["start", "-a", "linked"])).toContain("localhost");
});

test("inspect lists --mount's tmpfs among the mounts, and --tmpfs among the host's options", async () => {
  const words = ["--tmpfs", "/a:size=1m", "--mount", "type=tmpfs,dst=/b", "-v", "/c"];
  await engine.ok(["create", "--name", "listed", ...words, "busybox", "true"]);
  const format =
    "{{range .Mounts}}{{.Type}} {{.Destination}} [{{.Mode}}];{{end}} {{json .HostConfig.Tmpfs}}";
  expect(await engine.ok(["inspect", "-f", format, "listed"])).toBe(
    'tmpfs /b [];volume /c []; {"/a":"size=1m"}',
  );
  expect(await engine.ok(["inspect", "-f", "{{json .Config.Env}}", "listed"])).toBe("null");
  expect(engine.violations()).toEqual([]);
});

test("inspect tells -v letter for letter: ansible makes a container anew whose binds read otherwise", async () => {
  const binds = ["written:/a:rw", "/tmp:/b:ro,rprivate", "/tmp:/c"];
  const words = binds.flatMap((bind) => ["-v", bind]);
  await engine.ok(["create", "--name", "written", ...words, "busybox", "true"]);
  // docker's CLI keeps them in a map of Go's: their order is chance.
  const [inspected] = JSON.parse(await engine.ok(["inspect", "written"]));
  const { HostConfig, Mounts } = inspected;
  expect(HostConfig.Binds.toSorted()).toEqual(binds.toSorted());
  const modes = Mounts.map(({ Destination, Mode }: Record<string, string>) => [Destination, Mode]);
  expect(Object.fromEntries(modes)).toEqual({ "/a": "rw", "/b": "ro,rprivate", "/c": "" });
});

test("info and inspect name the same storage driver", async () => {
  await engine.ok(["create", "--name", "stored", "busybox", "true"]);
  expect(await engine.ok(["info", "-f", "{{.Driver}}"])).toBe(
    await engine.ok(["inspect", "-f", "{{.Driver}}", "stored"]),
  );
});
