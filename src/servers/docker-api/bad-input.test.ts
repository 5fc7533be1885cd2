/** What strangers may send: always an answer of 400 and something, never a 500, never the end of the server. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import * as fc from "fast-check";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";

import { createShape } from "./decode/create-shape.ts";
import type { Shape } from "./decode/shape.ts";
import { type ApiServer, createApiServer } from "./index.ts";
import { type FakeEngine, fakeEngine } from "./testing/fake-engine.ts";

let folder: string;
let unix: string;
let engine: FakeEngine;
let server: ApiServer;

beforeAll(async () => {
  folder = mkdtempSync("/tmp/naru-test-api-");
  unix = join(folder, "api.sock");
  engine = fakeEngine();
  server = createApiServer(engine);
  await server.listen({ path: unix });
});

afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

interface Answer {
  status: number;
  message: string;
}

async function call(method: string, path: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(`http://localhost${path}`, { unix, method, ...init });
  const text = await response.text();
  let message = text;
  if (text.startsWith('{"message"'))
    message = (JSON.parse(text) as { message?: string }).message ?? text;
  return { status: response.status, message };
}

const create = (body: unknown): Promise<Answer> =>
  call("POST", "/containers/create", {
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "content-type": "application/json" },
  });

const createHost = (host: object): Promise<Answer> =>
  create({ Image: "busybox", HostConfig: host });

/** Bytes as they are, for what no HTTP client would send. */
function raw(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(unix, () => socket.end(bytes));
    socket.on("data", (chunk) => (answer += chunk.toString()));
    socket.once("close", () => resolve(answer));
    // What it leaves unread makes an error of its going away.
    socket.once("error", (cause) => (answer === "" ? reject(cause) : resolve(answer)));
  });
}

test("a path is read in every form that servers must know, and cleaned by sending the client there", async () => {
  const answer = async (target: string) => {
    const text = await raw(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    return [/^HTTP\/1.1 (\d+)/.exec(text)?.[1], /^location: (.*?)\r$/im.exec(text)?.[1] ?? null];
  };
  expect(await answer("http://docker/v1.51/_ping")).toEqual(["200", null]);
  expect(await answer("HTTP://docker:2375/containers/json?all=1")).toEqual(["200", null]);
  expect(await answer("http://docker")).toEqual(["404", null]);
  expect(await answer("//v1.51//containers/json?all=1")).toEqual([
    "301",
    "/v1.51/containers/json?all=1",
  ]);
  expect(await answer("/v1.51/containers/../info")).toEqual(["301", "/v1.51/info"]);
  expect(await answer("/nothing?a=//")).toEqual(["404", null]);
  // Not to another host.
  expect(await answer("//evil.example/x")).toEqual(["301", "/evil.example/x"]);
});

test("versions outside 1.24 to 1.51 are refused in Docker's words", async () => {
  expect(await call("GET", "/v1.20/info")).toEqual({
    status: 400,
    message:
      "client version 1.20 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
  });
  expect(await call("GET", "/v1.99/info")).toEqual({
    status: 400,
    message: "client version 1.99 is too new. Maximum supported API version is 1.51",
  });
  expect((await call("GET", "/v1.9/info")).message).toContain("too old");
  for (const version of ["1.24", "1.30", "1.41", "1.44", "1.51"]) {
    expect((await call("GET", `/v${version}/version`)).status).toBe(200);
  }
});

test("unknown pages and wrong methods are 404", async () => {
  for (const [method, path] of [
    ["GET", "/"],
    ["GET", "/nothing"],
    ["DELETE", "/info"],
    ["GET", "/containers/create"],
    ["POST", "/containers/web/json"],
    ["GET", "/v1.51"],
    ["GET", "/v1.51/"],
    ["GET", "/vx/info"],
  ] as const) {
    expect({ path, ...(await call(method, path)) }).toMatchObject({
      status: 404,
      message: "page not found",
    });
  }
});

test("what only a swarm has is told as an engine tells it that is in none", async () => {
  expect(await call("PUT", "/volumes/x")).toEqual({
    status: 503,
    message: "volume update only valid for cluster volumes, but swarm is unavailable",
  });
  const body = JSON.stringify({ ClusterVolumeSpec: { Group: "x" } });
  const headers = { "content-type": "application/json" };
  const made = await call("POST", "/volumes/create", { body, headers });
  expect(made.status).toBe(503);
  expect(made.message).toStartWith("This node is not a swarm manager.");
  const cluster = { Mounts: [{ Type: "cluster", Source: "x", Target: "/x" }] };
  expect((await createHost(cluster)).message).toBe(
    'invalid mount config for type "cluster": mount type unknown',
  );
});

test("a body that is empty, broken, huge, too deep or of another type is 400 with a sentence", async () => {
  expect(await create("")).toMatchObject({ status: 400 });
  expect(await create("{}")).toEqual({
    status: 400,
    message: "config cannot be empty in order to create a container",
  });
  expect(await create("null")).toMatchObject({ status: 400 });
  expect((await create("{")).message).toStartWith("invalid JSON: ");
  expect((await create("[]")).message).toBe(
    "invalid JSON: json: cannot unmarshal array into Go value of type CreateRequest",
  );
  expect((await create("[".repeat(100_000))).message).toContain("nested deeper than 64 levels");
  expect(await create(`{"Image":"${"x".repeat(5_000_000)}"}`)).toEqual({
    status: 400,
    message: "request body is too large: the limit is 4194304 bytes",
  });
  const text = await call("POST", "/containers/create", {
    body: "{}",
    headers: { "content-type": "text/plain" },
  });
  expect(text.message).toContain("must be 'application/json'");
  expect((await call("POST", "/containers/create")).status).toBe(400);
});

test("a field of the wrong type is named, with Go's words", async () => {
  expect((await createHost({ Memory: "1g" })).message).toBe(
    "invalid JSON: json: cannot unmarshal string into Go struct field CreateRequest.HostConfig.Memory of type int64",
  );
  expect((await create({ Image: 7 })).message).toContain("cannot unmarshal number into");
  expect((await create({ Image: "busybox", Env: "A=1" })).message).toContain(
    "cannot unmarshal string into Go struct field CreateRequest.Env of type []string",
  );
  expect((await createHost({ CpuShares: 1.5 })).message).toContain("number 1.5");
  expect((await createHost({ BlkioWeight: 70_000 })).message).toContain("of type uint16");
  expect((await create({ Image: "a\0b" })).message).toContain("NUL");
});

test("field names match without case, a string may stand for a list, null is not given", async () => {
  expect(
    (await create({ image: "busybox", CMD: "true", env: null, HostConfig: null })).status,
  ).toBe(201);
  expect(engine.containers.created.at(-1)?.config).toMatchObject({
    image: "busybox",
    command: ["true"],
    environment: [],
  });
});

async function anyContainer(): Promise<{ id: string }> {
  const [first] = await engine.containers.list({ all: true, limit: 0, size: false, filters: {} });
  return first?.container ?? { id: "" };
}

/** One value that is none of a shape's. */
function wrongFor(shape: Shape): unknown {
  if (shape === "string" || shape === "words") return { not: "this" };
  if (typeof shape === "string") return "not this";
  return 7;
}

/** Every field, with its path. */
function* fieldsOf(shape: Shape, path: readonly string[] = []): Generator<[string[], Shape]> {
  if (typeof shape === "string") return;
  if ("list" in shape) return;
  if ("map" in shape) return;
  for (const [name, field] of Object.entries(shape.fields)) {
    yield [[...path, name], field];
    yield* fieldsOf(field, [...path, name]);
  }
}

test("every field of a create request is refused when its type is wrong", async () => {
  const fields = [...fieldsOf(createShape)];
  expect(fields.length).toBeGreaterThan(90);
  for (const [path, shape] of fields) {
    const body = path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), wrongFor(shape));
    const answer = await create({ Image: "busybox", ...(body as object) });
    expect({ path, ...answer }).toMatchObject({ status: 400 });
    expect(answer.message).toContain(path.at(-1) ?? "");
  }
});

test("options that cannot be honoured are refused by name", async () => {
  const refused: [object, number, string][] = [
    [{ Isolation: "hyperv" }, 400, "hyperv"],
    [{ PidMode: "nowhere" }, 400, "invalid PID mode: nowhere"],
    [{ IpcMode: "container:" }, 400, "invalid IPC mode: container:"],
    [{ UTSMode: "private" }, 400, "invalid UTS mode: private"],
    [{ CgroupnsMode: "x" }, 400, "invalid cgroup namespace mode: x"],
    [{ UsernsMode: "auto" }, 400, "invalid userns mode"],
    [{ NetworkMode: "container:" }, 400, "invalid network mode"],
    [{ RestartPolicy: { Name: "sometimes" } }, 400, "unknown policy 'sometimes'"],
    [{ RestartPolicy: { Name: "always", MaximumRetryCount: 3 } }, 400, "on-failure"],
    [{ Binds: ["/a:b:c:d"] }, 400, "invalid volume specification: '/a:b:c:d'"],
    [{ Binds: ["/a:b"] }, 400, "mount path must be absolute"],
    [{ Binds: ["/a:/"] }, 400, "destination can't be '/'"],
    [{ Binds: ["/a:/b:rw,ro"] }, 400, "invalid mode: rw,ro"],
    [{ Mounts: [{ Type: "npipe", Target: "/x" }] }, 400, "mount type unknown"],
    [{ Mounts: [{ Type: "image", Target: "/x" }] }, 400, "field Source must not be empty"],
    [{ Mounts: [{ Type: "bind", Target: "/x" }] }, 400, "field Source must not be empty"],
    [{ Mounts: [{ Type: "tmpfs", Source: "/a", Target: "/x" }] }, 400, "field Source must not"],
    [
      { Mounts: [{ Type: "volume", Target: "/x", VolumeOptions: { Subpath: "a" } }] },
      400,
      "must not set Subpath when using anonymous volumes",
    ],
    [
      { Mounts: [{ Type: "bind", Source: "/a", Target: "/x", TmpfsOptions: {} }] },
      400,
      "TmpfsOptions",
    ],
    [{ PortBindings: { "eighty/tcp": [] } }, 400, 'invalid port specification: "eighty"'],
    [{ PortBindings: { "80/tcp": [{ HostPort: "90-80" }] } }, 400, "invalid port specification"],
    [{ PortBindings: { "80/tcp": [{ HostIp: "localhost" }] } }, 400, "invalid IP address"],
    [{ Devices: [{ PathOnHost: "null" }] }, 400, "invalid device path"],
    [{ ConsoleSize: [1] }, 400, "ConsoleSize"],
  ];
  for (const [host, status, words] of refused) {
    const answer = await createHost(host);
    expect({ host, ...answer }).toMatchObject({ status });
    expect(answer.message).toContain(words);
  }
  const health = await create({ Image: "busybox", Healthcheck: { Test: ["CMD", "true"] } });
  expect(health).toMatchObject({ status: 201 });
  const inherited = await create({ Image: "busybox", Healthcheck: { Test: [], Interval: 0 } });
  expect(inherited.status).toBe(201);
  const networks = await create({
    Image: "busybox",
    NetworkingConfig: { EndpointsConfig: { bridge: { Aliases: ["x"] } } },
  });
  expect(networks.message).toContain("only supported for user-defined networks");
});

test("any JSON at all as a create request answers, and below 500", async () => {
  const junk = fc.oneof(fc.jsonValue(), fc.constant(null));
  const names = fc.constantFrom(
    "Image",
    "Env",
    "HostConfig",
    "Healthcheck",
    "__proto__",
    "NetworkingConfig",
  );
  await fc.assert(
    fc.asyncProperty(fc.dictionary(names, junk), async (body) => {
      const { status } = await create({ Image: "busybox", ...body });
      expect(status === 501 || status < 500).toBe(true);
    }),
    { numRuns: 150 },
  );
});

test("any query at all answers, and below 500", async () => {
  await create({ Image: "busybox", Cmd: ["true"] });
  const container = await anyContainer();
  const garbage = [
    "%",
    "%zz",
    "-1",
    "1e99",
    "[]",
    '{"a":',
    '{"a":{"b":1}}',
    "\u0000",
    "99999999999999999999",
    "ß".repeat(99),
  ];
  const pages: Record<string, string[]> = {
    "GET /containers/json": ["all", "limit", "size", "filters"],
    [`GET /containers/${container.id}/logs`]: ["stdout", "since", "until", "tail"],
    [`POST /containers/${container.id}/stop`]: ["t", "signal"],
    [`POST /containers/${container.id}/kill`]: ["signal"],
    [`POST /containers/${container.id}/resize`]: ["h", "w"],
    [`POST /containers/${container.id}/rename`]: ["name"],
    "GET /images/json": ["filters", "all"],
    "GET /images/busybox/json": ["platform"],
    "POST /images/busybox/tag": ["repo", "tag"],
    "POST /images/create": ["fromImage", "tag", "platform"],
    "GET /events": ["until", "since", "filters"],
    "GET /networks": ["filters"],
    "GET /images/get": ["names"],
    "POST /containers/create": ["name", "platform"],
  };
  for (const [page, parameters] of Object.entries(pages)) {
    const [method = "", path = ""] = page.split(" ");
    for (const parameter of parameters) {
      for (const value of garbage) {
        const ends = path === "/events" ? "&until=1" : "";
        const answer = await call(
          method,
          `${path}?${parameter}=${encodeURIComponent(value)}${ends}`,
        );
        const fine = answer.status < 500 || answer.status === 501;
        expect({ page, parameter, value, ...answer, fine }).toMatchObject({ fine: true });
      }
    }
  }
  expect(engine.errors).toEqual([]);
});

test("what is no HTTP is 400, and a broken escape in a path too", async () => {
  expect(await raw("\u0000\u0001\r\n\r\n")).toStartWith("HTTP/1.1 400");
  expect(await raw("GET /info HTTP/1.1\r\n\r\n")).toStartWith("HTTP/1.1 400");
  expect(
    await raw("GET /containers/%zz/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
  ).toContain("invalid URL escape");
  expect((await call("GET", "/containers/%00/json")).status).toBe(400);
  expect((await call("GET", `/containers/${"x".repeat(5000)}/json`)).status).toBe(404);
  expect((await call("GET", "/_ping")).status).toBe(200);
});

test("an error of our own is a 500 with its sentence, logged, and the server lives", async () => {
  expect(await create({ Image: "crash" })).toEqual({ status: 500, message: "the engine broke" });
  expect(engine.errors).toEqual(["POST /containers/create: the engine broke"]);
  expect((await call("GET", "/_ping")).message).toBe("OK");
});

test("starting what runs already is 304 without a body, and the connection goes on", async () => {
  await create({ Image: "busybox", Cmd: ["sleep"], Hostname: "x" });
  const listed = await engine.containers.list({ all: true, limit: 0, size: false, filters: {} });
  const id = listed.at(-1)?.container.id ?? "";
  const ask = (path: string) =>
    `POST /containers/${id}/${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n`;
  const answers = await raw(
    `${ask("start")}\r\n${ask("start")}\r\nHEAD /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
  );
  expect(answers.match(/HTTP\/1.1 \d+/g)).toEqual(["HTTP/1.1 204", "HTTP/1.1 304", "HTTP/1.1 200"]);
  expect(
    answers
      .split("\r\n\r\n")
      .slice(0, 2)
      .every((head) => !/content-length: [1-9]/i.test(head)),
  ).toBe(true);
});

test("starting with a body, waiting for a condition that is none, and logs of no stream are 400", async () => {
  await create({ Image: "busybox", Cmd: ["true"] });
  const { id } = (
    await engine.containers.list({ all: true, limit: 0, size: false, filters: {} })
  )[0]?.container ?? { id: "" };
  const start = await call("POST", `/containers/${id}/start`, { body: '{"Binds":[]}' });
  expect(start.message).toContain("deprecated since API v1.22 and removed in v1.24");
  expect(await call("POST", `/containers/${id}/wait?condition=later`)).toEqual({
    status: 400,
    message: 'invalid condition: "later"',
  });
  expect((await call("GET", `/containers/${id}/logs`)).message).toBe(
    "Bad parameters: you must choose at least one stream",
  );
  expect(
    (
      await call("POST", `/containers/${id}/exec`, {
        body: "{}",
        headers: { "content-type": "application/json" },
      })
    ).message,
  ).toBe("No exec command specified");
  expect(
    (await call("GET", "/containers/json?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D")).message,
  ).toBe("invalid filter 'colour'");
});
