/** Builds through the real buildx plugin: what it shows, and what the container of the image sees. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { buildx, buildxLab, built } from "./buildx.ts";
import { run } from "./engine.ts";

const lab = buildxLab();
const { contextOf, shown: inside } = lab;

test("a build shows its steps, tags its image, and a second one comes from the cache", async () => {
  const context = contextOf({
    Dockerfile: [
      "FROM busybox",
      "ARG WHO=nobody",
      "RUN echo made by $WHO > /made && echo seen",
      "COPY . /app/",
      "WORKDIR /app",
      'CMD ["cat", "file", "/made"]',
    ].join("\n"),
    file: "content\n",
    "left out": "x",
    ".dockerignore": "left*\nDockerfile\n",
  });
  const args = ["-t", "first:one", "-t", "first:two", "--build-arg", "WHO=me", "--label", "a=b"];
  const first = await built(lab.engine, [...args, context]);
  expect(first).toContain("[internal] load build definition from Dockerfile");
  expect(first).toContain("[1/4] FROM docker.io/library/busybox:latest");
  expect(first).toMatch(
    /\[2\/4\] RUN echo made by \$WHO > \/made && echo seen\n#\d+ [\d.]+ seen\n/,
  );
  expect(first).toContain("naming to docker.io/library/first:two");
  expect(await inside("first:one")).toBe("content\nmade by me");
  expect(await inside("first:two", "ls", "-A")).toBe(".dockerignore\nfile");
  const [image] = JSON.parse(await lab.engine.ok(["image", "inspect", "first:one"])) as [
    { Config: { Labels: object } },
  ];
  expect(image.Config.Labels).toEqual({ a: "b" });
  const second = await built(lab.engine, [...args, context]);
  expect(second.match(/ CACHED$/gm)).toHaveLength(3);
  writeFileSync(join(context, "file"), "other\n");
  expect((await built(lab.engine, [...args, context])).match(/ CACHED$/gm)).toHaveLength(1);
  expect(await inside("first:one")).toBe("other\nmade by me");
});

test("docker build takes buildx by itself, and says the image's id with -q", async () => {
  const context = contextOf({ Dockerfile: "FROM busybox\nRUN echo plain > /plain\n" });
  const id = await lab.engine.ok(["build", "-q", "-t", "plain", context]);
  expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(await lab.engine.ok(["image", "inspect", "-f", "{{.Id}}", "plain"])).toBe(id);
});

test("what fails shows the lines of the Dockerfile", async () => {
  const context = contextOf({
    Dockerfile: "FROM busybox\nRUN echo fine\nRUN echo oops >&2; \\\n  exit 3\n",
  });
  const failed = await buildx(lab.engine, [context]);
  expect(failed.code).toBe(1);
  expect(failed.stderr).toMatch(/[\d.]+ oops\n/);
  expect(failed.stderr).toContain("   3 | >>> RUN echo oops >&2; \\\n   4 | >>>   exit 3\n");
  expect(failed.stderr).toMatch(
    /ERROR: (?:failed to build: )?failed to solve: process .* exit code: 3\n/,
  );
  const unknown = await buildx(lab.engine, [contextOf({ Dockerfile: "FROM busybox\nFOO bar\n" })]);
  expect(unknown.stderr).toContain("   2 | >>> FOO bar\n");
  expect(unknown.stderr).toContain("dockerfile parse error on line 2: unknown instruction: FOO");
  const missing = await buildx(lab.engine, [
    contextOf({ Dockerfile: "FROM busybox\nCOPY no /\n" }),
  ]);
  expect(missing.stderr).toContain("   2 | >>> COPY no /\n");
  expect(missing.code).toBe(1);
  // However long the file and the command are: both go into headers.
  const comments = `# ${"c".repeat(998)}\n`.repeat(90);
  const script = `RUN <<EOF\n${": long enough\n".repeat(4000)}exit 5\nEOF\n`;
  const long = contextOf({ Dockerfile: `FROM busybox\n${comments}${script}` });
  const said = await buildx(lab.engine, [long]);
  expect(said.stderr).toContain("did not complete successfully: exit code: 5");
  expect(said.stderr).toContain("  92 | >>> RUN <<EOF");
});

test("stages, targets, secrets, named folders and outputs", async () => {
  const secret = join(contextOf({ secret: "hidden" }), "secret");
  const extra = contextOf({
    e: "extra",
    ignored: "x",
    ".dockerignore": "ignored\n.dockerignore\n",
  });
  const context = contextOf({
    Dockerfile: [
      "FROM busybox AS base",
      "RUN --mount=type=secret,id=key wc -c < /run/secrets/key > /size",
      "FROM base AS bad",
      "RUN exit 1",
      "FROM scratch AS files",
      "COPY --from=base /size /size",
      "COPY --from=extra . /extra/",
      "COPY --chmod=750 run /deep/run",
    ].join("\n"),
    run: "#!/bin/sh\n",
  });
  const args = [
    "--target=files",
    `--build-context=extra=${extra}`,
    `--secret=id=key,src=${secret}`,
  ];
  const folder = join(context, "../out");
  const said = await built(lab.engine, [...args, "-o", folder, context]);
  expect(said).toContain("[files 2/3] COPY --from=extra . /extra/");
  expect(said).toContain("exporting to client directory");
  expect(readFileSync(join(folder, "size"), "utf8")).toBe("6\n");
  expect(readFileSync(join(folder, "extra/e"), "utf8")).toBe("extra");
  expect(existsSync(join(folder, "extra/ignored"))).toBe(false);
  expect((await run(["stat", "-c", "%a", join(folder, "deep/run")])).stdout).toBe("750\n");
  const tar = join(context, "../out.tar");
  await built(lab.engine, [...args, "-o", `type=tar,dest=${tar}`, context]);
  const listed = (await run(["tar", "tf", tar])).stdout.trim().split("\n").toSorted();
  expect(listed).toEqual(["deep/", "deep/run", "extra/", "extra/e", "size"]);
  const without = await buildx(lab.engine, ["--target=base", "--no-cache", context]);
  expect(without.code).toBe(1);
});

test("a context and a Dockerfile come from stdin", async () => {
  const context = contextOf({ Dockerfile: "FROM busybox\nCOPY a /a\n", a: "from stdin" });
  const tar = Bun.spawnSync(["tar", "c", "-C", context, "."]).stdout;
  await built(lab.engine, ["-t", "stdin", "-"], { stdin: new Uint8Array(tar) });
  expect(await inside("stdin", "cat", "/a")).toBe("from stdin");
  const dockerfile = "FROM busybox\nRUN echo alone > /a\n";
  await built(lab.engine, ["-t", "stdin", "-"], { stdin: dockerfile });
  expect(await inside("stdin", "cat", "/a")).toBe("alone");
  await built(lab.engine, ["-t", "stdin", "-f", "-", context], {
    stdin: "FROM busybox\nCOPY a /b\n",
  });
  expect(await inside("stdin", "cat", "/b")).toBe("from stdin");
});

test("buildx shows its builder, and the cache and its end", async () => {
  expect(await lab.engine.ok(["buildx", "ls"])).toMatch(/default.*running/);
  expect(await lab.engine.ok(["buildx", "inspect"])).toContain("Driver:        docker\n");
  await built(lab.engine, [contextOf({ Dockerfile: "FROM busybox\nRUN echo used > /used\n" })]);
  expect(await lab.engine.ok(["buildx", "du", "--verbose"])).toContain("RUN echo used");
  expect(await lab.engine.ok(["buildx", "prune", "-af"])).toMatch(/Total:/);
  expect(await lab.engine.ok(["buildx", "du", "--verbose"])).not.toContain("RUN echo used");
});
