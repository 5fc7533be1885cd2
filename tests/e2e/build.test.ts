/** `docker build` through the real CLI: what is printed, and what the container of the image sees. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { writeContext } from "./build-context.ts";
import { type Engine, type Finished, startEngine } from "./engine.ts";

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const contextOf = (files: Record<string, string>): string => writeContext(engine, files);

const build = (context: string, args: readonly string[] = [], stdin?: string): Promise<Finished> =>
  engine.docker(["build", ...args, context], {
    env: { DOCKER_BUILDKIT: "0" },
    ...(stdin === undefined ? {} : { stdin }),
  });

async function built(context: string, args: readonly string[] = []): Promise<string> {
  const finished = await build(context, args);
  if (finished.code !== 0) throw new Error(finished.stdout + finished.stderr);
  return finished.stdout;
}

/** Builds from a Dockerfile alone, and answers what a program in the image prints. */
async function seen(
  files: Record<string, string>,
  command: readonly string[],
  args: readonly string[] = [],
): Promise<string> {
  await built(contextOf(files), ["-t", "seen", ...args]);
  return engine.ok(["run", "--rm", "--network", "none", "seen", ...command]);
}

test("a build prints Docker's lines, tags its image, and a second one comes from the cache", async () => {
  const context = contextOf({
    Dockerfile:
      'FROM busybox\nRUN echo made > /made\nCOPY . /app\nENV GREETING="hello there"\nWORKDIR /app\nCMD ["cat", "file", "/made"]\n',
    file: "content\n",
  });
  const first = await built(context, ["-t", "first:one", "-t", "first:two"]);
  expect(first).toMatch(/^Sending build context to Docker daemon/);
  expect(first).toContain("Step 1/6 : FROM busybox\n ---> ");
  expect(first).toMatch(/Step 2\/6 : RUN echo made > \/made\n ---> Running in [0-9a-f]{12}\n/);
  const id = /Successfully built ([0-9a-f]{12})\n/.exec(first)?.[1] ?? "";
  expect(first).toContain("Successfully tagged first:one\nSuccessfully tagged first:two\n");
  expect(await engine.ok(["images", "-q", "first"])).toBe(`${id}\n${id}`);
  expect(await engine.ok(["run", "--rm", "--network", "none", "first:one"])).toBe("content\nmade");
  const second = await built(context, ["-t", "first:one"]);
  expect(second.match(/ ---> Using cache\n/g)).toHaveLength(5);
  expect(second).toContain(`Successfully built ${id}\n`);
  writeFileSync(join(context, "file"), "other\n");
  const third = await built(context, ["-t", "first:one"]);
  expect(third.match(/ ---> Using cache\n/g)).toHaveLength(1);
  expect(await engine.ok(["run", "--rm", "--network", "none", "first:one"])).toBe("other\nmade");
  expect(await build(context, ["-q"])).toMatchObject({
    stdout: expect.stringMatching(/^sha256:[0-9a-f]{64}\n$/),
  });
});

test("instructions that only set the config are what inspect shows and containers get", async () => {
  await built(
    contextOf({
      Dockerfile: [
        "ARG BASE=busybox",
        "FROM ${BASE:-scratch}",
        "ARG WHO=nobody",
        "ENV A=1 B=${A:-2}x C=$WHO",
        'LABEL one=1 two="2 $A"',
        "EXPOSE 80 5000-5001/udp",
        "VOLUME /data",
        "STOPSIGNAL SIGINT",
        "USER daemon",
        "HEALTHCHECK --interval=5m --retries=2 CMD true",
        'SHELL ["/bin/sh", "-ec"]',
        "ONBUILD RUN touch /tmp/triggered",
        'ENTRYPOINT ["/bin/sh", "-c"]',
        'CMD ["echo $A $B $C $(id -un)"]',
        "MAINTAINER somebody",
      ].join("\n"),
    }),
    ["-t", "config", "--build-arg", "WHO=me", "--label", "three=3"],
  );
  expect(await engine.ok(["run", "--rm", "--network", "none", "config"])).toBe("1 2x me daemon");
  const [image] = JSON.parse(await engine.ok(["image", "inspect", "config"])) as [
    { Author: string; Config: Record<string, unknown> },
  ];
  expect(image.Author).toBe("somebody");
  expect(image.Config).toMatchObject({
    Labels: { one: "1", two: "2 1", three: "3" },
    ExposedPorts: { "80/tcp": {}, "5000/udp": {}, "5001/udp": {} },
    Volumes: { "/data": {} },
    StopSignal: "SIGINT",
    User: "daemon",
    Shell: ["/bin/sh", "-ec"],
    OnBuild: ["RUN touch /tmp/triggered"],
    Healthcheck: { Test: ["CMD-SHELL", "true"], Interval: 300e9, Retries: 2 },
  });
  expect(
    await seen({ Dockerfile: "FROM config\nUSER root\n" }, ["ls /tmp/triggered 2>&1"]),
  ).toContain("triggered");
});

test("files are copied as Docker copies them: owners, modes, folders, globs, links, exclusions", async () => {
  const context = contextOf({
    Dockerfile: [
      "FROM busybox",
      "RUN mkdir -p /old/deep && chmod 700 /old/deep && ln -s /old/deep /way",
      "COPY a.txt /one",
      "COPY a.txt b.txt /many/",
      "COPY *.txt /glob/",
      "COPY dir /dir",
      "COPY --chown=daemon:bin --chmod=u=rw,go=r a.txt /owned/",
      "COPY --chown=12 a.txt /numbers",
      "COPY dir /way/",
      "COPY --exclude=*.md dir /less/",
      "COPY --parents dir/./sub/x.md /parents/",
      "COPY --link a.txt /linked/",
      "COPY link /followed",
      "WORKDIR /work/here",
      "COPY a.txt .",
      "COPY <<one.sh <<two.txt /made/",
      "echo $HOME \\$HOME",
      "one.sh",
      "plain",
      "two.txt",
    ].join("\n"),
    "a.txt": "A\n",
    "b.txt": "B\n",
    "dir/c.md": "C\n",
    "dir/sub/x.md": "X\n",
    "dir/sub/y": "Y\n",
    ".dockerignore": "ignored\n",
    ignored: "no\n",
  });
  symlinkSync("a.txt", join(context, "link"));
  await built(context, ["-t", "copied"]);
  const shown = await engine.ok([
    "run",
    "--rm",
    "--network",
    "none",
    "copied",
    "sh",
    "-c",
    [
      "cat /one /followed /work/here/a.txt",
      "ls /many /glob /dir /less /parents/sub /linked",
      "stat -c '%U:%G %a' /owned /owned/a.txt",
      "stat -c '%u:%g' /numbers",
      "ls /old/deep",
      "stat -c %a /old/deep",
      "cat /made/one.sh /made/two.txt",
    ].join("; "),
  ]);
  expect(shown).toBe(
    [
      "A\nA\nA",
      "/dir:\nc.md\nsub\n",
      "/glob:\na.txt\nb.txt\n",
      "/less:\nsub\n",
      "/linked:\na.txt\n",
      "/many:\na.txt\nb.txt\n",
      "/parents/sub:\nx.md",
      "daemon:bin 755",
      "daemon:bin 644",
      "12:12",
      "c.md\nsub",
      "700",
      "echo  $HOME",
      "plain",
    ].join("\n"),
  );
});

test("stages copy from stages and images, unused ones are not built, and --target stops early", async () => {
  const context = contextOf({
    Dockerfile: [
      "FROM busybox AS unused",
      "RUN false",
      "FROM busybox AS one",
      "RUN echo 1 > /n",
      "FROM one AS two",
      "RUN echo 2 >> /n",
      "FROM scratch AS files",
      "COPY --from=two /n /n",
      "FROM busybox",
      "COPY --from=files /n /first",
      "COPY --from=busybox /etc/passwd /second",
      "COPY --from=1 /n /third",
    ].join("\n"),
  });
  const text = await built(context, ["-t", "staged"]);
  expect(text).not.toContain("RUN false");
  const shown = ["run", "--rm", "--network", "none"];
  expect(
    await engine.ok([...shown, "staged", "sh", "-c", "cat /first /third; head -n1 /second"]),
  ).toBe("1\n2\n1\nroot:x:0:0:root:/root:/bin/sh");
  await built(context, ["-t", "target", "--target", "ONE"]);
  expect(await engine.ok([...shown, "target", "cat", "/n"])).toBe("1");
  expect((await build(context, ["--target", "none"])).stderr).toContain(
    'target stage "none" could not be found',
  );
});

test("what fails says what and where, with the program's exit code", async () => {
  const failing = async (dockerfile: string) => build(contextOf({ Dockerfile: dockerfile }));
  expect(await failing("FROM busybox\nRUN exit 7\n")).toMatchObject({
    code: 7,
    stderr: expect.stringContaining("The command '/bin/sh -c exit 7' returned a non-zero code: 7"),
  });
  const sentences: readonly (readonly [string, string])[] = [
    [
      "FRMO busybox",
      "dockerfile parse error on line 1: unknown instruction: FRMO (did you mean FROM?)",
    ],
    ["FROM busybox\nCOPY --chwn=1 a b", "dockerfile parse error on line 2: unknown flag: --chwn"],
    [
      "FROM busybox\nCOPY nothing /x",
      "COPY failed: file not found in build context or excluded by .dockerignore: stat nothing: file does not exist",
    ],
    ["FROM busybox\nCOPY ../../etc/shadow /x", "COPY failed: file not found in build context"],
    [
      "FROM busybox AS a\nCOPY --from=b /x /x\nFROM busybox AS b\nCOPY --from=a /x /x",
      "circular dependency detected on stage: a",
    ],
    [
      "FROM busybox\nCOPY Dockerfile Dockerfile /x",
      "the destination must be a directory and end with a /",
    ],
    ["FROM localhost:1/nowhere", "localhost:1"],
    ["", "the Dockerfile (Dockerfile) cannot be empty"],
  ];
  for (const [dockerfile, sentence] of sentences) {
    const finished = await failing(dockerfile);
    expect({ dockerfile, code: finished.code, stderr: finished.stderr }).toEqual({
      dockerfile,
      code: 1,
      stderr: expect.stringContaining(sentence),
    });
  }
});

test("RUN has its mounts, and leaves nothing of them in the image", async () => {
  const context = contextOf({
    Dockerfile: [
      "FROM busybox AS other",
      "RUN mkdir /o && echo other > /o/file",
      "FROM busybox",
      "RUN --mount=target=/ctx --mount=from=other,source=/o,target=/o,rw cat /ctx/in/f /o/file > /got && echo w > /o/w",
      "RUN --mount=type=cache,target=/cache,id=e2e echo x >> /cache/n && wc -l < /cache/n > /count",
      "RUN --mount=type=tmpfs,target=/t touch /t/x && mount | grep -c ' /t ' >> /count",
      "RUN --network=none ip addr | grep -c inet > /inet || true",
      "RUN <<-'EOF'",
      "#!/bin/sh -e",
      "echo script > /script",
      "EOF",
    ].join("\n"),
    "in/f": "context\n",
  });
  await built(context, ["-t", "mounted", "--no-cache"]);
  await built(context, ["-t", "mounted", "--no-cache"]);
  const shown = await engine.ok([
    "run",
    "--rm",
    "--network",
    "none",
    "mounted",
    "sh",
    "-c",
    "cat /got /count /inet /script; ls -d /ctx /o /cache /t 2>/dev/null | wc -l",
  ]);
  expect(shown.split("\n").map((line) => line.trim())).toEqual([
    "context",
    "other",
    "2",
    "1",
    "2",
    "script",
    "0",
  ]);
});

test("the history tells what Docker's tells of the same file", async () => {
  const dockerfile = [
    "FROM busybox",
    "ARG B",
    "ARG A=1",
    "ARG NONE",
    "ENV A=over",
    "RUN true",
    "COPY --chown=1:2 --chmod=600 --link file other* /dir/",
    "WORKDIR /work",
    "HEALTHCHECK --interval=5m --retries=3 CMD true",
    "EXPOSE 443 80",
    'SHELL ["/bin/sh", "-ec"]',
    "ONBUILD RUN true",
    'CMD ["cat", "/p"]',
  ].join("\n");
  await built(contextOf({ Dockerfile: dockerfile, file: "x" }), [
    "-t",
    "told",
    "--build-arg",
    "B=b",
  ]);
  const told = await engine.ok(["history", "--no-trunc", "--format", "{{.CreatedBy}}", "told"]);
  expect(told.split("\n").slice(0, 11)).toEqual([
    'CMD ["cat" "/p"]',
    "SHELL [/bin/sh -ec]",
    "EXPOSE [443/tcp 80/tcp]",
    String.raw`HEALTHCHECK &{["CMD-SHELL" "true"] "5m0s" "0s" "0s" "0s" '\x03'}`,
    "WORKDIR /work",
    "COPY --chown=1:2 --chmod=600 file other* /dir/ # buildkit",
    "RUN |3 B=b A=over NONE= /bin/sh -c true # buildkit",
    "ENV A=over",
    "ARG NONE",
    "ARG A=1",
    "ARG B=b",
  ]);
  expect(await engine.ok(["inspect", "-f", "{{json .Config.OnBuild}}", "told"])).toBe(
    '["RUN true"]',
  );
});
