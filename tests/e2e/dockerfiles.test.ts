/**
 * A corpus of Dockerfiles in the shapes that people write: each is built by the docker CLI and by `naru build`, which
 * must agree on the image, and the image must do what the file's last lines say:
 *
 *   # args: …     more words of the command line
 *   # run: …      a command for `sh -c`; else the image's own is run
 *   # expect: …   one line of what it prints
 *   # fails: …    the build fails with a sentence that holds this
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";

const FOLDER = join(import.meta.dir, "dockerfiles");
const CONTEXT = join(FOLDER, "context");

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const names = readdirSync(FOLDER).filter((name) => name.endsWith(".Dockerfile"));

test.each(names.toSorted())("%s", async (name) => {
  const path = join(FOLDER, name);
  const text = readFileSync(path, "utf8");
  const said = (key: string) =>
    [...text.matchAll(new RegExp(`^# ${key}:(?: (.*))?$`, "gm"))].map(([, value]) => value ?? "");
  const words = said("args").flatMap((args) => args.split(" "));
  const tag = name.replace(".Dockerfile", "");
  const args = ["build", ...words, "-t", tag, "-f", path, CONTEXT];
  const docker = await engine.docker(args, { env: { DOCKER_BUILDKIT: "0" } });
  const naru = await engine.naru([...args.slice(0, -1), "-q", CONTEXT]);
  const [sentence] = said("fails");
  if (sentence !== undefined) {
    expect(docker.stderr).toContain(sentence);
    expect(naru.stderr).toContain(sentence);
    expect([docker.code === 0, naru.code === 0]).toEqual([false, false]);
    return;
  }
  if (docker.code !== 0) throw new Error(docker.stdout + docker.stderr);
  // Every step comes from the cache that the docker CLI has filled: both have sent the same context.
  expect([naru.code, naru.stderr]).toEqual([0, ""]);
  expect(docker.stdout).toContain(`Successfully built ${naru.stdout.slice(7, 19)}\n`);
  const [command] = said("run");
  const entry = command === undefined ? [] : ["--entrypoint", "/bin/busybox"];
  const rest = command === undefined ? [] : ["sh", "-c", command];
  const shown = await engine.ok(["run", "--rm", "--network", "none", ...entry, tag, ...rest]);
  expect(shown).toBe(said("expect").join("\n"));
});
