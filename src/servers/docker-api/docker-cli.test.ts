/** The real docker CLI against this server, with an engine whose programs are written in the test. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

import { type ApiServer, createApiServer } from "./index.ts";
import { type FakeEngine, fakeEngine } from "./testing/fake-engine.ts";

let folder: string;
let socket: string;
let engine: FakeEngine;
let server: ApiServer;

beforeAll(async () => {
  folder = mkdtempSync("/tmp/naru-test-api-");
  socket = join(folder, "docker.sock");
  engine = fakeEngine();
  server = createApiServer(engine);
  await server.listen({ path: socket });
});

afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

async function docker(
  words: readonly string[],
  stdin: string | Uint8Array = "",
): Promise<{ code: number; stdout: string; stderr: string }> {
  const process = Bun.spawn(["docker", ...words], {
    env: { PATH: Bun.env["PATH"] ?? "", HOME: folder, DOCKER_HOST: `unix://${socket}` },
    stdin: typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin,
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([
    new Response(process.stdout).text(),
    new Response(process.stderr).text(),
  ]);
  return { code: await process.exited, stdout, stderr };
}

test("run prints both streams apart and passes the exit code on", async () => {
  expect(await docker(["run", "--rm", "busybox", "both"])).toEqual({
    code: 3,
    stdout: "to stdout\n",
    stderr: "to stderr\n",
  });
  expect(await docker(["run", "--rm", "busybox", "echo", "hello", "world"])).toEqual({
    code: 0,
    stdout: "hello world\n",
    stderr: "",
  });
});

test("run -i carries stdin, and its end is end of file while the output goes on", async () => {
  const input = "x".repeat(3_000_000);
  expect((await docker(["run", "--rm", "-i", "busybox", "cat"], input)).stdout).toBe(input);
  expect(await docker(["run", "--rm", "-i", "busybox", "wc"], input)).toMatchObject({
    code: 0,
    stdout: "3000000\n",
  });
});

test("run of an image or a program that is not there says so, with Docker's exit codes", async () => {
  const program = await docker(["run", "--rm", "busybox", "nosuch"]);
  expect(program.code).toBe(127);
  expect(program.stderr).toContain("executable file not found in $PATH");
  const image = await docker(["run", "--pull=never", "nosuch", "true"]);
  expect(image).toMatchObject({ code: 125 });
  expect(image.stderr).toContain("No such image: nosuch:latest");
});

test("a container's life: run -d, ps, exec, logs, inspect, top, stop, rm", async () => {
  expect(
    (await docker(["run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sleep"])).code,
  ).toBe(0);
  const ps = await docker([
    "ps",
    "--format",
    "{{.Names}}|{{.Image}}|{{.Command}}|{{.State}}|{{.Status}}",
  ]);
  expect(ps.stdout).toMatch(/^web\|busybox\|"sleep"\|running\|Up (Less than a second|1 second)\n$/);
  expect(engine.containers.created.at(-1)?.host.ports).toEqual([
    { containerPort: 80, protocol: "tcp", hostAddress: "", hostPort: 8080 },
  ]);

  expect(await docker(["exec", "web", "both"])).toMatchObject({
    code: 3,
    stdout: "to stdout\n",
    stderr: "to stderr\n",
  });
  expect(await docker(["exec", "-i", "web", "cat"], "typed")).toMatchObject({ stdout: "typed" });
  const missing = await docker(["exec", "web", "nosuch"]);
  expect(missing.code).toBe(127);
  expect(missing.stdout).toContain("executable file not found");
  expect((await docker(["exec", "-d", "web", "true"])).code).toBe(0);

  const inspect = await docker([
    "inspect",
    "web",
    "--format",
    "{{.State.Status}} {{.Config.Image}} {{.HostConfig.NetworkMode}} {{json .HostConfig.PortBindings}}",
  ]);
  expect(inspect.stdout).toBe(
    'running busybox bridge {"80/tcp":[{"HostIp":"","HostPort":"8080"}]}\n',
  );
  expect((await docker(["top", "web"])).stdout).toContain("sleep");
  expect((await docker(["pause", "web"])).code).toBe(0);
  expect((await docker(["ps", "--format", "{{.Status}}"])).stdout).toContain("(Paused)");
  expect((await docker(["exec", "web", "true"])).stderr).toContain(
    "Container web is paused, unpause the container before exec",
  );
  expect((await docker(["stop", "web"])).stdout).toBe("web\n");
  expect((await docker(["ps", "-a", "--format", "{{.Status}}"])).stdout).toContain("Exited (137)");
  expect((await docker(["rename", "web", "site"])).code).toBe(0);
  expect((await docker(["rm", "site"])).stdout).toBe("site\n");
  expect((await docker(["inspect", "site"])).stderr).toContain("No such object: site");
});

test("logs are read back, apart, and attach follows a container that runs", async () => {
  await docker(["run", "--name", "said", "busybox", "both"]);
  expect(await docker(["logs", "said"])).toEqual({
    code: 0,
    stdout: "to stdout\n",
    stderr: "to stderr\n",
  });
  await docker(["create", "--name", "later", "-i", "busybox", "cat"]);
  expect(await docker(["start", "-ai", "later"], "hello")).toMatchObject({
    code: 0,
    stdout: "hello",
  });
});

test("a megabytes long output arrives whole", async () => {
  const { stdout } = await docker(["run", "--rm", "busybox", "flood", "20"]);
  expect(stdout.length).toBe(20 * 1024 * 1024);
});

test("images: list, inspect, history, tag, pull, load, save, import, remove", async () => {
  expect((await docker(["images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}"])).stdout).toBe(
    "busybox:latest 4.26MB\n",
  );
  expect(
    (await docker(["image", "inspect", "busybox", "--format", "{{.Os}}/{{.Architecture}}"])).stdout,
  ).toBe("linux/amd64\n");
  expect((await docker(["history", "-q", "busybox"])).stdout).toContain("<missing>");
  expect((await docker(["tag", "busybox", "localhost:5000/a/b:1"])).code).toBe(0);
  expect((await docker(["pull", "busybox"])).stdout).toContain("Downloaded newer image");
  const denied = await docker(["pull", "denied"]);
  expect(denied).toMatchObject({ code: 1 });
  expect(denied.stderr).toContain("pull access denied");
  expect((await docker(["pull", "half"])).stderr).toContain("layer 2 of 5: digest mismatch");
  const archive = new Uint8Array(5_000_000);
  expect((await docker(["load"], archive)).stdout).toContain("Loaded image: busybox:latest");
  expect(engine.loaded.at(-1)).toBe(5_000_000);
  expect((await docker(["save", "busybox"])).stdout).toBe("tar bytes");
  expect((await docker(["save", "absent"])).stderr).toContain("No such image: absent");
  const imported = await docker(["import", "--change", 'CMD ["sh"]', "-", "made:1"], "tar");
  expect(imported.stdout).toStartWith("sha256:");
  expect((await docker(["rmi", "busybox"])).stdout).toContain(
    "Untagged: busybox:latest\nDeleted: sha256:",
  );
});

test("version, info, networks and events are what docker expects", async () => {
  expect(
    (await docker(["version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}"])).stdout,
  ).toBe("0.1.0 1.51\n");
  const info = await docker(["info"]);
  expect(info.stdout).toContain("Server Version: 0.1.0");
  expect(info.stdout).toContain("registry.local:5000");
  expect((await docker(["network", "ls", "--format", "{{.Name}}"])).stdout).toBe(
    "bridge\nhost\nnone\n",
  );
  expect((await docker(["network", "inspect", "bridge"])).stdout).toContain("172.18.0.0/16");
  expect((await docker(["network", "rm", "bridge"])).stderr).toContain("pre-defined network");
  const until = String(Math.trunc(Date.now() / 1000) + 1);
  const events = await docker([
    "events",
    "--since",
    "1",
    "--until",
    until,
    "--filter",
    "event=die",
  ]);
  expect(events.stdout).toContain("container die");
  expect((await docker(["volume", "create", "data"])).stdout).toBe("data\n");
  expect((await docker(["volume", "ls", "-q"])).stdout).toBe("data\n");
  expect((await docker(["volume", "rm", "gone"])).stderr).toContain("get gone: no such volume");
});

test("login takes the right password only", async () => {
  const login = (password: string) =>
    docker(["login", "-u", "captain", "--password-stdin", "localhost:5000"], password);
  expect(await login("wrong")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("login attempt failed with status: 401 Unauthorized"),
  });
  expect(await login("right")).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("Login Succeeded"),
  });
});
