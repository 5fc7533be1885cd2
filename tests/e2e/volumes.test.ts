/** Volumes as people use them: made, filled, shared, mounted with options, protected, removed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { baseImage, type Engine, run, startEngine } from "./engine.ts";

let engine: Engine;
let volumes: string;

beforeAll(async () => {
  engine = await startEngine();
  volumes = join(engine.dataRoot, "volumes");
  const tree = join(engine.root, "tree");
  mkdirSync(join(tree, "data/below"), { recursive: true });
  writeFileSync(join(tree, "data/hello"), "from the image");
  writeFileSync(join(tree, "data/below/secret"), "x", { mode: 0o600 });
  symlinkSync("hello", join(tree, "data/link"));
  symlinkSync("/data", join(tree, "elsewhere"));
  await run(["chown", "-R", "7:8", join(tree, "data")]);
  await run(["chmod", "1751", join(tree, "data")]);
  const tar = `${tree}.tar`;
  await run(["cp", await baseImage("busybox"), tar]);
  await run(["tar", "-rf", tar, "-C", tree, "./data", "./elsewhere"]);
  await engine.ok(["import", "-c", "VOLUME /data", tar, "filled"]);
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const sh = (...options: string[]) => {
  const command = options.pop() ?? "";
  const image = options.pop() ?? "busybox";
  return engine.ok(["run", "--rm", ...options, image, "sh", "-c", command]);
};
const inspect = async (name: string, format: string) =>
  await engine.ok(["volume", "inspect", "-f", format, name]);
const isMounted = (path: string) => readFileSync("/proc/self/mountinfo", "utf8").includes(path);

test("a volume is made, listed, inspected and removed", async () => {
  expect(await engine.ok(["volume", "create", "--label", "a=b", "one"])).toBe("one");
  expect(await engine.ok(["volume", "create", "one"])).toBe("one");
  await engine.ok(["volume", "create", "--label", "a", "two"]);
  expect(await engine.ok(["volume", "ls"])).toMatch(
    /^DRIVER +VOLUME NAME\nlocal +one\nlocal +two$/,
  );
  expect(await engine.ok(["volume", "ls", "-q", "-f", "label=a=b"])).toBe("one");
  expect(await engine.ok(["volume", "ls", "-q", "-f", "name=tw"])).toBe("two");
  expect(await engine.ok(["volume", "ls", "-q", "-f", "driver=nfs"])).toBe("");
  expect(await inspect("one", "{{.Driver}} {{.Labels}} {{.Options}} {{.Scope}}")).toBe(
    "local map[a:b] map[] local",
  );
  expect(await inspect("one", "{{.Mountpoint}}")).toBe(join(volumes, "one/_data"));
  expect(await engine.ok(["volume", "rm", "one", "two"])).toBe("one\ntwo");
  expect(existsSync(join(volumes, "one"))).toBe(false);
});

test("what cannot be is said in Docker's words", async () => {
  const says = async (args: string[], sentence: string) => {
    const { code, stderr } = await engine.docker(args);
    expect({ args, stderr, failed: code !== 0 }).toEqual({
      args,
      stderr: expect.stringContaining(sentence) as string,
      failed: true,
    });
  };
  await says(["volume", "create", "a/b"], "includes invalid characters for a local volume name");
  await says(["volume", "create", "x"], "volume name is too short");
  await says(["volume", "create", "..", "--label", "x"], "includes invalid characters");
  await says(["volume", "create", "-d", "nfs", "vv"], 'plugin "nfs" not found');
  await says(["volume", "create", "-o", "foo=bar", "vv"], 'create vv: invalid option: "foo"');
  await says(["volume", "create", "-o", "type=nfs", "vv"], 'missing required option: "device"');
  await says(["volume", "create", "-o", "size=1m", "vv"], "no quota support");
  await says(["volume", "inspect", "nope"], "get nope: no such volume");
  await says(["volume", "rm", "nope"], "get nope: no such volume");
  await says(["volume", "ls", "-f", "color=red"], "invalid filter 'color'");
  await says(
    ["run", "--volume-driver", "nfs", "-v", "vv:/v", "busybox", "true"],
    'plugin "nfs" not found',
  );
  await says(["run", "--volumes-from", "nope", "busybox", "true"], "No such container: nope");
  await engine.ok(["create", "--name", "source", "-v", "vs:/v", "busybox", "true"]);
  await says(["run", "--volumes-from", "source:rr", "busybox", "true"], "invalid mode: rr");
  await engine.ok(["rm", "source"]);
  await engine.ok(["volume", "rm", "vs"]);
  expect((await engine.docker(["volume", "rm", "-f", "nope"])).code).toBe(0);
});

test("a new volume is filled with the image's content, owners, modes and links; once", async () => {
  const look =
    "stat -c '%u:%g %a' /data /data/below/secret; cat /data/link; ls -l /data | grep -c -- '-> hello'";
  expect(await sh("-v", "fresh:/data", "filled", look)).toBe("7:8 1751\n7:8 600\nfrom the image1");
  expect(await sh("-v", "fresh:/data", "filled", "rm -r /data/* && touch /data/mine")).toBe("");
  expect(await sh("-v", "fresh:/data", "filled", "ls /data")).toBe("mine");
  expect(await sh("-v", "empty:/data:nocopy", "filled", "ls /data")).toBe("");
  const noCopy = "type=volume,src=empty2,dst=/data,volume-nocopy";
  expect(await sh("--mount", noCopy, "filled", "ls /data")).toBe("");
  // A link in the image is followed inside the image.
  expect(await sh("-v", "linked:/elsewhere", "filled", "cat /elsewhere/hello")).toBe(
    "from the image",
  );
  expect(readdirSync(join(volumes, "fresh"))).toEqual(["_data"]);
  await engine.ok(["volume", "rm", "fresh", "empty", "empty2", "linked"]);
});

test("a volume in use is protected, and its data survives its containers and the daemon", async () => {
  const id = await engine.ok(["create", "-v", "kept:/v", "busybox", "sh", "-c", "date > /v/data"]);
  await engine.ok(["start", "-a", id]);
  const { code, stderr } = await engine.docker(["volume", "rm", "-f", "kept"]);
  expect(code).toBe(1);
  expect(stderr).toContain(`remove kept: volume is in use - [${id}]`);
  expect(await engine.ok(["volume", "prune", "-af"])).toContain("Total reclaimed space: 0B");
  await engine.ok(["rm", "-v", id]);
  await engine.killDaemon();
  await engine.startDaemon();
  expect(await sh("-v", "kept:/v:ro", "busybox", "test -s /v/data && ! touch /v/x 2>&1")).toContain(
    "Read-only file system",
  );
  await engine.ok(["volume", "rm", "kept"]);
  expect(await sh("-v", "kept:/v", "busybox", "ls /v")).toBe("");
  await engine.ok(["volume", "rm", "kept"]);
});

test("an anonymous volume goes with --rm and rm -v, and stays with rm", async () => {
  await sh("-v", "/x", "filled", "touch /x/a");
  expect(await engine.ok(["volume", "ls", "-q"])).toBe("");
  const id = await engine.ok(["create", "filled", "true"]);
  const name = await engine.ok(["volume", "ls", "-q"]);
  expect(name).toMatch(/^[0-9a-f]{64}$/);
  expect(await inspect(name, "{{.Labels}}")).toBe("map[com.docker.volume.anonymous:]");
  await engine.ok(["rm", id]);
  expect(await engine.ok(["volume", "ls", "-q", "-f", "dangling=true"])).toBe(name);
  await engine.ok(["volume", "create", "named"]);
  expect(await engine.ok(["volume", "prune", "-f"])).toContain(name);
  expect(await engine.ok(["volume", "ls", "-q"])).toBe("named");
  expect(await engine.ok(["volume", "prune", "-f", "--filter", "label=x", "-a"])).not.toContain(
    "named",
  );
  expect(await engine.ok(["volume", "prune", "-f", "-a"])).toContain("named");
});

test("--volumes-from takes volumes and binds of several containers, read-only if asked", async () => {
  const shared = join(engine.root, "shared");
  mkdirSync(shared, { recursive: true });
  await engine.ok([
    "create",
    "--name",
    "first",
    "-v",
    "va:/va",
    "-v",
    "/anon",
    "-v",
    `${shared}:/b`,
    "busybox",
    "true",
  ]);
  await engine.ok(["create", "--name", "second", "-v", "vb:/vb:ro", "busybox", "true"]);
  const write = "touch /va/x /b/x /anon/x; touch /vb/x 2>&1; true";
  expect(
    await sh("--volumes-from", "first", "--volumes-from", "second:rw", "busybox", write),
  ).toContain("/vb/x: Read-only file system");
  const read = "ls /va /anon /b; touch /va/y 2>&1; touch /anon/y 2>&1; true";
  const output = await sh("--volumes-from", "first:ro", "busybox", read);
  expect(output.match(/x\n/g)?.length).toBe(3);
  expect(output).toContain("/va/y: Read-only file system");
  expect(output).toContain("/anon/y: Read-only file system");
  // What is asked for goes before what is inherited.
  expect(await sh("--volumes-from", "first", "-v", "other:/va", "busybox", "ls /va")).toBe("");
  // The first of two with an anonymous volume leaves it to the other.
  const c = await engine.ok(["create", "--volumes-from", "first", "busybox", "true"]);
  await engine.ok(["rm", "-v", "first"]);
  expect(await engine.ok(["volume", "ls", "-q", "-f", "dangling=false"])).toMatch(
    /^[0-9a-f]{64}\nva\nvb$/,
  );
  await engine.ok(["rm", "-v", c, "second"]);
  expect(await engine.ok(["volume", "ls", "-q"])).toBe("other\nva\nvb");
  await engine.ok(["volume", "prune", "-af"]);
});

test("a tmpfs volume is mounted at the first use and unmounted after the last, daemon restarts included", async () => {
  await engine.ok([
    "volume",
    "create",
    "-o",
    "type=tmpfs",
    "-o",
    "device=tmpfs",
    "-o",
    "o=size=1m,uid=1000",
    "mem",
  ]);
  const path = join(volumes, "mem/_data");
  expect(isMounted(path)).toBe(false);
  const hold = async (name: string) =>
    await engine.ok(["run", "-d", "--name", name, "-v", "mem:/m", "busybox", "sleep", "600"]);
  await hold("m1");
  await hold("m2");
  expect(
    await engine.ok([
      "exec",
      "m1",
      "sh",
      "-c",
      "df -k /m | tail -1; stat -c %u /m; echo shared > /m/f",
    ]),
  ).toMatch(/tmpfs +1024 .*\n1000$/);
  expect(await engine.ok(["exec", "m2", "cat", "/m/f"])).toBe("shared");
  await engine.ok(["rm", "-f", "m1"]);
  expect(isMounted(path)).toBe(true);
  await engine.killDaemon();
  await engine.startDaemon();
  expect(await engine.ok(["exec", "m2", "cat", "/m/f"])).toBe("shared");
  await hold("m3");
  expect(await engine.ok(["exec", "m3", "cat", "/m/f"])).toBe("shared");
  await engine.ok(["rm", "-f", "m2", "m3"]);
  expect(isMounted(path)).toBe(false);
  await engine.ok(["volume", "rm", "mem"]);
});

test("a mount that nobody needs after a crash is taken away at the next start", async () => {
  const options = ["-o", "type=tmpfs", "-o", "device=tmpfs"];
  await engine.ok(["volume", "create", ...options, "stale"]);
  await engine.ok(["run", "-d", "--name", "staler", "-v", "stale:/m", "busybox", "sleep", "600"]);
  const pid = Number(await engine.ok(["inspect", "-f", "{{.State.Pid}}", "staler"]));
  await engine.killDaemon();
  process.kill(pid, "SIGKILL");
  await engine.startDaemon();
  await engine.ok(["wait", "staler"]);
  await engine.ok(["rm", "staler"]);
  expect(isMounted(join(volumes, "stale/_data"))).toBe(false);
  await engine.ok(["volume", "rm", "stale"]);
});

test("a bind volume shows a folder of the host; one that is not there is an error with its reason", async () => {
  const shown = join(engine.root, "shown");
  mkdirSync(shown);
  writeFileSync(join(shown, "here"), "");
  const mount = (device: string, more = "") =>
    `type=volume,src=bound,dst=/v,volume-driver=local,volume-opt=type=none,volume-opt=device=${device},"volume-opt=o=bind${more}"`;
  expect(
    await sh("--mount", mount(shown, ",ro"), "busybox", "ls /v; touch /v/x 2>&1; true"),
  ).toMatch(/^here\n.*Read-only file system$/);
  expect(await inspect("bound", "{{.Options.o}} {{.Options.device}}")).toBe(`bind,ro ${shown}`);
  // The data is the host's own: removing the volume leaves it.
  await engine.ok(["volume", "rm", "bound"]);
  expect(readdirSync(shown)).toEqual(["here"]);
  const { code, stderr } = await engine.docker([
    "run",
    "--rm",
    "--mount",
    mount("/nowhere"),
    "busybox",
    "true",
  ]);
  expect(code).not.toBe(0);
  expect(stderr).toContain(
    `failed to mount local volume: mount /nowhere:${join(volumes, "bound/_data")}, flags: 0x1000: no such file or directory`,
  );
  await engine.ok(["volume", "rm", "bound"]);
});

test("a subpath of a volume is mounted, and nothing leads out of it", async () => {
  await sh(
    "-v",
    "deep:/v",
    "busybox",
    "mkdir -p /v/a/b; echo inner > /v/a/b/f; ln -s /etc /v/out; ln -s ../../../../../../etc /v/up; ln -s a /v/in",
  );
  const mount = (subpath: string) => `type=volume,src=deep,dst=/s,volume-subpath=${subpath}`;
  expect(
    await sh("--mount", mount("a/b"), "busybox", "cat /s/f; ls /s/..| grep -c deep; true"),
  ).toBe("inner\n0");
  expect(await sh("--mount", mount("in/b"), "busybox", "cat /s/f")).toBe("inner");
  expect(await sh("--mount", mount("a/b/f"), "busybox", "cat /s")).toBe("inner");
  for (const [subpath, sentence] of [
    ["missing", "no such file or directory"],
    ["out", "invalid cross-device link"],
    ["up", "invalid cross-device link"],
    ["../x", "subpath must be a relative path within the volume"],
    ["/a", "subpath must be a relative path within the volume"],
  ] as const) {
    const { code, stderr } = await engine.docker([
      "run",
      "--rm",
      "--mount",
      mount(subpath),
      "busybox",
      "true",
    ]);
    expect({ subpath, failed: code !== 0, stderr }).toEqual({
      subpath,
      failed: true,
      stderr: expect.stringContaining(sentence) as string,
    });
  }
  await engine.ok(["volume", "rm", "deep"]);
});

test("a volume whose folder was made a link is refused, and nothing is written through it", async () => {
  const outside = join(engine.root, "outside");
  mkdirSync(outside);
  await engine.ok(["volume", "create", "hijacked"]);
  rmSync(join(volumes, "hijacked/_data"), { recursive: true });
  symlinkSync(outside, join(volumes, "hijacked/_data"));
  const { code, stderr } = await engine.docker([
    "run",
    "--rm",
    "-v",
    "hijacked:/data",
    "filled",
    "true",
  ]);
  expect(code).not.toBe(0);
  expect(stderr).toContain("is a symbolic link");
  expect(readdirSync(outside)).toEqual([]);
  await engine.ok(["volume", "rm", "hijacked"]);
  expect(existsSync(outside)).toBe(true);
});

test("create, mount, unmount and destroy are events", async () => {
  const since = String(Date.now() / 1000);
  await sh("-v", "told:/v", "busybox", "true");
  await engine.ok(["volume", "rm", "told"]);
  const until = String(Date.now() / 1000 + 1);
  const lines = await engine.ok([
    "events",
    "--since",
    since,
    "--until",
    until,
    "--filter",
    "type=volume",
    "--format",
    "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.destination}}",
  ]);
  expect(
    lines
      .replaceAll("<no value>", "")
      .split("\n")
      .map((line) => line.trim()),
  ).toEqual(["create told", "mount told /v", "unmount told", "destroy told"]);
});

test("naru volume does the same", async () => {
  const naru = async (...args: string[]) => {
    const { code, stdout, stderr } = await engine.naru(["volume", ...args]);
    return `${code} ${stdout}${stderr}`;
  };
  expect(await naru("create", "--label", "a=b", "ours")).toBe("0 ours\n");
  expect(await naru("ls")).toMatch(/^0 DRIVER +VOLUME NAME\nlocal +ours\n$/);
  expect(await naru("ls", "--format", "{{.Name}} {{.Labels}} {{.Size}}")).toBe("0 ours a=b N/A\n");
  expect(await naru("inspect", "-f", "{{.Scope}}", "ours")).toBe("0 local\n");
  expect(await naru("rm", "ours", "nope")).toBe(
    "1 ours\nError response from daemon: get nope: no such volume\n",
  );
  await naru("create", "more");
  expect(await naru("prune", "-f")).toBe("0 Total reclaimed space: 0B\n");
  expect(await naru("prune", "-fa")).toBe(
    "0 Deleted Volumes:\nmore\n\nTotal reclaimed space: 0B\n",
  );
});

test("a folder that no record names is a volume again", async () => {
  await engine.killDaemon();
  mkdirSync(join(volumes, "found/_data"), { recursive: true });
  writeFileSync(join(volumes, "found/_data/f"), "");
  await engine.startDaemon();
  expect(await sh("-v", "found:/v", "busybox", "ls /v")).toBe("f");
  await engine.ok(["volume", "rm", "found"]);
});
