/** `build --squash`: one layer on top of FROM, and the container sees what it saw before. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { writeContext } from "./build-context.ts";
import { type Engine, type Finished, startEngine } from "./engine.ts";

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine({ daemonFlags: ["--experimental"] });
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const LEGACY = { env: { DOCKER_BUILDKIT: "0" } };

function okay({ code, stdout, stderr }: Finished): string {
  if (code !== 0) throw new Error(stdout + stderr);
  return stdout;
}

/** Everything a layer can say about the ones below it. */
const DOCKERFILE = [
  "FROM busybox AS base",
  "RUN mkdir -p /old/sub /both /gone && echo 1 > /old/sub/a && echo 1 > /both/kept && echo 1 > /gone/x && echo f > /file",
  "FROM base",
  "RUN rm -r /old/sub && mkdir -p /old/sub && echo 2 > /old/sub/b",
  "RUN rm -r /gone && echo gone > /gone",
  "RUN rm /file && mkdir /file && echo in > /file/in && chmod 700 /file && chown 7:8 /file/in",
  "RUN echo temp > /temp && dd if=/dev/zero of=/large bs=1M count=4",
  "RUN rm /temp /large && echo 2 > /both/new && ln /both/new /both/linked && ln -s new /both/soft",
  "RUN mkdir -p /again/x && echo 1 > /again/x/y",
  "RUN rm -r /again && mkdir /again && touch -d @1000000000 /again/z && mkfifo /again/pipe",
  "RUN rm /both/kept && mknod /both/null c 1 3 && chmod u+s /both/new",
  "RUN echo 1 > /one && ln /one /two",
  'CMD ["cat", "/both/new"]',
].join("\n");

const LIST =
  "find / -xdev ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' ! -path '/etc*' ! -path / -exec stat -c '%n %F %a %u %g %t %T' {} + | sort; cat /old/sub/* /both/new /gone /file/in; stat -c %Y /again/z; stat -c %h /one /two; test /one -ef /two && echo linked";
const seenIn = (image: string) =>
  engine.ok(["run", "--rm", "--network", "none", image, "sh", "-c", LIST]);
const layersOf = async (image: string) =>
  JSON.parse(await engine.ok(["inspect", "-f", "{{json .RootFS.Layers}}", image])) as string[];

test("the docker CLI squashes on an engine that is experimental", async () => {
  const context = writeContext(engine, { Dockerfile: DOCKERFILE });
  await engine.ok(["build", "-t", "base", "--target", "base", context], LEGACY);
  await engine.ok(["build", "-t", "plain", context], LEGACY);
  await engine.ok(["build", "-t", "squashed", "--squash", context], LEGACY);
  const base = await layersOf("base");
  const squashed = await layersOf("squashed");
  expect(squashed.slice(0, -1)).toEqual(base);
  expect((await layersOf("plain")).length).toBe(base.length + 9);
  expect(await seenIn("squashed")).toBe(await seenIn("plain"));
  expect(await engine.ok(["run", "--rm", "--network", "none", "squashed"])).toBe("2");
  const sizes = JSON.parse(
    `[${(await engine.ok(["inspect", "-f", "{{.Size}}", "base", "plain", "squashed"])).split("\n").join()}]`,
  ) as number[];
  expect((sizes[2] ?? 0) - (sizes[0] ?? 0)).toBeLessThan(100_000);
  expect((sizes[1] ?? 0) - (sizes[0] ?? 0)).toBeGreaterThan(4_000_000);
  const history = await engine.ok([
    "history",
    "--no-trunc",
    "--format",
    "{{.Comment}}",
    "squashed",
  ]);
  expect(history.split("\n")[0]).toMatch(/^merge sha256:[0-9a-f]{64} to sha256:[0-9a-f]{64}$/);
  expect(await engine.ok(["version", "-f", "{{.Server.Experimental}}"])).toBe("true");
});

test("naru squashes too; what stands on nothing becomes one layer; twice is the same image", async () => {
  const files = {
    Dockerfile: "FROM scratch\nCOPY a /a\nCOPY b /b\nCOPY --from=busybox /bin/busybox /bin/sh\n",
    a: "a",
    b: "b",
  };
  const context = writeContext(engine, files);
  const build = (tag: string) => engine.naru(["build", "-q", "--squash", "-t", tag, context]);
  const first = okay(await build("one"));
  expect((await layersOf("one")).length).toBe(1);
  expect(okay(await build("two"))).toBe(first);
  const run = ["run", "--rm", "--network", "none", "one", "/bin/sh", "-c", "read x < /b; echo $x"];
  expect(await engine.ok(run)).toBe("b");
  expect(await engine.ok(["history", "--format", "{{.Comment}}", "one"])).toContain(
    "create new from sha256:",
  );
  // Nothing on top of its base: nothing to do.
  const nothing = writeContext(engine, { Dockerfile: "FROM busybox\nENV A=1\n" });
  okay(await engine.naru(["build", "-q", "--squash", "-t", "none", nothing]));
  expect(await layersOf("none")).toEqual(await layersOf("busybox"));
});
