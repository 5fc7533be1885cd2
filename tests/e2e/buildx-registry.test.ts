/** Builds of an older buildx and compose, with a registry that wants a password, known to the client only. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { writeContext } from "./build-context.ts";
import { addBuildx, buildx, built } from "./buildx.ts";
import { type Engine, startEngine } from "./engine.ts";
import { type Registry, startRegistry } from "./registry.ts";

let engine: Engine;
let registry: Registry;

beforeAll(async () => {
  engine = await startEngine();
  addBuildx(engine, "older");
  const hash = Bun.password.hashSync("secret", { algorithm: "bcrypt", cost: 4 });
  registry = await startRegistry(engine.root, { htpasswd: `user:${hash.replace("$2b$", "$2y$")}` });
}, 60_000);
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await registry[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
}, 60_000);

const contextOf = (files: Record<string, string>): string => writeContext(engine, files);

test("an image is pushed, and a private one is built on, with the client's password", async () => {
  const base = `${registry.host}/base:1`;
  const context = contextOf({ Dockerfile: "FROM busybox\nRUN echo base > /base\n" });
  const args = ["-t", base, "--output=type=image,push=true", context];
  expect((await buildx(engine, args)).code).toBe(1);
  await engine.ok(["login", "-u", "user", "--password-stdin", registry.host], { stdin: "secret" });
  expect(await built(engine, args)).toContain(`pushing ${base} with docker`);
  await engine.ok(["rmi", base]);
  const upper = contextOf({ Dockerfile: `FROM ${base}\nRUN cat /base > /upper\n` });
  expect(await built(engine, ["-t", "upper", upper])).toContain(`[1/2] FROM ${base}`);
  expect(await engine.ok(["run", "--rm", "--network", "none", "upper", "cat", "/upper"])).toBe(
    "base",
  );
  await engine.ok(["logout", registry.host]);
  await engine.ok(["rmi", "upper", base]);
  const refused = await buildx(engine, ["--no-cache", upper]);
  expect(refused.stderr).toContain("   1 | >>> FROM ");
  expect(refused.code).toBe(1);
}, 90_000);

test("compose builds its services, and runs them", async () => {
  const context = contextOf({
    "compose.yaml": [
      "name: built",
      "services:",
      "  web:",
      "    build: { context: ., target: web, args: { WHO: compose } }",
      "    image: built-web",
      "    network_mode: none",
      "  other:",
      "    build:",
      "      context: .",
      "      dockerfile_inline: |",
      "        FROM busybox",
      "        COPY said /said",
      "        CMD cat /said",
      "    network_mode: none",
    ].join("\n"),
    Dockerfile: [
      "# syntax=docker/dockerfile:1",
      "FROM busybox AS one",
      "ARG WHO",
      "RUN echo made by $WHO > /who",
      "FROM one AS web",
      "CMD cat /who",
      "FROM one AS bad",
      "RUN exit 1",
    ].join("\n"),
    said: "said\n",
  });
  const compose = ["compose", "--progress", "plain", "--project-directory", context];
  const options = { timeoutMs: 90_000 };
  const made = await engine.docker([...compose, "build"], options);
  expect(made.stdout + made.stderr).toContain("[web one 2/2] RUN echo made by $WHO > /who");
  expect(made.code).toBe(0);
  const run = await engine.docker([...compose, "up", "--no-log-prefix"], options);
  expect(run.stdout).toContain("made by compose");
  expect(run.stdout).toContain("said");
  await engine.ok([...compose, "down"], options);
}, 90_000);
