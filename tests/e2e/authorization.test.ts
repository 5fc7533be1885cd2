/** `--authorization-plugin`: a program of the operator that is asked about every request and every answer. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";
import { until } from "./until.ts";

interface Question {
  readonly RequestMethod: string;
  readonly RequestUri: string;
  readonly RequestHeaders: Record<string, string>;
  readonly RequestBody?: string;
  readonly ResponseStatusCode?: number;
  readonly ResponseBody?: string;
}

const SPECS = "/etc/docker/plugins";
const name = `naru-test-${crypto.randomUUID().slice(0, 8)}`;
const asked: Question[] = [];
let refuses: (question: Question) => string | null = () => null;
let server: Bun.Server<undefined>;
let engine: Engine;
/** The first of the folders that were not there. */
let made: string | undefined;

const configure = (...plugins: string[]) =>
  writeFileSync(
    join(engine.root, "daemon.json"),
    JSON.stringify({ "authorization-plugins": plugins }),
  );

const text = (base64 = ""): string => Buffer.from(base64, "base64").toString();

beforeAll(async () => {
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/Plugin.Activate") return Response.json({ Implements: ["authz"] });
      const question = (await request.json()) as Question;
      asked.push(question);
      const why = refuses(question);
      return Response.json(why === null ? { Allow: true } : { Allow: false, Msg: why });
    },
  });
  made = mkdirSync(SPECS, { recursive: true });
  writeFileSync(join(SPECS, `${name}.spec`), `tcp://127.0.0.1:${server.port}\n`);
  engine = await startEngine();
  configure(name);
  process.kill(engine.daemonPid, "SIGHUP");
  const plugins = ["info", "-f", "{{json .Plugins.Authorization}}"];
  await until(async () => (await engine.ok(plugins)) === `["${name}"]`);
}, 120_000);

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
  await server.stop(true);
  rmSync(join(SPECS, `${name}.spec`), { force: true });
  if (made !== undefined) rmSync(made, { recursive: true });
});

test("what it allows works as ever, streams and terminals too, and it sees requests and answers", async () => {
  asked.length = 0;
  expect(await engine.ok(["run", "--rm", "-i", "busybox", "cat"], { stdin: "in and out" })).toBe(
    "in and out",
  );
  const [question, answer] = asked.filter(({ RequestUri: uri }) => uri.includes("/create"));
  expect(question).toMatchObject({ RequestMethod: "POST" });
  expect(JSON.parse(text(question?.RequestBody))).toMatchObject({ Image: "busybox" });
  expect(question?.RequestHeaders["Content-Type"]).toBe("application/json");
  expect(answer?.ResponseStatusCode).toBe(201);
  expect(JSON.parse(text(answer?.ResponseBody))).toHaveProperty("Id");
  const id = await engine.ok(["run", "-d", "busybox", "sleep", "1000"]);
  expect(await engine.ok(["exec", "-i", id, "cat"], { stdin: "into exec" })).toBe("into exec");
  expect((await engine.naru(["exec", id, "echo", "of naru"])).stdout).toBe("of naru\n");
  const file = join(engine.root, "file");
  writeFileSync(file, "copied\n");
  await engine.ok(["cp", file, `${id}:/file`]);
  expect(await engine.ok(["exec", id, "cat", "/file"])).toBe("copied");
  const folder = join(engine.root, "context");
  mkdirSync(folder);
  writeFileSync(join(folder, "Dockerfile"), "FROM busybox\nRUN echo built > /built\n");
  await engine.ok(["build", "-t", "built", folder], { env: { DOCKER_BUILDKIT: "0" } });
  expect((await engine.naru(["build", "-q", folder])).code).toBe(0);
  await engine.ok(["rm", "-f", id]);
});

test("what it refuses does not happen, and is told in its words", async () => {
  refuses = ({ RequestUri: uri, RequestBody: body }) =>
    uri.includes("/containers/create") && text(body).includes('"Privileged":true')
      ? "no privileges"
      : null;
  const privileged = await engine.docker([
    "create",
    "--name",
    "strong",
    "--privileged",
    "busybox",
    "true",
  ]);
  expect(privileged.code).toBe(1);
  expect(privileged.stderr).toContain(`authorization denied by plugin ${name}: no privileges`);
  // A body is never too large to be looked at.
  const padding = "x".repeat(1_500_000);
  const answer = await engine.fetch("/v1.51/containers/create?name=strong", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: `{"Image":"busybox","Labels":{"a":"${padding}"},"HostConfig":{"Privileged":true}}`,
  });
  expect(answer.status).toBe(403);
  // An archive that calls itself JSON is shown as that, and read all the same.
  const mislabelled = await engine.fetch("/v1.51/images/load", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  expect(await mislabelled.text()).toContain("rror");
  expect(await engine.ok(["ps", "-aq", "--filter", "name=strong"])).toBe("");
  await engine.ok(["create", "--name", "weak", "busybox", "true"]);
  refuses = ({ RequestUri: uri, ResponseStatusCode: status }) =>
    status === 200 && uri.includes("/containers/weak/json") ? "secret" : null;
  const hidden = await engine.docker(["inspect", "--type", "container", "weak"]);
  expect(hidden.stderr).toContain(`authorization denied by plugin ${name}: secret`);
  expect(hidden.stdout).not.toContain("busybox");
  refuses = () => null;
  await engine.ok(["rm", "weak"]);
});

test("an engine whose plugin is not there does not start", async () => {
  await engine.killDaemon();
  configure(name, "naru-test-nosuch");
  const said = await engine.tryDaemon([]);
  expect(said).toContain(
    "Error validating authorization plugin: could not find plugin naru-test-nosuch in v1 plugin registry: plugin not found",
  );
  writeFileSync(join(engine.root, "daemon.json"), "{}");
  await engine.startDaemon(undefined, ["--authorization-plugin", name]);
  asked.length = 0;
  expect(await engine.ok(["ps", "-q"])).toBe("");
  expect(asked.some(({ RequestUri: uri }) => uri.includes("/containers/json"))).toBe(true);
});
