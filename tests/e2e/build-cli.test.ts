/** `naru build`: its ways in, what it shows, and its outputs. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { writeContext } from "./build-context.ts";
import { type Engine, type Finished, NARU, startEngine } from "./engine.ts";
import { runOnTerminal } from "./pty.ts";
import { until } from "./until.ts";

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const contextOf = (files: Record<string, string>): string => writeContext(engine, files);

async function built(args: readonly string[], stdin?: string): Promise<Finished> {
  const options = stdin === undefined ? {} : { stdin };
  const finished = await engine.naru(["build", ...args], options);
  if (finished.code !== 0) throw new Error(finished.stdout + finished.stderr);
  return finished;
}

const shown = (image: string, script: string): Promise<string> =>
  engine.ok(["run", "--rm", "--network", "none", image, "sh", "-c", script]);

test("a folder without what .dockerignore names is built, and told in plain lines", async () => {
  const folder = contextOf({
    Dockerfile: "FROM busybox\nCOPY . /app\nRUN echo printed\n",
    ".dockerignore": "# not sent\nlogs\n*.tmp\n!keep.tmp\n",
    "a.txt": "a\n",
    "logs/big": "x".repeat(3_000_000),
    "b.tmp": "b",
    "keep.tmp": "k",
  });
  const first = await built(["-t", "plain:1", "-t", "plain:2", folder]);
  expect(first.stdout).toBe("");
  expect(first.stderr).toMatch(/^#1 \[1\/3\] FROM busybox\n#1 DONE/);
  expect(first.stderr).toMatch(/#3 \[3\/3\] RUN echo printed\n#3 [\d.]+s printed\n#3 DONE/);
  expect(await shown("plain:2", "cd /app; ls -A")).toBe(
    ".dockerignore\nDockerfile\na.txt\nkeep.tmp",
  );
  const second = await built([folder]);
  expect(second.stderr.match(/CACHED/g)).toHaveLength(2);
  writeFileSync(join(folder, "a.txt"), "changed\n");
  const third = await built(["--explain", "-t", "plain:1", folder]);
  expect(third.stderr).toContain("#2 not cached: file a.txt changed");
});

test("a Dockerfile comes from standard input, from elsewhere, or as an archive, and stays out of the image", async () => {
  const folder = contextOf({ f: "f\n" });
  await built(["-t", "way1", "-f", "-", folder], "FROM busybox\nCOPY . /c\n");
  expect(await shown("way1", "ls -A /c")).toBe("f");
  const other = contextOf({ "My.file": "FROM busybox\nCOPY . /c\nRUN echo other > /way\n" });
  await built(["-t", "way2", "-f", join(other, "My.file"), folder]);
  expect(await shown("way2", "ls -A /c; cat /way")).toBe("f\nother");
  await built(["-t", "way3", "-"], "FROM busybox\nRUN echo alone > /way\n");
  expect(await shown("way3", "cat /way")).toBe("alone");
  const archive = Bun.spawnSync([
    "tar",
    "-cz",
    "-C",
    other,
    "--transform=s/My.file/Dockerfile/",
    ".",
  ]);
  const packed = await engine.naru(["build", "-t", "way4", "-"], { stdin: archive.stdout });
  expect([packed.code, await shown("way4", "cat /way")]).toEqual([0, "other"]);
});

test("its id goes to standard output, files and metadata; its files to folders and archives", async () => {
  const folder = contextOf({
    Dockerfile: "FROM scratch\nCOPY d /\n",
    "d/one": "1",
    "d/sub/two": "2",
  });
  const out = contextOf({});
  const quiet = await built([
    "-q",
    "--iidfile",
    join(out, "id"),
    "--metadata-file",
    join(out, "meta"),
    "-t",
    "out",
    folder,
  ]);
  expect(quiet).toMatchObject({ stderr: "", stdout: `${readFileSync(join(out, "id"), "utf8")}\n` });
  expect(quiet.stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/);
  expect(JSON.parse(readFileSync(join(out, "meta"), "utf8"))).toMatchObject({
    "containerimage.config.digest": quiet.stdout.trim(),
    "image.name": "out",
  });
  await built([
    "-o",
    join(out, "files"),
    "-o",
    `type=tar,dest=${join(out, "files.tar")}`,
    "-o",
    `type=oci,dest=${join(out, "image.tar")}`,
    folder,
  ]);
  expect(readFileSync(join(out, "files/sub/two"), "utf8")).toBe("2");
  const listed = Bun.spawnSync(["tar", "-tf", join(out, "files.tar")]).stdout.toString();
  expect(listed).toContain("sub/two\n");
  expect(Bun.spawnSync(["tar", "-tf", join(out, "image.tar")]).stdout.toString()).toContain(
    "oci-layout",
  );
  expect(await engine.ok(["ps", "-aq"])).toBe("");
});

test("what fails ends with the program's code, and points at its line", async () => {
  const failing = await engine.naru([
    "build",
    contextOf({ Dockerfile: "FROM busybox\nRUN echo why; exit 7\n" }),
  ]);
  expect(failing).toMatchObject({ code: 7, stdout: "" });
  expect(failing.stderr).toContain("why\n");
  expect(failing.stderr).toContain("#2 ERROR\n------\n > [2/2] RUN echo why; exit 7:\nwhy\n");
  expect(failing.stderr).toContain("   2 | >>> RUN echo why; exit 7\n");
  expect(failing.stderr).toMatch(/-\nERROR: The command .* returned a non-zero code: 7\n$/);
  const folder = contextOf({ Dockerfile: "FROM busybox\nRUN true\nCOPPY a b\n" });
  const wrong = await engine.naru(["build", folder]);
  expect(wrong.code).toBe(1);
  expect(wrong.stderr).toContain("dockerfile parse error on line 3: unknown instruction: COPPY");
  expect(wrong.stderr).toContain("Dockerfile:3\n--------------------\n   1 |     FROM busybox\n");
  expect(wrong.stderr).toContain("   3 | >>> COPPY a b\n");
  const none = await engine.naru(["build", contextOf({})]);
  expect(none.stderr).toContain(
    "failed to read dockerfile: open Dockerfile: no such file or directory",
  );
  expect((await engine.naru(["build", "/nowhere-at-all"])).stderr).toContain(
    'unable to prepare context: path "/nowhere-at-all" not found',
  );
  for (const args of [
    ["--progress", "loud"],
    ["-o", "type=none"],
    ["--secret", "id=x,src=/none"],
  ]) {
    expect((await engine.naru(["build", ...args, folder])).code).not.toBe(0);
  }
});

test("a named context stands for a stage or an image", async () => {
  await built(["-t", "named-base", "-"], "FROM busybox\nRUN echo named > /name\n");
  const folder = contextOf({ Dockerfile: "FROM busybox\nCOPY --from=other /name /name\n" });
  await built(["-t", "named", "--build-context", "other=docker-image://named-base", folder]);
  expect(await shown("named", "cat /name")).toBe("named");
});

test("secrets come from files and variables, and stay out of the image", async () => {
  const folder = contextOf({
    Dockerfile:
      "FROM busybox\nRUN --mount=type=secret,id=one --mount=type=secret,id=two cat /run/secrets/one /run/secrets/two | wc -c > /n\n",
    key: "12345",
  });
  const args = ["-t", "secrets", "--secret", `id=one,src=${join(folder, "key")}`];
  await engine.naru(["build", ...args, "--secret", "id=two,env=TWO", folder], {
    env: { TWO: "678" },
  });
  expect(await shown("secrets", "cat /n; ls /run/secrets 2>/dev/null | wc -l")).toBe("8\n0");
});

test("on a terminal, stages that go on at once are seen at once, and a fault's last lines stay", async () => {
  const folder = contextOf({
    Dockerfile: [
      "FROM busybox AS one",
      "RUN echo from one; until [ -e /cache/two ]; do sleep 0.05; done".replace(
        "RUN",
        "RUN --mount=type=cache,id=live,target=/cache",
      ),
      "FROM busybox AS two",
      "RUN --mount=type=cache,id=live,target=/cache echo from two; touch /cache/two",
      "FROM scratch",
      "COPY --from=one /bin/true /1",
      "COPY --from=two /bin/true /2",
    ].join("\n"),
  });
  const words = [NARU, "-H", `unix://${engine.socket}`, "build", "--explain", folder];
  const screen = runOnTerminal(words, { columns: 90, rows: 30 });
  expect(await screen.exited).toBe(0);
  const text = Bun.stripANSI(screen.output());
  expect(text).toMatch(/\[\+\] Building [\d.]+s \(7\/7\) FINISHED/);
  expect(text).toMatch(/=> \[one 2\/7\] RUN/);
  expect(text).toContain("not cached: it was never built here");
  expect(text).toMatch(/Successfully built [0-9a-f]{12}\r\n/);
  expect(screen.output()).toEndWith("\n");
  expect(screen.output()).toContain("\x1b[?25h");
});

test("a terminal that draws nothing gets lines, and a build that is given up says what was", async () => {
  const folder = contextOf({ Dockerfile: "FROM busybox\nRUN echo begun; sleep 1000\n" });
  const words = [NARU, "-H", `unix://${engine.socket}`, "build", folder];
  const size = { columns: 60, rows: 10 };
  // One after the other: two at once would run the step once, and tell one of them.
  const givenUp = async (env: Record<string, string>): Promise<string> => {
    const screen = runOnTerminal(words, size, env);
    await until(() => Bun.stripANSI(screen.output()).includes("begun\r\n"));
    screen.type("\x03");
    expect(await screen.exited).toBe(130);
    return screen.output();
  };
  const dumb = await givenUp({ TERM: "dumb" });
  expect(dumb).not.toContain("\x1b");
  expect(dumb).toContain("#2 [2/2] RUN echo begun; sleep 1000\r\n");
  const live = await givenUp({});
  expect(Bun.stripANSI(live)).toContain(" => CANCELED [2/2] RUN echo begun; sleep 1000 ");
  expect(live).toEndWith("\x1b[?25h");
});

test("the build cache is pruned", async () => {
  await built(["-t", "pruned", contextOf({ Dockerfile: "FROM busybox\nRUN echo > /x\n" })]);
  for (const format of [[], ["--format", "raw"], ["--format", "json"]]) {
    const words = ["system", "df", ...format];
    const told = await engine.naru(words);
    expect(told.stdout.trimEnd()).toBe((await engine.ok(words)).trimEnd());
    expect(told.stdout).not.toMatch(/Build Cache +0 /);
  }
  const declined = await engine.naru(["builder", "prune"], { stdin: "n\n" });
  expect([declined.code, declined.stderr]).toEqual([1, "builder prune has been cancelled\n"]);
  const kept = ["builder", "prune", "-af", "--filter", "private=true"];
  for (const told of [await engine.docker(kept), await engine.naru(kept)]) {
    expect(told.stdout.replace(/\t/, " ")).toBe("Total reclaimed space: 0B\n");
  }
  // A cache has no labels, and as in Docker it is not asked for them.
  const all = await engine.naru(["builder", "prune", "-a", "-f", "--filter", "label=none"]);
  expect(all.stdout).toMatch(/^Deleted build cache objects:\n[^]*Total reclaimed space: /);
  expect(await shown("pruned", "ls /x")).toBe("/x");
  expect(existsSync(join(engine.dataRoot, "build"))).toBe(true);
});

test("a folder that is built again sends only what changed, also after a kill of the daemon", async () => {
  const many = Object.fromEntries(
    Array.from({ length: 300 }, (_, index) => [`d${index % 7}/f${index}`, `file ${index}\n`]),
  );
  const folder = contextOf({
    Dockerfile: "FROM busybox\nCOPY . /all\n",
    big: "x".repeat(5_000_000),
    empty: "",
    ...many,
  });
  symlinkSync("big", join(folder, "link"));
  const sent = () => {
    const [key = ""] = readdirSync(join(engine.dataRoot, "build/kept"));
    return statSync(join(engine.dataRoot, "build/kept", key, "data")).size;
  };
  const first = await built(["-q", "-t", "again", folder]);
  const whole = sent();
  expect(whole).toBeGreaterThan(5_000_000);
  expect((await built(["-q", folder])).stdout).toBe(first.stdout);
  expect(sent()).toBe(whole);
  writeFileSync(join(folder, "d3/f3"), "changed\n");
  rmSync(join(folder, "d4/f4"));
  writeFileSync(join(folder, "new"), "new\n");
  await built(["-q", "-t", "again", folder]);
  expect(sent()).toBe(whole + "changed\nnew\n".length);
  expect(
    await shown(
      "again",
      "cd /all; cat d3/f3 new d5/f5; ls d4/f4 2>/dev/null; wc -c < link; ls -A | wc -l",
    ),
  ).toBe("changed\nnew\nfile 5\n5000000\n12");
  // The docker CLI, which sends everything, means the same thing.
  const docker = await engine.docker(["build", "-q", folder], { env: { DOCKER_BUILDKIT: "0" } });
  expect(docker.stdout).toBe((await built(["-q", folder])).stdout);
  await engine.restartDaemon();
  // The same bytes under another time are sent again: only the times tell.
  writeFileSync(join(folder, "new"), "new\n");
  expect((await built(["-q", folder])).stdout).toBe(docker.stdout);
  expect(sent()).toBe(whole + "changed\nnew\nnew\n".length);
  const local = async (): Promise<{ Size: number; InUse: boolean }[]> => {
    const answer = await engine.fetch("/system/df?type=build-cache");
    const { BuildCache } = (await answer.json()) as {
      BuildCache: { Type: string; Size: number; InUse: boolean }[];
    };
    return BuildCache.filter(({ Type }) => Type === "source.local");
  };
  expect(await local()).toMatchObject([{ Size: sent(), InUse: false }]);
  const shownByCli = ["system", "df", "-v", "--format", "{{json .BuildCache}}"];
  expect(await engine.ok(shownByCli)).toContain("local source for context");
  await engine.ok(["builder", "prune", "-f", "--filter", "type=exec.cachemount"]);
  expect(await local()).toHaveLength(1);
  const pruned = await engine.ok(["builder", "prune", "-f", "--filter", "type=source.local"]);
  expect(pruned).toMatch(/Total reclaimed space:\s+5\.\d+MB/);
  expect(readdirSync(join(engine.dataRoot, "build/kept"))).toEqual([]);
  await built(["-q", folder]);
});

test("an offer of a context that is none, or is not known, is refused", async () => {
  const offer = (key: string, body: unknown) =>
    engine.fetch(`/build/context?key=${key}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  const key = "a".repeat(64);
  for (const [name, body] of [
    ["../../etc", []],
    [key, {}],
    [key, [["f", "x"]]],
    [key, [["x", "x", 0, 0, 0, ""]]],
    [key, [["f", "x", -1, 0, 0, ""]]],
  ] as const) {
    expect((await offer(name, body)).status).toBe(400);
  }
  const unknown = await engine.fetch("/build?offer=none", {
    method: "POST",
    body: new Uint8Array(1024),
  });
  expect([unknown.status, await unknown.text()]).toEqual([
    409,
    '{"message":"the offered context is not known any more"}\n',
  ]);
  const { id } = (await (
    await offer(key, [["f", "../../../escape", 0o644, 0, 1, "s"]])
  ).json()) as {
    id: string;
  };
  // An archive with something else than was asked for.
  const wrong = Bun.spawnSync(["tar", "-c", "-C", "/etc", "passwd"]).stdout;
  const refused = await engine.fetch(`/build?offer=${id}`, { method: "POST", body: wrong });
  expect(await refused.text()).toContain("the archive holds what was not asked for");
});
