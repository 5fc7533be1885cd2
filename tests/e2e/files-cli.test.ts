/** `naru cp`, `diff`, `export`, `commit` and `image prune` do what docker's do: the same words, then the same files. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, type Finished, run, startEngine } from "./engine.ts";

let engine: Engine;
let folder: string;
let container: string;

beforeAll(async () => {
  engine = await startEngine();
  folder = mkdtempSync("/tmp/naru-test-filescli-");
  mkdirSync(join(folder, "src/dir/deep"), { recursive: true });
  writeFileSync(join(folder, "src/file"), "file");
  writeFileSync(join(folder, "src/dir/deep/f"), "deep");
  symlinkSync("file", join(folder, "src/link"));
  container = await engine.ok(["run", "-d", "busybox", "sleep", "1000"]);
  const tree =
    "mkdir -p /c/dir/deep; echo in > /c/file; echo d > /c/dir/deep/f; ln -s file /c/link";
  await engine.ok(["exec", container, "sh", "-c", tree]);
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

type Cli = (args: readonly string[]) => Promise<Finished>;
const clis = (): readonly Cli[] => [(args) => engine.docker(args), (args) => engine.naru(args)];
/** Every file below a place with what it is. */
const LIST = "find . | sort | while read f; do stat -c '%n %F %a %u:%g %s' \"$f\"; done";
const said = ({ code, stderr }: Finished) => ({
  code,
  // Docker adds where to find help.
  error: stderr
    .trim()
    .split("\n")[0]
    ?.replace(/^(?:docker|naru): /, ""),
});

for (const [source, target] of [
  ["file", "new"],
  ["file", "have/"],
  ["file", "have"],
  ["file", "old"],
  ["file", "nothere/"],
  ["file", "nothere/x"],
  ["dir", "new"],
  ["dir", "have"],
  ["dir/", "have"],
  ["dir/.", "have"],
  ["dir/.", "new"],
  ["dir", "old"],
  ["link", "new"],
  ["missing", "new"],
] as const) {
  test(`cp ${source} to ${target}: both directions as docker`, async () => {
    const outcomes: unknown[] = [];
    for (const cli of clis()) {
      await engine.ok([
        "exec",
        container,
        "sh",
        "-c",
        "rm -rf /t; mkdir -p /t/have; echo o > /t/old",
      ]);
      const into = said(
        await cli([
          "cp",
          join(folder, "src", source) + tailOf(source),
          `${container}:/t/${target}`,
        ]),
      );
      const there = await engine.ok(["exec", container, "sh", "-c", `cd /t; ${LIST}`]);
      const local = join(folder, "t");
      rmSync(local, { recursive: true, force: true });
      mkdirSync(join(local, "have"), { recursive: true });
      writeFileSync(join(local, "old"), "o");
      const out = said(await cli(["cp", `${container}:/c/${source}`, `${local}/${target}`]));
      const here = (await run(["sh", "-c", `cd ${local}; ${LIST}`])).stdout;
      outcomes.push({ into: into.code, there, out: out.code, here });
    }
    expect(outcomes[1]).toEqual(outcomes[0]);
  });
}

/** `join` takes the ending away that `cp` looks at. */
const tailOf = (source: string): string => (source.endsWith("/.") ? "/." : "");

test("cp: `-`, -L, -a and its errors as docker", async () => {
  const packed = Bun.spawnSync(["tar", "-C", join(folder, "src"), "-c", "dir"]).stdout;
  for (const words of [
    ["cp", "-L", `${container}:/c/link`, join(folder, "followed")],
    ["cp", "-a", join(folder, "src/file"), `${container}:/c/owned`],
    ["cp", `${container}:/nowhere`, folder],
    ["cp", "nosuch:/x", folder],
    ["cp", "a:/x", "b:/y"],
    ["cp", "/a", "/b"],
  ]) {
    const outcomes = await Promise.all(clis().map(async (cli) => said(await cli(words))));
    expect(outcomes[1]?.code).toBe(outcomes[0]?.code ?? -1);
    expect(outcomes[1]?.error).toBe(outcomes[0]?.error);
  }
  const stdin = new Uint8Array(packed);
  const into = await engine.naru(["cp", "-", `${container}:/srv/../tmp`], { stdin });
  expect(into.stderr).toBe("");
  expect(await engine.ok(["exec", container, "cat", "/tmp/dir/deep/f"])).toBe("deep");
  const shell = (program: string) => `${program} cp ${container}:/c - | tar -t | sort`;
  const naru = process.env["NARU_BINARY"] ?? join(import.meta.dir, "../../dist/naru");
  const [docker, ours] = await Promise.all(
    ["docker", naru].map((program) =>
      run(["sh", "-c", shell(`${program} -H unix://${engine.socket}`)]),
    ),
  );
  expect(ours?.stdout).toBe(docker?.stdout);
});

test("diff, export, commit and image prune as docker", async () => {
  const changed = await engine.ok([
    "run",
    "-d",
    "busybox",
    "sh",
    "-c",
    "echo x > /new; rm /etc/group; sleep 1000",
  ]);
  await engine.ok(["exec", changed, "sh", "-c", "until [ ! -e /etc/group ]; do :; done"]);
  const [docker, ours] = await Promise.all(clis().map((cli) => cli(["diff", changed])));
  expect(ours?.stdout).toBe(docker?.stdout);
  expect(ours?.stdout).toContain("A /new");
  const names: string[] = [];
  for (const [index, cli] of clis().entries()) {
    const path = join(folder, `export-${index}.tar`);
    expect((await cli(["export", "-o", path, changed])).code).toBe(0);
    names.push((await run(["tar", "-tf", path])).stdout);
  }
  expect(names[1]).toBe(names[0]);
  const commit = ["commit", "-a", "me", "-m", "why", "-c", "CMD cat /new", changed, "made:1"];
  const made = await engine.naru(commit);
  expect(made.stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/);
  expect(await engine.ok(["run", "--rm", "made:1"])).toBe("x");
  await engine.ok(["rmi", "made:1"]);
  await engine.naru(["commit", changed]);
  const pruned = await engine.naru(["image", "prune", "-f"]);
  expect(pruned.stdout).toMatch(/^Deleted Images:\ndeleted: sha256:/);
  expect(pruned.stdout).toMatch(/\nTotal reclaimed space: \d+B\n$/);
  expect((await engine.naru(["image", "prune"], { stdin: "n\n" })).stdout).toContain(
    "WARNING! This will remove all dangling images.",
  );
});
