/** The engine from afar: `ssh://` by both clients, each through the other's dial-stdio, and contexts. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, type Finished, NARU, run, startEngine } from "./engine.ts";

let engine: Engine;
let binaries: string;

beforeAll(async () => {
  engine = await startEngine();
  binaries = join(engine.root, "bin");
  mkdirSync(binaries);
  // What sshd does with the words behind the host: the user's shell runs them.
  writeFileSync(
    join(binaries, "ssh"),
    `#!/bin/sh\nprintf '%s\\n' "$*" >>"${engine.root}/ssh.log"\n` +
      `while [ "$1" != -- ]; do shift; done\nshift\n` +
      `[ "$1" = nowhere ] && { echo "ssh: Could not resolve hostname nowhere" >&2; exit 255; }\n` +
      `shift\nunset DOCKER_CONTEXT\nDOCKER_HOST=unix://${engine.socket} exec sh -c "$*"\n`,
  );
  chmodSync(join(binaries, "ssh"), 0o755);
});

afterAll(async () => {
  await engine?.[Symbol.asyncDispose]();
});

const far = (program: string, words: readonly string[], stdin?: string): Promise<Finished> =>
  run([program, ...words], {
    env: {
      PATH: `${binaries}:${process.env["PATH"] ?? ""}`,
      DOCKER_CONFIG: join(engine.root, "client"),
    },
    ...(stdin === undefined ? {} : { stdin }),
  });

test("docker and naru reach the engine by ssh://, whichever client is over there", async () => {
  const check = async (program: string) => {
    const at = ["-H", "ssh://captain@harbour:2222"];
    const echoed = await far(program, [...at, "run", "--rm", "-i", "busybox", "cat"], "ahoy");
    expect({ program, ...echoed }).toMatchObject({ program, code: 0, stdout: "ahoy" });
    const listed = await far(program, [...at, "images", "--format", "{{.Repository}}"]);
    expect({ program, ...listed }).toMatchObject({ code: 0, stdout: "busybox\n" });
  };
  await check(NARU);
  symlinkSync(NARU, join(binaries, "naru"));
  await check(NARU);
  // docker's client runs `docker system dial-stdio` over there: here that docker is naru.
  symlinkSync(NARU, join(binaries, "docker"));
  const docker = Bun.which("docker", { PATH: process.env["PATH"] ?? "" }) ?? "docker";
  await check(docker);
  expect(readFileSync(join(engine.root, "ssh.log"), "utf8")).toContain("-l captain -p 2222");
});

test("what ssh says when it cannot get there is told", async () => {
  const lost = await far(NARU, ["-H", "ssh://nowhere", "ps"]);
  expect(lost.code).toBe(1);
  expect(lost.stderr).toContain("has exited with exit status 255");
  expect(lost.stderr).toContain("Could not resolve hostname nowhere");
  for (const host of ["ssh://-oProxyCommand=touch", "ssh://me:pass@h"]) {
    const refused = await far(NARU, ["-H", host, "ps"]);
    expect(refused.stderr).toContain("ssh host connection is not valid");
  }
});

test("a context leads to the same engine", async () => {
  const made = await far(NARU, ["context", "create", "far", "--docker", "host=ssh://harbour"]);
  expect(made.code).toBe(0);
  const info = await far(NARU, [
    "--context",
    "far",
    "info",
    "--format",
    "{{.Name}} {{.ClientInfo.Context}}",
  ]);
  expect(info.stdout).toBe(`${(await engine.ok(["info", "-f", "{{.Name}}"])).trim()} far\n`);
  expect((await far(NARU, ["context", "rm", "far"])).code).toBe(0);
});
