/**
 * The Dockerfiles that introductions to Docker show, on a real Debian, as they stand in articles/: apt-get, pip and
 * npm ci, then what the images are for. apt-get works twice in all: once for Python, once for Node.js.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";

import { type Engine, type Finished, run, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";

const ARTICLES = join(import.meta.dir, "articles");
const CLASSIC = { DOCKER_BUILDKIT: "0" };
const BUILD_MS = 240_000;

let engine: Engine;
let folder: string;

beforeAll(async () => {
  engine = await startEngine({ images: ["debian"] });
  folder = join(engine.root, "articles");
  const prepared = await run([join(ARTICLES, "prepare"), folder], { timeoutMs: 120_000 });
  if (prepared.code !== 0) throw new Error(prepared.stderr);
  await built(["-t", "debian", "debian"]);
}, 300_000);
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
}, 60_000);

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
  const url = `http://127.0.0.1:${port}/`;
  const retry = ["--retry", "100", "--retry-all-errors", "--retry-delay", "0"];
  const asked = await run(["curl", "-s", "--noproxy", "*", ...retry, "--max-time", "60", url]);
  if (asked.code !== 0) throw new Error(await engine.ok(["logs", id]));
  await engine.ok(["rm", "-f", id]);
  return asked.stdout;
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
