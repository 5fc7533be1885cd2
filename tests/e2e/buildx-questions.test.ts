/** What buildx asks about a Dockerfile without building it, and what of a folder it sends when it builds. */
import { expect, test } from "bun:test";
import { symlinkSync } from "node:fs";
import { join } from "node:path";

import { buildx, buildxLab, built } from "./buildx.ts";

const lab = buildxLab();
const { contextOf } = lab;

const DOCKERFILE = `# VERSION of everything
ARG VERSION=1
# base is what the others stand on
FROM busybox AS base
# WHO is greeted
ARG WHO=nobody
ARG VERSION
RUN --mount=type=secret,id=token,required --mount=type=ssh echo $WHO
FROM base AS app
WORKDIR here
FROM busybox AS other
ARG OTHER
`;

test("--check tells what it found with its lines, and fails when there is something", async () => {
  const found = await buildx(lab.engine, ["--check", contextOf({ Dockerfile: DOCKERFILE })]);
  expect(found.stdout).toContain("Check complete, 1 warning has been found!");
  expect(found.stdout).toContain(
    "WARNING: WorkdirRelativePath - https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/",
  );
  expect(found.stdout).toContain("  10 | >>> WORKDIR here\n");
  expect(found.code).toBe(1);
  const fine = await buildx(lab.engine, ["--check", contextOf({ Dockerfile: "FROM busybox\n" })]);
  expect(fine).toMatchObject({ code: 0 });
  expect(fine.stdout).toContain("Check complete, no warnings found.");
  const wrong = await buildx(lab.engine, [
    "--check",
    contextOf({ Dockerfile: "FROM busybox\nX\n" }),
  ]);
  expect(wrong.stderr).toContain("   2 | >>> X\n");
  expect(wrong.code).toBe(1);
  expect(await lab.engine.ok(["image", "ls", "-q", "-f", "dangling=true"])).toBe("");
});

test("--call tells a Dockerfile's targets, and what one of them takes", async () => {
  const context = contextOf({ Dockerfile: DOCKERFILE });
  const targets = (await buildx(lab.engine, ["--call=targets", context])).stdout;
  expect(targets).toMatch(/^base +is what the others stand on$/m);
  expect(targets).toMatch(/^other \(default\)/m);
  const args = ["--call=outline", "--target=app", "--build-arg=WHO=me", context];
  const outline = (await buildx(lab.engine, args)).stdout;
  expect(outline).toMatch(/^VERSION +1 +of everything$/m);
  expect(outline).toMatch(/^WHO +me +is greeted$/m);
  expect(outline).toMatch(/^token +true$/m);
  expect(outline).not.toContain("OTHER");
  const json = (await buildx(lab.engine, ["--call=outline,format=json", context])).stdout;
  expect(JSON.parse(json)).toMatchObject({ name: "other", args: [{ name: "OTHER", value: "" }] });
  const names = (await buildx(lab.engine, ["--call=subrequests.describe", context])).stdout;
  for (const name of ["outline", "targets", "lint"]) expect(names).toContain(name);
  const unknown = await buildx(lab.engine, ["--call=nonsense", context]);
  expect(unknown.stderr).toContain("unsupported request frontend.nonsense");
});

test("of a large folder only what the target's stages read is sent", async () => {
  const context = contextOf({
    Dockerfile: [
      "FROM busybox AS unused",
      "COPY large /",
      "FROM busybox",
      "ARG NAME=named",
      "COPY some* ./dir/ /some/",
      "COPY link /linked",
      "RUN --mount=type=bind,source=dir/deep,target=/mounted cat /mounted/file > /seen",
    ].join("\n"),
    large: "x".repeat(3_000_000),
    some1: "1",
    some2: "2",
    "dir/deep/file": "deep\n",
    "dir/ignored": "x",
    named: "named\n",
    ".dockerignore": "dir/ignored\n",
  });
  symlinkSync("dir/deep/file", join(context, "link"));
  const said = await built(lab.engine, ["-t", "narrow", context]);
  expect(said).toMatch(/transferring context: [\d.]+(?:k?B) .*done/);
  expect(said).not.toContain("MB");
  const command = ["sh", "-c", "cd /; find some -type f | sort; cat linked seen"];
  expect(await lab.engine.ok(["run", "--rm", "--network", "none", "narrow", ...command])).toBe(
    "some/deep/file\nsome/some1\nsome/some2\ndeep\ndeep",
  );
  // What is only known while it is built, and what a base image left to be done, are found all the same.
  const base = contextOf({ Dockerfile: "FROM busybox\nONBUILD COPY named /left\n" });
  await built(lab.engine, ["-t", "leaves", base]);
  const later = "FROM leaves\nARG NAME=named\nCOPY some1 /\nCOPY $NAME /named\n";
  await built(lab.engine, ["-t", "later", "-f", "-", context], { stdin: later });
  const seen = ["run", "--rm", "--network", "none", "later", "cat", "/left", "/named"];
  expect(await lab.engine.ok(seen)).toBe("named\nnamed");
  const missing = await buildx(lab.engine, ["-f", "-", context], {
    stdin: "FROM busybox\nCOPY missing /\n",
  });
  expect(missing.stderr).toContain("   2 | >>> COPY missing /\n");
});

test("links on the way to what is read are followed, and what they lead to is sent", async () => {
  const context = contextOf({
    "real/file": "real\n",
    "real/deep/x": "x\n",
    "c/file": "c\n",
    "a/own": "own\n",
    "b/y": "y",
  });
  for (const [target, path] of [
    ["real", "folder"],
    ["../b/sub/file", "a/link"],
    ["../c", "b/sub"],
    ["/real/file", "absolute"],
    ["../../../../real/file", "above"],
    ["folder/deep", "twice"],
    ["../a", "real/back"],
  ] as const) {
    symlinkSync(target, join(context, path));
  }
  const dockerfile = [
    "FROM busybox",
    "COPY folder/file a/link above absolute folder/back/own /seen/",
    "COPY twice /seen/twice",
    "COPY fold*/back/li* /seen/globbed",
    "RUN --mount=source=twice,target=/m cat /m/x > /seen/mounted",
  ].join("\n");
  const args = ["-t", "linked", "-f", "-", context];
  // Several go through one link, which buildx follows once: then everything is sent.
  await built(lab.engine, args, { stdin: dockerfile });
  const script = "cd /seen; for f in *; do [ -f $f ] && echo $f $(cat $f); done; cat twice/x";
  const seen = ["run", "--rm", "--network", "none", "linked", "sh", "-c", script];
  expect((await lab.engine.ok(seen)).split("\n")).toEqual([
    "above real",
    "absolute real",
    "file real",
    "globbed c",
    "link c",
    "mounted x",
    "own own",
    "x",
  ]);
});

test("what was built is remembered with what it said, through a crash of the engine too", async () => {
  await built(lab.engine, [contextOf({ Dockerfile: "FROM busybox\nRUN echo said once\n" })]);
  const failing = contextOf({ Dockerfile: "FROM busybox\nRUN echo oops; exit 3\n" });
  expect((await buildx(lab.engine, [failing])).code).toBe(1);
  const list = ["buildx", "history", "ls", "--format={{.Ref}} {{.Status}}"];
  const [failed = "", fine = ""] = (await lab.engine.ok(list)).split("\n");
  expect([failed, fine].map((line) => line.split(" ")[1])).toEqual(["Error", "Completed"]);
  await lab.engine.restartDaemon();
  expect((await lab.engine.ok(list)).split("\n").slice(0, 2)).toEqual([failed, fine]);
  const ref = (line: string) => line.split(" ")[0] ?? "";
  const logs = await lab.engine.docker(["buildx", "history", "logs", ref(fine)]);
  expect(logs.stdout + logs.stderr).toContain("said once");
  expect(await lab.engine.ok(["buildx", "history", "inspect", ref(failed)])).toContain(
    "exit code: 3",
  );
  await lab.engine.ok(["buildx", "history", "rm", ref(failed)]);
  expect(await lab.engine.ok(list)).not.toContain(ref(failed));
});
