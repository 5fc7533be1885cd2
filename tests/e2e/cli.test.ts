/** The naru command line: the same commands and the same output as docker's, on the same engine. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { type Engine, NARU, run, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
  await engine.ok([
    "run",
    "-d",
    "--name",
    "web",
    "--label",
    "tier=front",
    "-p",
    `${freePorts()}:80`,
    "busybox",
    "sleep",
    "10000",
  ]);
  await engine
    .ok(["run", "--name", "done", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3"])
    .catch(() => "");
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
});

const SAME: readonly (readonly string[])[] = [
  ["ps"],
  ["ps", "-a"],
  ["ps", "-aq"],
  ["ps", "-a", "--no-trunc"],
  ["ps", "-a", "--format", "{{.Names}}: {{.Image}} {{.Ports}}"],
  ["ps", "-a", "--format", "table {{.ID}}\t{{.Names}}"],
  ["ps", "--filter", "label=tier=front", "--format", "{{.Labels}}"],
  ["ps", "--filter", "nonsense=1"],
  ["container", "ls", "-n", "1"],
  ["images"],
  ["images", "-q", "--no-trunc"],
  ["images", "--digests"],
  ["image", "ls", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}"],
  ["history", "busybox", "--no-trunc"],
  ["inspect", "web"],
  ["inspect", "-f", "{{.State.Status}} {{json .Config.Cmd}}", "web"],
  ["inspect", "-f", "{{range .Mounts}}x{{else}}none{{end}}", "web"],
  [
    "inspect",
    "-f",
    "{{range $k, $v := .NetworkSettings.Ports}}{{$k}}={{(index $v 0).HostPort}}{{end}}",
    "web",
  ],
  ["inspect", "nosuch"],
  ["image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", "busybox"],
  ["port", "web"],
  ["port", "web", "80"],
  ["logs", "done"],
  ["logs", "-n", "1", "done"],
  ["wait", "done"],
  ["rm", "web"],
  ["rm", "nosuch"],
  ["rmi", "nosuch"],
  ["tag", "busybox", "BAD"],
  ["stop", "nosuch"],
  ["exec", "web", "sh", "-c", "echo a; echo b >&2; exit 5"],
  ["exec", "nosuch", "true"],
  ["run", "--rm", "busybox", "sh", "-c", "exit 9"],
  ["run", "--rm", "busybox", "nosuchprogram"],
  ["run", "--rm", "-e", "A=1", "-w", "/tmp", "busybox", "sh", "-c", "echo $A; pwd"],
  ["version", "--format", "{{.Server.APIVersion}}"],
  ["info", "--format", "{{.OSType}} {{.Architecture}}"],
];

describe("the same as docker", () => {
  for (const args of SAME) {
    test(args.join(" "), async () => {
      const docker = await engine.docker(args);
      const naru = await engine.naru(args);
      const plain = (text: string) =>
        text
          .replaceAll(/\b[Dd]ocker\b/g, "naru")
          .replaceAll(/\d+ seconds?( ago)?/g, "N")
          .replaceAll(/(Less than|About) a \w+( ago)?/g, "N")
          // A column is as wide as its longest time.
          .replaceAll(/ +/g, " ");
      expect({ code: naru.code, stdout: plain(naru.stdout), stderr: plain(naru.stderr) }).toEqual({
        code: docker.code,
        stdout: plain(docker.stdout),
        stderr: plain(docker.stderr),
      });
    });
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

test("a mistyped command gets a suggestion and is not run", async () => {
  const done = await engine.naru(["imagse"]);
  expect(done.code).toBe(1);
  expect(done.stderr).toContain("images");
});

test("--explain prints the plan of system calls", async () => {
  const done = await engine.naru(["run", "--explain", "busybox", "true"]);
  expect(done.code).toBe(0);
  for (const call of ["clone", "pivot_root", "capset", "seccomp", "execve"])
    expect(done.stdout).toContain(call);
  expect(await engine.ok(["ps", "-aq", "--filter", "status=created"])).toBe("");
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
