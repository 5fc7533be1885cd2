/** The build cache and what can go wrong: kills, cuts, secrets, two builds at once, hostile archives. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { encodeTarHeader, TAR_TRAILER, tarPadding } from "#wire/tar";

import { writeContext } from "./build-context.ts";
import { untilNothingLeft } from "./build-left.ts";
import { type Engine, type Finished, startEngine } from "./engine.ts";

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const contextOf = (files: Record<string, string | Uint8Array>): string =>
  writeContext(engine, files);

const LEGACY = { DOCKER_BUILDKIT: "0" };

const build = (files: Record<string, string | Uint8Array>, args: readonly string[] = []) =>
  engine.docker(["build", ...args, contextOf(files)], { env: LEGACY });

async function idOf(finished: Promise<Finished>): Promise<string> {
  const { code, stdout, stderr } = await finished;
  if (code !== 0) throw new Error(stdout + stderr);
  return /Successfully built ([0-9a-f]{12})/.exec(stdout)?.[1] ?? stdout;
}

/** A whole archive in memory. */
function archive(entries: readonly [Parameters<typeof encodeTarHeader>[0], string?][]): Buffer {
  const pieces = entries.flatMap(([entry, text = ""]) => {
    const bytes = Buffer.from(text);
    return [
      encodeTarHeader({ ...entry, sizeBytes: bytes.length }),
      bytes,
      tarPadding(bytes.length),
    ];
  });
  return Buffer.concat([...pieces, TAR_TRAILER]);
}

/** The events of a build that is asked for without the CLI. */
async function events(
  context: Uint8Array<ArrayBuffer>,
  query: string,
  headers: Record<string, string> = {},
): Promise<{ type: string; [name: string]: unknown }[]> {
  const answer = await engine.fetch(`/build?events=1&${query}`, {
    method: "POST",
    body: new Blob([context]),
    headers: { "Content-Type": "application/x-tar", ...headers },
  });
  const lines = (await answer.text()).trim().split("\r\n");
  return lines.map((line) => {
    const { naru, ...rest } = JSON.parse(line) as { naru?: { type: string } };
    return naru ?? { type: "end", ...rest };
  });
}

test("two cold builds with SOURCE_DATE_EPOCH give one image id, and its times", async () => {
  const files = {
    Dockerfile:
      "FROM busybox\nWORKDIR /w\nRUN date > /dev/null; mkdir -p /a/b; echo x > /a/b/c\nCOPY f /f\nCMD x\n",
    f: "f",
  };
  const args = ["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
  const first = await idOf(build(files, args));
  expect(await idOf(build(files, args))).toBe(first);
  expect(await engine.ok(["inspect", "-f", "{{.Created}}", first])).toBe("2023-11-14T22:13:20Z");
  const stat = ["run", "--rm", "--network", "none", first, "stat", "-c", "%Y"];
  expect(await engine.ok([...stat, "/a/b/c", "/f"])).toBe("1700000000\n1700000000");
});

test("events tell why a step was not cached", async () => {
  const contextOfText = (dockerfile: string, file: string) =>
    new Uint8Array(
      archive([
        [{ name: "Dockerfile" }, dockerfile],
        [{ name: "f" }, file],
      ]),
    );
  const dockerfile = "FROM busybox\nCOPY f /f\nARG A\nRUN echo $A > /a\n";
  const why = async (context: Uint8Array<ArrayBuffer>, args = "{}") =>
    (await events(context, `t=why&buildargs=${encodeURIComponent(args)}`))
      .filter(({ type, hit }) => type === "cache" && hit === false)
      .map(({ why: said }) => said);
  expect(await why(contextOfText(dockerfile, "one"), '{"A":"1"}')).toEqual(
    Array.from({ length: 3 }, () => "it was never built here"),
  );
  expect(await why(contextOfText(dockerfile, "one"), '{"A":"1"}')).toEqual([]);
  const [copied, , ran] = await why(contextOfText(dockerfile, "two"), '{"A":"1"}');
  expect(copied).toBe("file f changed");
  expect(ran).toBe("what it is built on changed");
  const changed = await why(contextOfText(dockerfile, "two"), '{"A":"2"}');
  expect(changed.at(-1)).toContain('arguments changed from ["A=1"] to ["A=2"]');
});

test("a secret is there for its RUN, and nowhere after", async () => {
  const context = archive([
    [
      { name: "Dockerfile" },
      "FROM busybox\nRUN --mount=type=secret,id=key,required --mount=type=secret,id=key,env=KEY cat /run/secrets/key | wc -c > /n; stat -c %a /run/secrets/key >> /n; test ${#KEY} = 12\n",
    ],
  ]);
  const value = Buffer.from("hidden-value").toString("base64");
  const header = Buffer.from(JSON.stringify({ key: value })).toString("base64");
  const told = await events(new Uint8Array(context), "t=secret", {
    "X-Naru-Build-Secrets": header,
  });
  expect(told.at(-1)).toMatchObject({ type: "end", stream: "Successfully tagged secret:latest\n" });
  const shown = ["run", "--rm", "--network", "none", "secret"];
  expect(await engine.ok([...shown, "sh", "-c", "cat /n; ls /run/secrets 2>&1 || true"])).toMatch(
    /^12\n400\nls: .*No such file or directory/,
  );
  expect(await engine.ok(["history", "--no-trunc", "secret"])).not.toContain("hidden-value");
  expect(readFileSync(join(engine.dataRoot, "naru.db")).includes("hidden-value")).toBe(false);
  const missing = await events(new Uint8Array(context), "t=none&nocache=1");
  expect(missing.at(-1)).toMatchObject({ error: expect.stringContaining("secret key: not found") });
});

test("a build whose client goes away stops, and leaves nothing", async () => {
  const folder = contextOf({ Dockerfile: "FROM busybox\nRUN echo begun; sleep 1000\n" });
  const child = Bun.spawn(["docker", "-H", `unix://${engine.socket}`, "build", folder], {
    env: { ...process.env, ...LEGACY },
    stdout: "pipe",
    stderr: "ignore",
  });
  let printed = "";
  for await (const chunk of child.stdout) {
    printed += new TextDecoder().decode(chunk);
    if (printed.includes("begun\n")) break;
  }
  child.kill("SIGKILL");
  await child.exited;
  await untilNothingLeft(engine);
});

test("after kill -9 in the middle of a build nothing is left of it, and the cache still works", async () => {
  const files = {
    Dockerfile:
      "FROM busybox\nRUN echo kept > /kept\nRUN --mount=type=tmpfs,target=/t echo begun; sleep 1000\n",
  };
  const child = Bun.spawn(["docker", "-H", `unix://${engine.socket}`, "build", contextOf(files)], {
    env: { ...process.env, ...LEGACY },
    stdout: "pipe",
    stderr: "ignore",
  });
  let printed = "";
  for await (const chunk of child.stdout) {
    printed += new TextDecoder().decode(chunk);
    if (printed.includes("begun\n")) break;
  }
  await engine.restartDaemon();
  await child.exited;
  await untilNothingLeft(engine);
  const again = await build({ Dockerfile: "FROM busybox\nRUN echo kept > /kept\n" });
  expect(again.stdout).toContain(" ---> Using cache\n");
});

test("the cache is shown and pruned, and what images need stays", async () => {
  const id = await idOf(
    build({ Dockerfile: "FROM busybox\nRUN echo pruned > /pruned\n" }, ["-t", "p"]),
  );
  const shown = await engine.ok(["system", "df", "-v", "--format", "{{json .BuildCache}}"]);
  expect(shown).toContain("RUN echo pruned");
  expect(await engine.ok(["builder", "prune", "-af"])).toContain("Total reclaimed space");
  expect(await engine.ok(["system", "df", "-v", "--format", "{{json .BuildCache}}"])).toBe("[]");
  expect(await engine.ok(["run", "--rm", "--network", "none", id, "cat", "/pruned"])).toBe(
    "pruned",
  );
});

test("archives that ADD unpacks cannot leave the image's root, nor can a context's links", async () => {
  const inner = archive([
    [{ name: "ok" }, "ok\n"],
    [{ name: "out", type: "symlink", link: "/tmp/naru-test-escape" }],
    [{ name: "out/file" }, "trapped\n"],
  ]);
  await idOf(
    build({ Dockerfile: "FROM busybox\nADD evil.tar /in/\n", "evil.tar": inner }, ["-t", "evil"]),
  );
  expect(existsSync("/tmp/naru-test-escape")).toBe(false);
  const run = ["run", "--rm", "--network", "none", "evil"];
  expect(await engine.ok([...run, "cat", "/in/ok"])).toBe("ok");
  const climbing = archive([[{ name: "../../up" }, "x"]]);
  const finished = await build({
    Dockerfile: "FROM busybox\nADD up.tar /in/\n",
    "up.tar": climbing,
  });
  expect({ code: finished.code, up: existsSync("/up") }).toEqual({
    code: finished.code,
    up: false,
  });
  const linked = archive([
    [{ name: "Dockerfile" }, "FROM busybox\nCOPY etc/shadow /stolen\n"],
    [{ name: "etc", type: "symlink", link: "/etc" }],
  ]);
  expect((await events(new Uint8Array(linked), "")).at(-1)).toMatchObject({
    error: expect.stringContaining("COPY failed"),
  });
});
