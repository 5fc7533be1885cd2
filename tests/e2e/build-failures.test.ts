/** Builds that fail: every client shows the lines of the Dockerfile and points at the fault, and says what went wrong last. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { writeContext } from "./build-context.ts";
import { type Engine, type Finished, NARU, startEngine } from "./engine.ts";
import { runOnTerminal } from "./pty.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
}, 60_000);
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
}, 60_000);

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
    sentence: "circular dependency detected on stage: b",
    excerpt: ["   1 |     FROM busybox AS a", "   2 |     COPY --from=b / /"]
      .concat("   3 | >>> FROM busybox AS b")
      .concat("   4 |     COPY --from=a / /", "   5 |     "),
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
  60_000,
);

test("every way of showing progress ends with the last lines of the command, its place and the error", async () => {
  const folder = contextOf(
    "FROM busybox\nRUN for n in $(seq 40); do echo line-$n; done; echo to stderr >&2; exit 9\n",
  );
  for (const mode of ["plain", "quiet"]) {
    const { code, stderr, stdout } = await engine.naru(["build", `--progress=${mode}`, folder]);
    expect([mode, code, stdout]).toEqual([mode, 9, ""]);
    const end = stderr.slice(stderr.indexOf("------\n > [0 2/2] RUN for n in"));
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
  expect(drawn).toContain("=> ERROR [0 2/2] RUN for n in");
  expect(drawn).toContain("line-40\nto stderr\n------\nDockerfile:2\n");
  expect(drawn).toContain("   2 | >>> RUN for n in");
  expect(drawn).toEndWith("returned a non-zero code: 9\n");
}, 60_000);

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
}, 60_000);
