/** Builds that fail: every client shows the lines of the Dockerfile and points at the fault, and says what went wrong last. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { encodeTarHeader, TAR_TRAILER, tarPadding } from "#wire/tar";
import { writeContext } from "./build-context.ts";
import { type Engine, type Finished, NARU, startEngine } from "./engine.ts";
import { runOnTerminal } from "./pty.ts";
import { eventually, until } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const RULE = "-".repeat(20);
const contextOf = (dockerfile: string) => writeContext(engine, { Dockerfile: dockerfile });
const withDocker = (args: readonly string[]): Promise<Finished> =>
  engine.docker(["build", ...args], { env: { DOCKER_BUILDKIT: "0" } });

/** What is shown of a Dockerfile, from its name to the last rule. */
function excerptIn(text: string): string[] {
  const lines = text.split("\n");
  const first = lines.indexOf(RULE);
  return lines.slice(first - 1, lines.lastIndexOf(RULE) + 1);
}

interface Case {
  readonly name: string;
  readonly dockerfile: string;
  readonly sentence: string;
  readonly excerpt: readonly string[];
}

const CASES: readonly Case[] = [
  {
    name: "a RUN of several lines",
    dockerfile: "FROM busybox\n\nRUN true && \\\n    # why\n    false\n\nCMD true\n",
    sentence: "The command '/bin/sh -c true &&     false' returned a non-zero code: 1",
    excerpt: ["   2 |     ", "   3 | >>> RUN true && \\", "   4 | >>>     # why"]
      .concat("   5 | >>>     false")
      .concat("   6 |     "),
  },
  {
    name: "a RUN from a heredoc",
    dockerfile: "FROM busybox\nRUN <<EOF\nexit 3\nEOF\n",
    sentence: "returned a non-zero code: 3",
    excerpt: ["   1 |     FROM busybox", "   2 | >>> RUN <<EOF", "   3 | >>> exit 3"]
      .concat("   4 | >>> EOF")
      .concat("   5 |     "),
  },
  {
    name: "a COPY of what is not there",
    dockerfile: "FROM busybox\nCOPY gone /gone\n",
    sentence:
      "COPY failed: file not found in build context or excluded by .dockerignore: stat gone",
    excerpt: ["   1 |     FROM busybox", "   2 | >>> COPY gone /gone", "   3 |     "],
  },
  {
    name: "an ADD from a port where nobody listens",
    dockerfile: "FROM busybox\nADD http://127.0.0.1:1/x /x\n",
    sentence: "127.0.0.1:1",
    excerpt: ["   1 |     FROM busybox", "   2 | >>> ADD http://127.0.0.1:1/x /x", "   3 |     "],
  },
  {
    name: "a base image that cannot be had",
    dockerfile: "FROM busybox\nFROM 127.0.0.1:1/none\nCOPY --from=0 / /\n",
    sentence: "127.0.0.1:1",
    excerpt: ["   1 |     FROM busybox", "   2 | >>> FROM 127.0.0.1:1/none"]
      .concat("   3 |     COPY --from=0 / /")
      .concat("   4 |     "),
  },
  {
    name: "an unknown instruction",
    dockerfile: "FROM busybox\n\n\nCOPPY a b\n",
    sentence: "dockerfile parse error on line 4: unknown instruction: COPPY (did you mean COPY?)",
    excerpt: ["   2 |     ", "   3 |     ", "   4 | >>> COPPY a b", "   5 |     "],
  },
  {
    name: "stages in a circle",
    dockerfile: "FROM busybox AS a\nCOPY --from=b / /\nFROM busybox AS b\nCOPY --from=a / /\n",
    sentence: "circular dependency detected on stage: a",
    excerpt: ["   2 |     COPY --from=b / /", "   3 |     FROM busybox AS b"].concat(
      "   4 | >>> COPY --from=a / /",
      "   5 |     ",
    ),
  },
];

test.each(CASES)(
  "$name is pointed at, by docker build and by naru build",
  async ({ dockerfile, sentence, excerpt }) => {
    const folder = contextOf(dockerfile);
    const line = Number(excerpt.find((text) => text.includes(">>>"))?.slice(0, 4));
    const expected = [`Dockerfile:${line}`, RULE, ...excerpt, RULE];
    const [docker, naru] = await Promise.all([
      withDocker([folder]),
      engine.naru(["build", "--progress=plain", folder]),
    ]);
    expect([docker.code === 0, naru.code === 0]).toEqual([false, false]);
    expect(docker.stderr).toContain(sentence);
    expect(excerptIn(docker.stdout + docker.stderr).slice(1)).toEqual(expected.slice(1));
    expect(docker.stdout + docker.stderr).toContain(`Dockerfile:${line}\n${RULE}\n`);
    expect(excerptIn(naru.stderr)).toEqual(expected);
    expect(naru.stderr.trimEnd().split("\n").at(-1)).toContain(sentence);
  },
);

test("every way of showing progress ends with the last lines of the command, its place and the error", async () => {
  const folder = contextOf(
    "FROM busybox\nRUN for n in $(seq 40); do echo line-$n; done; echo to stderr >&2; exit 9\n",
  );
  for (const mode of ["plain", "quiet"]) {
    const { code, stderr, stdout } = await engine.naru(["build", `--progress=${mode}`, folder]);
    expect([mode, code, stdout]).toEqual([mode, 9, ""]);
    const end = stderr.slice(stderr.indexOf("------\n > [2/2] RUN for n in"));
    expect(end).toContain("line-22\n");
    expect(end).toContain("line-40\n");
    expect(end).toContain("to stderr\n");
    expect(end).toContain("   2 | >>> RUN for n in");
    expect(end).toMatch(/-\nERROR: The command '.*' returned a non-zero code: 9\n$/);
  }
  const raw = await engine.naru(["build", "--progress=rawjson", folder]);
  const events = raw.stderr.split("\n").flatMap((line) => {
    return line.startsWith("{") ? [JSON.parse(line) as Record<string, unknown>] : [];
  });
  expect(events.at(-1)).toMatchObject({ type: "failed", step: 2, startLine: 2, endLine: 2 });
  expect(raw.stderr).toEndWith("returned a non-zero code: 9\n");
  const command = [NARU, "-H", `unix://${engine.socket}`, "build", folder];
  const terminal = runOnTerminal(command, { columns: 90, rows: 30 });
  expect(await terminal.exited).toBe(9);
  const drawn = terminal.output().replaceAll("\r", "");
  expect(drawn).toContain("=> ERROR [2/2] RUN for n in");
  expect(drawn).toContain("line-40\nto stderr\n------\nDockerfile:2\n");
  expect(drawn).toContain("   2 | >>> RUN for n in");
  expect(drawn).toEndWith("returned a non-zero code: 9\n");
});

test("stages that were given up are no failures, and a Dockerfile from elsewhere keeps its name", async () => {
  const folder = contextOf("FROM scratch\n");
  const dockerfile =
    "FROM busybox AS slow\nRUN sleep 1000\nFROM busybox\nRUN exit 4\nCOPY --from=slow / /\n";
  const args = ["build", "--progress=plain", "-f", "-", folder];
  const { code, stderr } = await engine.naru(args, { stdin: dockerfile });
  expect(code).toBe(4);
  expect(stderr).toContain("#2 CANCELED\n");
  expect(stderr).toContain("#4 ERROR\n");
  expect(stderr).not.toContain("#2 ERROR");
  expect(excerptIn(stderr)[0]).toBe("Dockerfile:4");
  const elsewhere = `${contextOf("FROM busybox\nRUN exit 5\n")}/Dockerfile`;
  const other = await engine.naru(["build", "-q", "-f", elsewhere, folder]);
  expect(other.code).toBe(5);
  expect(excerptIn(other.stderr)[0]).toBe(`${elsewhere}:2`);
});

/** A build on a terminal that stops in a shell, and what the person types there. */
function entered(dockerfile: string, args: readonly string[] = []) {
  const folder = contextOf(dockerfile);
  const command = [NARU, "-H", `unix://${engine.socket}`, "build", "--on-fail", "shell", ...args];
  const terminal = runOnTerminal([...command, folder], { columns: 100, rows: 40 });
  const shows = (text: string) => eventually(() => expect(terminal.output()).toContain(text));
  return { terminal, shows };
}

test("a failed RUN is entered: its files, variables, folder, user, mounts and terminal; then nothing is left", async () => {
  const secret = join(engine.root, "token");
  writeFileSync(secret, "s3cret");
  const { terminal, shows } = entered(
    [
      "FROM busybox",
      "ENV COLOUR=blue",
      "ARG SIZE=large",
      "WORKDIR /work",
      "RUN mkdir /out && chown daemon /out /work",
      "USER daemon",
      "RUN --mount=type=cache,target=/cache,uid=1 --mount=type=secret,id=token,uid=1 \\",
      "  echo half > /out/made && echo kept > /cache/file && exit 6",
    ].join("\n"),
    ["--secret", `id=token,src=${secret}`],
  );
  await shows("the build ends when you leave it");
  await shows("$ ");
  terminal.type(
    "echo $COLOUR-$SIZE-$(pwd)-$(id -un)-$(cat /out/made /cache/file | tr '\\n' '-')\n",
  );
  await shows("blue-large-/work-daemon-half-kept-");
  terminal.type("echo [$(cat /run/secrets/token)] [$(tty)] [$(stty size)]\n");
  await shows("[s3cret] [/dev/pts/0] [40 100]");
  terminal.resize({ columns: 77, rows: 33 });
  terminal.type("until [ \"$(stty size)\" = '33 77' ]; do sleep 0.05; done; echo resized-$?\n");
  await shows("resized-0");
  // Only this build's own addresses and processes are there.
  terminal.type("echo net-$(ip -o -4 addr show eth0 | wc -l)-$(ps | grep -c '[s]leep')\n");
  await shows("net-1-0");
  terminal.type("exit 3\n");
  expect(await terminal.exited).toBe(6);
  expect(terminal.output()).toContain("returned a non-zero code: 6");
  expect(terminal.output()).toContain("   8 | >>>   echo half > /out/made");
  const mounts = readFileSync("/proc/self/mountinfo", "utf8");
  expect(mounts.split("\n").filter((line) => line.includes(`${engine.execRoot}/build/`))).toEqual(
    [],
  );
  expect(readdirSync(join(engine.execRoot, "build"))).toEqual([]);
});

test("an image without a shell says so, and so does a client without a terminal", async () => {
  const none = entered('FROM busybox\nSHELL ["/gone/sh"]\nRUN ["false"]\n');
  await none.shows(`exec: "/gone/sh": stat /gone/sh: no such file or directory`);
  expect(await none.terminal.exited).toBe(1);
  const piped = await engine.naru(["build", "--on-fail", "shell", contextOf("FROM busybox\n")]);
  expect(piped).toMatchObject({ code: 1 });
  expect(piped.stderr).toContain("--on-fail shell needs a terminal");
});

test("a client that goes away ends the visit, whether it came in or not", async () => {
  const text = Buffer.from("FROM busybox\nRUN echo before; exit 1\n");
  const header = encodeTarHeader({ name: "Dockerfile", sizeBytes: text.length });
  const body = Buffer.concat([header, text, tarPadding(text.length), TAR_TRAILER]);
  const running = () => readdirSync(join(engine.execRoot, "build"));
  for (const isEntered of [false, true]) {
    const leave = new AbortController();
    const path = "/build?events=1&onfail=shell";
    const init = { method: "POST", body, signal: leave.signal };
    const answer = await fetch(`http://engine${path}`, { ...init, unix: engine.daemonSocket });
    let told = "";
    // Not a loop over the body: leaving one would cut the connection.
    const reader = answer.body?.getReader();
    while (!told.includes("naruShell")) {
      told += new TextDecoder().decode((await reader?.read())?.value);
    }
    const id = /"naruShell":\{"id":"([0-9a-f]+)"/.exec(told)?.[1] ?? "";
    expect(id).toHaveLength(64);
    const shell = `/build/shell/${id}?h=20&w=60`;
    if (isEntered) {
      const entering = engine.fetch(shell, { method: "POST", signal: leave.signal });
      expect((await entering).status).toBe(200);
      expect((await engine.fetch(shell, { method: "POST" })).status).toBe(409);
    }
    leave.abort();
    await eventually(() => expect(running()).toEqual([]));
    // The build takes its offer back when it has cleared up.
    const isOffered = async () =>
      (await engine.fetch(`/build/shell/${id}/resize?h=20&w=60`, { method: "POST" })).status !==
      404;
    await until(async () => !(await isOffered()));
    expect((await engine.fetch(shell, { method: "POST" })).status).toBe(404);
  }
});
