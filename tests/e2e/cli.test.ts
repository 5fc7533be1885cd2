/** The naru command line: the same commands and the same output as docker's, on the same engine. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { comparable, flagSentences, prepare, stepsOf } from "./cli-compare.ts";
import { HELP, OURS, SAME } from "./cli-table.ts";
import { type Engine, NARU, run, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";

let engine: Engine;
const port = freePorts();
/** The newest that this docker speaks. */
let dockerApi: string;
beforeAll(async () => {
  engine = await startEngine();
  dockerApi = await engine.ok(["version", "-f", "{{.Client.APIVersion}}"]);
  await prepare(engine, port);
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
});

/** Runs the steps of a line with one of the programs. */
async function answers(program: "docker" | "naru", line: string) {
  const found: ReturnType<typeof comparable>[] = [];
  // Lists of images count containers since API 1.51: both ask as docker does.
  const env: Record<string, string> = line.startsWith("images")
    ? { DOCKER_API_VERSION: dockerApi }
    : {};
  for (const step of stepsOf(line.replaceAll("PORT", String(port)))) {
    found.push(comparable(await engine[program](step, { env }), line.includes(" ; ")));
  }
  return found;
}

const READS =
  /^(?:\w+ )?(?:ps|images|inspect|history|ls|list|info|version|df|port|logs|diff|search|top)\b/;

describe("the same as docker", () => {
  for (const [group, lines] of Object.entries(SAME)) {
    describe(group, () => {
      test.each([...lines])("%s", async (line) => {
        // What only reads needs no turn of its own.
        const both = READS.test(line) && !line.includes(" ; ");
        const theirs = answers("docker", line);
        if (!both) await theirs;
        const ours = answers("naru", line);
        expect(await ours).toEqual(await theirs);
      });
    });
  }
});

describe("the same help as docker's", () => {
  test.each([...HELP])("%s", async (name) => {
    const words = [...name.split(" "), "--help"];
    const [docker, naru] = await Promise.all([engine.docker(words), engine.naru(words)]);
    const theirs = flagSentences(docker.stdout);
    const ours = flagSentences(naru.stdout);
    expect(naru.code).toBe(0);
    expect(theirs.filter((sentence) => !ours.includes(sentence))).toEqual([]);
    // What naru has and docker has not.
    const more = ours.filter((sentence) => !theirs.includes(sentence));
    expect(more.filter((sentence) => !OURS.some((own) => sentence.includes(own)))).toEqual([]);
  });
});

test("a context that one exports the other imports", async () => {
  const directory = join(engine.root, "contexts");
  mkdirSync(directory);
  for (const [from, to] of [
    ["docker", "naru"],
    ["naru", "docker"],
  ] as const) {
    const file = join(directory, `${from}.tar`);
    const copy = `${to}-copy`;
    await engine[from](["context", "create", from, "--docker", "host=tcp://far.invalid:1"]);
    expect((await engine[from](["context", "export", from, file])).code).toBe(0);
    expect((await engine[to](["context", "import", copy, file])).stdout).toBe(`${copy}\n`);
    const format = ["--format", "{{json .Endpoints}} {{json .TLSMaterial}}"];
    const original = await engine.docker(["context", "inspect", from, ...format]);
    expect((await engine.docker(["context", "inspect", copy, ...format])).stdout).toBe(
      original.stdout,
    );
  }
});

test("a context comes from a zip as well, with its TLS files, and nothing else comes with it", async () => {
  const script = `
import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as z:
    z.writestr("meta.json", json.dumps({"Name": "x", "Metadata": {"Description": "far"},
      "Endpoints": {"docker": {"Host": "tcp://far.invalid:1", "SkipTLSVerify": True}}}))
    z.writestr(zipfile.ZipInfo("tls/"), "")
    z.writestr("tls/docker/ca.pem", "A" * 100000, zipfile.ZIP_STORED if len(sys.argv) > 2 else None)
    if len(sys.argv) > 2: z.writestr("../evil", "x")
`;
  const [good, bad] = [join(engine.root, "good.zip"), join(engine.root, "bad.zip")];
  expect((await run(["python3", "-c", script, good])).code).toBe(0);
  expect((await run(["python3", "-c", script, bad, "more"])).code).toBe(0);
  writeFileSync(join(engine.root, "cut.zip"), readFileSync(good).subarray(0, 400));
  for (const file of ["good.zip", "bad.zip", "cut.zip"]) {
    const said: unknown[] = [];
    const kept: unknown[] = [];
    for (const program of ["docker", "naru"] as const) {
      const words = ["context", "import", "zipped", join(engine.root, file)];
      said.push(comparable(await engine[program](words)));
      kept.push(comparable(await engine[program](["context", "inspect", "zipped"])));
      await engine[program](["context", "rm", "-f", "zipped"]);
    }
    expect(said[1]).toEqual(said[0]);
    // Docker keeps half of a context that it refuses.
    if (file === "good.zip") expect(kept[1]).toEqual(kept[0]);
    else expect(kept[1]).toMatchObject({ code: 1 });
  }
});

test("stdin is passed to run and exec", async () => {
  expect(
    (
      await engine.naru(["run", "--rm", "-i", "busybox", "wc", "-c"], { stdin: "12345" })
    ).stdout.trim(),
  ).toBe("5");
  expect((await engine.naru(["exec", "-i", "web", "cat"], { stdin: "x\n" })).stdout).toBe("x\n");
});

test("--use-api-socket: the container has its engine's socket, and its maker's credentials for itself alone", async () => {
  const config = join(engine.root, "with-login");
  mkdirSync(config);
  const auths = { "registry.invalid": { auth: Buffer.from("me:secret").toString("base64") } };
  writeFileSync(join(config, "config.json"), JSON.stringify({ auths, credHelpers: {} }));
  const look =
    "test -S /var/run/docker.sock && stat -c %a:%u $DOCKER_CONFIG/config.json && cat $DOCKER_CONFIG/config.json";
  const words = ["run", "--rm", "--use-api-socket"];
  const done = await engine.naru([...words, "busybox", "sh", "-c", look], {
    env: { DOCKER_CONFIG: config },
  });
  expect(done.stderr).toBe("");
  const [mode, ...json] = done.stdout.split("\n");
  expect(mode).toBe("600:0");
  expect(JSON.parse(json.join("\n"))).toEqual({ auths });
  // Without a login nothing is put there, and a configuration of one's own is left alone.
  const bare = 'test -S /var/run/docker.sock && echo "$DOCKER_CONFIG" && ! test -e /run/secrets';
  expect((await engine.naru([...words, "busybox", "sh", "-c", bare])).stdout).toBe("\n");
  const own = await engine.naru(
    [...words, "-e", "DOCKER_CONFIG=/mine", "busybox", "sh", "-c", bare],
    { env: { DOCKER_CONFIG: config } },
  );
  expect([own.stdout, own.stderr]).toEqual(["/mine\n", ""]);
});

test("a mistyped command gets a suggestion and is not run", async () => {
  const done = await engine.naru(["imagse"]);
  expect(done.code).toBe(1);
  expect(done.stderr).toContain("images");
});

test("--explain prints the plan of system calls", async () => {
  const before = await engine.ok(["ps", "-aq"]);
  const done = await engine.naru(["run", "--explain", "busybox", "true"]);
  expect(done.code).toBe(0);
  for (const call of ["clone", "pivot_root", "capset", "seccomp", "execve"])
    expect(done.stdout).toContain(call);
  expect(await engine.ok(["ps", "-aq"])).toBe(before);
});

test("completion is offered for every shell, with live names", async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const done = await engine.naru(["completion", shell]);
    expect(done.code).toBe(0);
    expect(done.stdout).toContain("__complete");
  }
  const env = { DOCKER_HOST: `unix://${engine.socket}` };
  expect((await run([NARU, "__complete", "stop", ""], { env })).stdout).toContain("web");
});

test("an engine that is not there is named with the fix", async () => {
  const done = await run([NARU, "-H", "unix:///tmp/naru-no-such.sock", "ps"]);
  expect(done.code).toBe(1);
  expect(done.stderr).toContain("unix:///tmp/naru-no-such.sock");
});
