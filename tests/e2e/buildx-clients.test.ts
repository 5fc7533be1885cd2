/** What else comes over a session: several targets at once, agents, the older docker CLI, clients that go away. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

import { buildxLab, built, leftAt } from "./buildx.ts";
import { type Finished, run, type RunOptions } from "./engine.ts";
import { until } from "./until.ts";

const lab = buildxLab(null, { images: ["busybox", "debian"] });
const { contextOf, shown: inside } = lab;

test("bake builds several targets at once, one on top of another", async () => {
  const context = contextOf({
    "docker-bake.json": JSON.stringify({
      group: { default: { targets: ["upper", "other"] } },
      target: {
        base: { "dockerfile-inline": "FROM busybox\nENV BASE=yes\nRUN echo base > /base\n" },
        upper: {
          contexts: { parent: "target:base" },
          "dockerfile-inline": "FROM parent\nRUN echo upper $BASE > /upper\nCOPY own /own\n",
          tags: ["bake:upper"],
        },
        other: { "dockerfile-inline": "FROM busybox\nCOPY own /own\n", tags: ["bake:other"] },
      },
    }),
    own: "own\n",
  });
  const file = join(context, "docker-bake.json");
  const args = ["buildx", "bake", "--progress=plain", "-f", file, "--set", `*.context=${context}`];
  // Newer ones ask a person whether folders elsewhere may be read.
  const env = { BUILDX_BAKE_ENTITLEMENTS_FS: "0" };
  const finished = await lab.engine.docker(args, { env });
  expect(finished.stderr).toContain("[upper 2/3] RUN echo upper $BASE > /upper");
  expect(finished.code).toBe(0);
  // The session that its targets share comes as a call; where it is refused the client says so among its lines.
  expect(finished.stderr).not.toContain("http2: server:");
  expect(await inside("bake:upper", "cat", "/base", "/upper", "/own")).toBe("base\nupper yes\nown");
  expect(await inside("bake:other", "cat", "/own")).toBe("own");
});

test("an agent of the client's answers in a step", async () => {
  const path = join(contextOf({}), "agent");
  const server = createServer((socket) => {
    // SSH's protocol: which keys are there? None.
    socket.on("data", () => void socket.write(new Uint8Array([0, 0, 0, 5, 12, 0, 0, 0, 0])));
    socket.on("error", () => socket.destroy());
  });
  await new Promise<void>((resolve) => void server.listen(path, resolve));
  try {
    const context = contextOf({
      Dockerfile:
        "FROM debian\nUSER daemon\n" +
        "RUN --mount=type=ssh,required,uid=1 perl -MIO::Socket::UNIX -e '" +
        "$s = IO::Socket::UNIX->new($ENV{SSH_AUTH_SOCK}) or die;" +
        " syswrite $s, pack(q(NC), 1, 11); sysread $s, $a, 9, length $a while length $a < 9; print unpack(q(H*), $a)' > /tmp/said\n",
    });
    await built(lab.engine, ["--ssh", `default=${path}`, "-t", "agent", context]);
    expect(await inside("agent", "cat", "/tmp/said")).toBe("000000050c00000000");
    const without = await lab.engine.docker(["buildx", "build", "--no-cache", context]);
    expect(without.stderr).toContain("unset ssh forward key default");
    expect(without.code).toBe(1);
  } finally {
    server.close();
  }
});

const OLD_CLI = join(import.meta.dir, "../../dist/peer/usr/bin/docker");
const isOld =
  existsSync(OLD_CLI) &&
  /version 20\./.test(Bun.spawnSync([OLD_CLI, "--version"]).stdout.toString());

/** Docker 20.10's CLI, which has BuildKit's client in it. */
const old = (args: readonly string[], options: RunOptions = {}): Promise<Finished> =>
  run([OLD_CLI, "-H", `unix://${lab.engine.socket}`, ...args], {
    ...options,
    env: { DOCKER_CONFIG: join(lab.engine.root, "old"), ...options.env },
  });

test.skipIf(!isOld)("the BuildKit client of an older docker CLI builds too", async () => {
  const secret = join(contextOf({ secret: "hidden" }), "secret");
  const context = contextOf({
    Dockerfile: [
      "FROM busybox AS base",
      "ARG WHO",
      "RUN --mount=type=secret,id=key wc -c < /run/secrets/key > /size && echo $WHO > /who",
      "FROM base AS bad",
      "RUN echo oops && exit 7",
      "FROM busybox",
      "COPY --from=base /size /who /",
      "COPY . /app/",
    ].join("\n"),
    ".dockerignore": "*\n!kept\n",
    kept: "kept\n",
    other: "other\n",
  });
  const args = ["build", "--progress=plain", "--secret", `id=key,src=${secret}`];
  const first = await old([...args, "-t", "old", "--build-arg", "WHO=me", context]);
  expect(first.stderr).toContain("[base 2/2] RUN --mount=type=secret");
  expect(first.code).toBe(0);
  expect(await inside("old", "sh", "-c", "cat /size /who; ls -A /app")).toBe("6\nme\nkept");
  const second = await old([...args, "-q", "--build-arg", "WHO=me", context]);
  expect(second.stdout.trim()).toBe(
    await lab.engine.ok(["image", "inspect", "-f", "{{.Id}}", "old"]),
  );
  const failed = await old([...args, "--target", "bad", "--build-arg", "WHO=me", context]);
  expect(failed.stderr).toContain("did not complete successfully: exit code: 7");
  expect(failed.code).toBe(1);
  const folder = join(context, "../old-out");
  const files = contextOf({ Dockerfile: "FROM scratch\nCOPY a /deep/a\n", a: "out" });
  expect((await old(["build", "-o", folder, files])).code).toBe(0);
  expect(readFileSync(join(folder, "deep/a"), "utf8")).toBe("out");
  const tar = Bun.spawnSync(["tar", "c", "-C", files, "."]).stdout;
  const piped = await old(["build", "-t", "piped", "-"], { stdin: new Uint8Array(tar) });
  expect(piped.code).toBe(0);
});

/** What lies about of builds, on disk and in the exec root. */
const remains = (): string[] => [
  ...readdirSync(join(lab.engine.dataRoot, "build/contexts")),
  ...readdirSync(join(lab.engine.dataRoot, "build/scratch")),
  ...readdirSync(join(lab.engine.execRoot, "build")),
  ...readdirSync(join(lab.engine.dataRoot, "build/kept")).filter((name) =>
    name.startsWith("once-"),
  ),
];

test("a client that is interrupted, or killed, takes its build with it", async () => {
  const context = contextOf({
    Dockerfile: "FROM busybox\nCOPY . /\nRUN echo it runs; sleep 1000\n",
    file: "x",
  });
  for (const signal of ["SIGINT", "SIGKILL"] as const) {
    const { code } = await leftAt(lab.engine, [context], { line: "it runs", signal });
    expect(code).not.toBe(0);
    await until(() => remains().length === 0);
  }
  expect(remains()).toEqual([]);
  // The engine is none the worse.
  await built(lab.engine, [contextOf({ Dockerfile: "FROM busybox\nRUN true\n" })]);
});

test("what is no connection to take over is refused", async () => {
  for (const path of ["/grpc", "/session"]) {
    const answer = await lab.engine.fetch(path, { method: "POST" });
    expect([answer.status, await answer.text()]).toEqual([
      400,
      '{"message":"no upgrade proto in request"}\n',
    ]);
  }
});
