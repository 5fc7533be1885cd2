/**
 * The Dockerfiles that introductions to Docker show, on a real Debian, as they stand in articles/: apt-get, pip and
 * npm ci, then what the images are for. apt-get works twice in all: once for Python, once for Node.js.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, type Finished, run, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";
import { textAt } from "./until.ts";

const ARTICLES = join(import.meta.dir, "articles");
const CLASSIC = { DOCKER_BUILDKIT: "0" };
/** It installs from the Internet, on a machine that does other things as well. */
const BUILD_MS = 540_000;

let engine: Engine;
let folder: string;

beforeAll(async () => {
  engine = await startEngine({ images: ["debian"] });
  folder = join(engine.root, "articles");
  const prepared = await run([join(ARTICLES, "prepare"), folder]);
  if (prepared.code !== 0) throw new Error(prepared.stderr);
  await built(["-t", "debian", "debian"]);
}, BUILD_MS);
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

async function built(args: readonly string[]): Promise<Finished> {
  const context = join(folder, args.at(-1) ?? "");
  const words = args.slice(0, -1).map((word) => (word.includes("/") ? join(folder, word) : word));
  const finished = await engine.docker(["build", ...words, context], {
    env: CLASSIC,
    timeoutMs: BUILD_MS,
  });
  expect({ ...finished, stdout: finished.stdout.slice(-3000) }).toMatchObject({ code: 0 });
  return finished;
}

/** Runs an image with its port 80 published, and asks it as a person would. */
async function answerOf(image: string): Promise<string> {
  const port = freePorts();
  const id = await engine.ok(["run", "-d", "-p", `${port}:80`, image]);
  const answer = await textAt(`http://127.0.0.1:${port}/`);
  await engine.ok(["rm", "-f", id]);
  return answer;
}

test(
  "a Python application on Debian: apt-get, pip, and an answer at its published port",
  async () => {
    const { stdout } = await built(["-t", "my-app", "python-app"]);
    expect(stdout).toContain("Successfully installed greeting-1.0\n");
    expect(stdout).toContain("Successfully tagged my-app:latest\n");
    const listed = await engine.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    expect(listed.split("\n")).toContain("my-app:latest");
    expect(await answerOf("my-app")).toBe("Hello from Naru!");
  },
  BUILD_MS + 60_000,
);

test(
  "the same application on a python image that was built before",
  async () => {
    const base = await built(["-t", "python", "python"]);
    // Two instructions of another Dockerfile that read the same: nothing is installed twice.
    expect(base.stdout.match(/---> Using cache/g)).toHaveLength(2);
    await built(["-t", "my-app", "-f", "python-app/from-python.Dockerfile", "python-app"]);
    expect(await answerOf("my-app")).toBe("Hello from Naru!");
    const layers = (image: string) =>
      engine.ok(["image", "inspect", "-f", "{{json .RootFS.Layers}}", image]);
    const [app, python] = (await Promise.all(["my-app", "python"].map(layers))).map(
      (text): unknown[] => JSON.parse(text),
    );
    expect(app?.slice(0, python?.length)).toEqual(python ?? []);
  },
  BUILD_MS,
);

test(
  "a Node application in two stages: npm ci from the registry, then only what it needs to run",
  async () => {
    await built(["-t", "node", "node"]);
    const { stdout } = await built(["-t", "my-node-app", "node-app"]);
    expect(stdout).toMatch(/added 1 package/);
    expect(await answerOf("my-node-app")).toBe("A day has 86400000 milliseconds");
    const files = await engine.ok(["run", "--rm", "my-node-app", "ls", "/app"]);
    expect(files).toBe("dist\nnode_modules");
  },
  BUILD_MS + 60_000,
);

const ASK = [
  "use IO::Socket::UNIX;",
  "my $agent = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die qq{no agent: $!};",
  "syswrite $agent, pack('NC', 1, 11);",
  "sysread $agent, my $answer, 65536;",
  "print unpack('N', substr($answer, 5, 4)), ' ', join(' ', $answer =~ /key-\\w+/g), qq{\\n};",
].join(" ");

test("keys in files reach a step as an agent: for the user that the mount names, and no longer than the build", async () => {
  const keys = join(folder, "keys");
  mkdirSync(keys);
  for (const [type, name] of [
    ["ed25519", "one"],
    ["rsa", "two"],
  ] as const) {
    const made = ["ssh-keygen", "-q", "-t", type, "-N", "", "-C", `key-${name}`];
    expect((await run([...made, "-f", join(keys, name)])).code).toBe(0);
  }
  const context = join(folder, "ssh");
  mkdirSync(context);
  writeFileSync(join(context, "ask.pl"), ASK);
  const dockerfile = [
    "FROM debian",
    "COPY ask.pl /",
    "RUN --mount=type=ssh perl /ask.pl > /default",
    "USER daemon",
    "RUN --mount=type=ssh,id=both,uid=1,mode=0600,required perl /ask.pl > /tmp/both; ls -l $SSH_AUTH_SOCK >> /tmp/both",
    "RUN if perl /ask.pl; then exit 1; fi",
  ].join("\n");
  writeFileSync(join(context, "Dockerfile"), dockerfile);
  const one = join(keys, "one");
  const both = `both=${one},${join(keys, "two")}`;
  const args = ["build", "-t", "keys", "--ssh", `default=${one}`, "--ssh", both];
  const finished = await engine.naru([...args, context]);
  expect({ ...finished }).toMatchObject({ code: 0 });
  const seen = await engine.ok(["run", "--rm", "keys", "cat", "/default", "/tmp/both"]);
  expect(seen).toMatch(/^1 key-one\n2 key-one key-two\nsrw------- 1 daemon root /);
  expect(readdirSync("/tmp").filter((name) => name.startsWith("naru-ssh-"))).toEqual([]);
  const missing = await engine.naru(["build", "--no-cache", "--ssh", `default=${one}`, context]);
  expect(missing.stderr).toContain("unset ssh forward key both");
  const gone = await engine.naru(["build", "--ssh", "default=/gone/key", context]);
  expect(gone.stderr).toContain("failed to open /gone/key: no such file or directory");
  writeFileSync(join(keys, "bad"), "no key");
  chmodSync(join(keys, "bad"), 0o600);
  const bad = await engine.naru(["build", "--ssh", `default=${join(keys, "bad")}`, context]);
  expect(bad.stderr).toContain(`failed to parse ${join(keys, "bad")}`);
});
