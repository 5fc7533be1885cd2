/** Images come, go and stay whole: import, load, save, tag, rmi, pull and push, with good and bad input. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { baseImage, type Engine, run, startEngine } from "./engine.ts";
import { type Registry, startRegistry } from "./registry.ts";

let engine: Engine;
let registry: Registry;
beforeAll(async () => {
  engine = await startEngine();
  registry = await startRegistry(engine.root);
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await registry[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

const names = async (): Promise<string[]> =>
  (await engine.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]))
    .split("\n")
    .filter((line) => line !== "")
    .sort();

/** A tar made from a folder described as path -> text. */
async function tarOf(files: Record<string, string>, ...flags: string[]): Promise<Blob> {
  const folder = join(engine.root, `tar-${crypto.randomUUID().slice(0, 8)}`);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return new Blob([Bun.spawnSync(["tar", "-C", folder, ...flags, "-c", "."]).stdout]);
}

describe("names", () => {
  test("images are listed, tagged, inspected and removed", async () => {
    expect(await names()).toEqual(["busybox:latest"]);
    const id = await engine.ok(["images", "-q", "--no-trunc", "busybox"]);
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    await engine.ok(["tag", "busybox", "example.org:5000/team/app:v1"]);
    expect(await names()).toEqual(["busybox:latest", "example.org:5000/team/app:v1"]);
    expect(
      await engine.ok([
        "inspect",
        "-f",
        "{{.Id}} {{.Os}} {{json .RootFS.Type}}",
        "example.org:5000/team/app:v1",
      ]),
    ).toBe(`${id} linux "layers"`);
    expect(await engine.ok(["rmi", "example.org:5000/team/app:v1"])).toBe(
      "Untagged: example.org:5000/team/app:v1",
    );
    expect(await engine.ok(["history", "--format", "{{.Comment}}", "busybox"])).toContain(
      "Imported from -",
    );
  });

  test("bad names are refused in Docker's words", async () => {
    expect((await engine.docker(["tag", "busybox", "UPPER"])).stderr).toContain(
      "must be lowercase",
    );
    expect((await engine.docker(["rmi", "nosuch"])).stderr).toContain(
      "No such image: nosuch:latest",
    );
    expect((await engine.docker(["inspect", "--type", "image", "nosuch"])).stderr).toContain(
      "nosuch",
    );
  });

  test("an image in use is kept", async () => {
    await engine.ok(["run", "-d", "--name", "user", "busybox", "sleep", "1000"]);
    const refused = await engine.docker(["rmi", "busybox"]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(
      'conflict: unable to remove repository reference "busybox" (must force)',
    );
    await engine.ok(["rm", "-f", "user"]);
  });
});

describe("archives", () => {
  test("import takes changes, a message and a URL", async () => {
    const tar = await tarOf({ "etc/motd": "hi" });
    await engine.ok(
      [
        "import",
        "-m",
        "made here",
        "-c",
        'ENV A=1 B="two words"',
        "-c",
        'CMD ["/bin/x", "y"]',
        "-c",
        "WORKDIR /srv",
        "-c",
        "EXPOSE 80",
        "-c",
        "LABEL k=v",
        "-c",
        "USER 5",
        "-",
        "made",
      ],
      { stdin: tar },
    );
    expect(
      JSON.parse(await engine.ok(["inspect", "-f", "{{json .Config}}", "made"])),
    ).toMatchObject({
      Env: ["A=1", "B=two words"],
      Cmd: ["/bin/x", "y"],
      WorkingDir: "/srv",
      ExposedPorts: { "80/tcp": {} },
      Labels: { k: "v" },
      User: "5",
    });
    using server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response(tar) });
    await engine.ok(["import", `http://127.0.0.1:${server.port}/x.tar`, "byurl"]);
    expect(await names()).toContain("byurl:latest");
    await engine.ok(["rmi", "made", "byurl"]);
  });

  test("save and load give the same image back, several at once, compressed or not", async () => {
    const id = await engine.ok(["images", "-q", "--no-trunc", "busybox"]);
    await engine.ok(["tag", "busybox", "second:v2"]);
    const archive = join(engine.root, "saved.tar");
    await engine.ok(["save", "-o", archive, "busybox", "second:v2"]);
    for (const [suffix, program] of [
      ["", ""],
      [".gz", "gzip"],
      [".zst", "zstd"],
    ] as const) {
      if (program !== "") await run([program, "-kqf", archive]);
      await engine.ok(["rmi", "-f", "busybox", "second:v2"]);
      expect(await names()).toEqual([]);
      const loaded = await engine.ok(["load", "-i", `${archive}${suffix}`]);
      expect(loaded.split("\n").sort()).toEqual([
        "Loaded image: busybox:latest",
        "Loaded image: second:v2",
      ]);
      expect(await engine.ok(["images", "-q", "--no-trunc", "busybox"])).toBe(id);
      expect(await engine.ok(["run", "--rm", "second:v2", "echo", "works"])).toBe("works");
    }
    await engine.ok(["rmi", "second:v2"]);
  });

  test("files keep owners, modes, links, devices and names", async () => {
    const folder = join(engine.root, "odd");
    mkdirSync(folder);
    const make = await run([
      "sh",
      "-ec",
      `cd ${folder}
      printf 1 > plain; chown 1234:70000 plain; chmod 4755 plain; ln plain hard; ln -s plain soft
      mkfifo fifo; mknod null c 1 3; mkdir -m 1777 sticky; printf 2 > "$(printf 'n\\303\\244me\\377')"
      mkdir -p "$(printf 'd%.0s' $(seq 100))/$(printf 'e%.0s' $(seq 120))"; truncate -s 5M sparse; printf end >> sparse
      touch -d '2001-02-03 04:05:06.789' old`,
    ]);
    expect(make.stderr).toBe("");
    const tar = new Blob([
      Bun.spawnSync(["tar", "-C", folder, "--xattrs", "--sparse", "--format=posix", "-c", "."])
        .stdout,
    ]);
    await engine.ok(["import", "-", "odd"], { stdin: tar });
    const busybox = await baseImage("busybox");
    await run(["tar", "-C", folder, "-xf", busybox, "./bin"]);
    await engine.ok(["import", "-", "odd"], {
      stdin: new Blob([
        Bun.spawnSync(["tar", "-C", folder, "--sparse", "--format=posix", "-c", "."]).stdout,
      ]),
    });
    const output = await engine.ok([
      "run",
      "--rm",
      "odd",
      "/bin/sh",
      "-c",
      "stat -c '%a %u %g %h' plain hard; readlink soft; stat -c '%F' fifo null; stat -c %a sticky; ls | grep -c me; ls -d d*/e* | wc -c; wc -c < sparse; tail -c 3 sparse; stat -c %Y old",
    ]);
    expect(output).toBe(
      "4755 1234 70000 2\n4755 1234 70000 2\nplain\nfifo\ncharacter special file\n1777\n1\n222\n5242883\nend981173106",
    );
    await engine.ok(["rmi", "odd"]);
  });

  test("a broken archive leaves nothing behind", async () => {
    const before = await names();
    const layersBefore = readdirSync(join(engine.dataRoot, "layers")).sort();
    for (const bad of [
      new Blob([new Uint8Array(70_000).fill(7)]),
      new Blob(["short"]),
      await tarOf({ "manifest.json": "[{" }),
      await tarOf({
        "manifest.json": JSON.stringify([
          { Config: "../../etc/passwd", Layers: [], RepoTags: null },
        ]),
      }),
    ]) {
      expect((await engine.docker(["load"], { stdin: bad })).code).not.toBe(0);
    }
    const truncated = new Blob([
      await Bun.file(await baseImage("busybox"))
        .slice(0, 1_000_000)
        .arrayBuffer(),
    ]);
    const done = await engine.docker(["import", "-", "cut"], { stdin: truncated });
    expect(done.code).not.toBe(0);
    expect(done.stderr).toMatch(/unexpected EOF/);
    expect(await names()).toEqual(before);
    expect(readdirSync(join(engine.dataRoot, "layers")).sort()).toEqual(layersBefore);
  });

  test("names that lead out of the root stay inside it", async () => {
    const tar = Bun.spawnSync([
      "python3",
      "-c",
      `
import tarfile, io, sys
t = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
def add(name, data=b"x", **k):
    i = tarfile.TarInfo(name); i.size = len(data)
    for a, b in k.items(): setattr(i, a, b)
    t.addfile(i, io.BytesIO(data) if i.isreg() else None)
add("/absolute"); add("link", b"", type=tarfile.SYMTYPE, linkname="/tmp"); add("hard", b"", type=tarfile.LNKTYPE, linkname="../../etc/passwd")
t.close()`,
    ]).stdout;
    const refused = await engine.docker(["import", "-", "escape"], { stdin: new Blob([tar]) });
    expect(refused.code).not.toBe(0);
    const up = Bun.spawnSync([
      "python3",
      "-c",
      `
import tarfile, io, sys
t = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
i = tarfile.TarInfo("../../../tmp/naru-test-escaped"); i.size = 1; t.addfile(i, io.BytesIO(b"x")); t.close()`,
    ]).stdout;
    await engine.docker(["import", "-", "escape"], { stdin: new Blob([up]) });
    expect(await Bun.file("/tmp/naru-test-escaped").exists()).toBe(false);
  });
});

describe("registries", () => {
  test("push, remove, pull and run", async () => {
    const name = `${registry.host}/team/busybox:v1`;
    await engine.ok(["tag", "busybox", name]);
    expect(await engine.ok(["push", name])).toMatch(/v1: digest: sha256:[0-9a-f]{64} size: \d+/);
    await engine.ok(["rmi", "-f", name, "busybox"]);
    const output = await engine.ok(["pull", name]);
    expect(output).toContain("v1: Pulling from team/busybox");
    expect(output).toMatch(/[0-9a-f]{12}: Pull complete/);
    expect(output).toMatch(/Digest: sha256:[0-9a-f]{64}/);
    expect(output).toContain(`Status: Downloaded newer image for ${name}`);
    expect(await engine.ok(["pull", name])).toContain(`Status: Image is up to date for ${name}`);
    expect(await engine.ok(["run", "--rm", name, "echo", "pulled"])).toBe("pulled");
    expect(await engine.ok(["inspect", "-f", "{{index .RepoDigests 0}}", name])).toMatch(
      /team\/busybox@sha256:/,
    );
    await engine.ok(["tag", name, "busybox"]);
  });

  test("what is not there is refused in Docker's words", async () => {
    const done = await engine.docker(["pull", `${registry.host}/team/busybox:none`]);
    expect(done.code).toBe(1);
    expect(done.stderr).toContain("manifest unknown");
    const closed = await engine.docker(["pull", "127.0.0.1:9/x/y"]);
    expect(closed.code).toBe(1);
    expect(closed.stderr).toContain("connect");
  });

  test("a registry with a password wants it", async () => {
    const hashed = await Bun.password.hash("ferry", { algorithm: "bcrypt", cost: 4 });
    await using locked = await startRegistry(engine.root, { htpasswd: `captain:${hashed}\n` });
    const name = `${locked.host}/boat`;
    await engine.ok(["tag", "busybox", name]);
    expect((await engine.docker(["push", name])).stderr.toLowerCase()).toMatch(
      /no basic auth credentials|unauthorized|authentication required/,
    );
    expect(
      (
        await engine.docker(["login", "-u", "captain", "--password-stdin", locked.host], {
          stdin: "wrong",
        })
      ).code,
    ).not.toBe(0);
    await engine.ok(["login", "-u", "captain", "--password-stdin", locked.host], {
      stdin: "ferry",
    });
    await engine.ok(["push", name]);
    await engine.ok(["rmi", name]);
    await engine.ok(["pull", name]);
    await engine.ok(["rmi", name]);
  });
});
