/** Registries that want tokens, that let them run out, that are insecure by network, and mirrors that fail. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, type RunOptions, startEngine } from "./engine.ts";
import { type Registry, startRegistry } from "./registry.ts";
import { until } from "./until.ts";

let engine: Engine;
let registry: Registry;
const gates: Gate[] = [];

beforeAll(async () => {
  engine = await startEngine();
  registry = await startRegistry(engine.root);
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  for (const { stop } of gates) await stop();
  await registry[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

interface Gate {
  readonly host: string;
  /** `METHOD /path` of what was let through, and of what asked for a token. */
  readonly seen: string[];
  readonly stop: () => Promise<void>;
}

const BASIC = `Basic ${btoa("captain:secret")}`;
/** As a registry that forgets tokens at once would: after so many requests. */
const TOKEN_LIFE = 2;

/** In front of the registry: asks for tokens, gives them, and lets each of them through only a few times. */
function startGate(options: { hostname: string; guarded: boolean }): Gate {
  const { hostname, guarded } = options;
  const seen: string[] = [];
  const lives = new Map<string, number>();
  const answerToken = async (request: Request, url: URL): Promise<Response> => {
    const refresh =
      request.method === "POST" ? new URLSearchParams(await request.text()) : new URLSearchParams();
    const isKnown =
      request.headers.get("authorization") === BASIC || refresh.get("refresh_token") === "kept";
    seen.push(`token ${refresh.get("grant_type") ?? "password"} ${isKnown}`);
    if (!isKnown) return Response.json({}, { status: 401 });
    const token = `t${lives.size}`;
    lives.set(`Bearer ${token}`, TOKEN_LIFE);
    const offline = url.searchParams.get("offline_token") === "true";
    return Response.json({ token, ...(offline ? { refresh_token: "kept" } : {}) });
  };
  const isLet = (request: Request): boolean => {
    const header = request.headers.get("authorization") ?? "";
    const left = lives.get(header) ?? 0;
    lives.set(header, left - 1);
    return !guarded || left > 0;
  };
  const server: Bun.Server<undefined> = Bun.serve({
    hostname,
    port: 0,
    async fetch(request) {
      const url = new URL(request.url);
      if (url.pathname === "/token") return await answerToken(request, url);
      if (!isLet(request)) {
        const realm = `Bearer realm="http://${hostname}:${server.port}/token",service="gate"`;
        return Response.json({}, { status: 401, headers: { "www-authenticate": realm } });
      }
      seen.push(`${request.method} ${url.pathname}`);
      const headers = new Headers(request.headers);
      headers.delete("authorization");
      return await fetch(`http://${registry.host}${url.pathname}${url.search}`, {
        method: request.method,
        headers,
        body: request.body,
        redirect: "manual",
        decompress: false,
      } as RequestInit);
    },
  });
  const gate = { host: `${hostname}:${server.port}`, seen, stop: () => server.stop(true) };
  gates.push(gate);
  return gate;
}

/** Resolves when the engine tells of it. */
async function reload(options: Record<string, readonly string[]>): Promise<void> {
  writeFileSync(join(engine.root, "daemon.json"), JSON.stringify(options));
  process.kill(engine.daemonPid, "SIGHUP");
  const [first = ""] = Object.values(options).flat();
  const told = () => engine.ok(["info", "-f", "{{json .RegistryConfig}}"]);
  await until(async () => (await told()).includes(first));
}

const config = () =>
  JSON.parse(readFileSync(join(engine.root, "client/config.json"), "utf8")) as {
    auths?: Record<string, { auth?: string; identitytoken?: string }>;
  };

test("a login keeps the registry's token instead of the password, with both clients", async () => {
  const { host, seen } = startGate({ hostname: "127.0.0.1", guarded: true });
  for (const name of ["docker", "naru"] as const) {
    const client = (args: readonly string[], options: RunOptions = {}) =>
      engine[name](args, options);
    const login = (password: string) =>
      client(["login", "-u", "captain", "--password-stdin", host], {
        stdin: password,
      });
    const wrong = await login("wrong");
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain("Error response from daemon: Get");
    expect((await login("secret")).stdout).toContain("Login Succeeded");
    expect(config().auths?.[host]?.identitytoken).toBe("kept");
    expect(atob(config().auths?.[host]?.auth ?? "")).not.toContain("secret");
    await engine.ok(["tag", "busybox", `${host}/ferry/box`]);
    seen.splice(0);
    // Every token dies in the middle of it.
    const pushed = await client(["push", `${host}/ferry/box`]);
    expect([pushed.code, pushed.stderr]).toEqual([0, ""]);
    expect(seen.filter((line) => line === "token refresh_token true").length).toBeGreaterThan(1);
    await engine.ok(["rmi", `${host}/ferry/box`]);
    expect((await client(["pull", "-q", `${host}/ferry/box`])).code).toBe(0);
    const out = await client(["logout", host]);
    expect(out.stdout).toBe(`Removing login credentials for ${host}\n`);
    expect(config().auths?.[host]).toBeUndefined();
    const refused = await client(["push", `${host}/ferry/box`]);
    expect(refused.code).toBe(1);
    await engine.ok(["rmi", `${host}/ferry/box`]);
  }
});

test("a registry is insecure by its network, after a reload too", async () => {
  const format = "{{(index .IPAM.Config 0).Gateway}}";
  const own = await engine.ok(["network", "inspect", "bridge", "-f", format]);
  const { host } = startGate({ hostname: own, guarded: false });
  await engine.ok(["tag", "busybox", `${host}/plain`]);
  const refused = await engine.docker(["push", `${host}/plain`]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("server gave HTTP response to HTTPS client");
  await reload({ "insecure-registries": [`${own.replace(/\d+$/, "0")}/24`] });
  await engine.ok(["push", `${host}/plain`]);
  await engine.ok(["rmi", `${host}/plain`]);
});

test("a mirror that fails is passed by, and none is sent anything", async () => {
  await engine.ok(["tag", "busybox", `${registry.host}/library/mirrored`]);
  await engine.ok(["push", `${registry.host}/library/mirrored`]);
  await engine.ok(["rmi", `${registry.host}/library/mirrored`]);
  const failing = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: () => new Response("", { status: 500 }),
  });
  try {
    const good = startGate({ hostname: "127.0.0.1", guarded: false });
    await reload({
      "registry-mirrors": [`http://127.0.0.1:${failing.port}`, `http://${good.host}`],
    });
    expect(await engine.ok(["pull", "-q", "mirrored"])).toBe("docker.io/library/mirrored:latest");
    expect(good.seen.some((line) => line.includes("/v2/library/mirrored/manifests/"))).toBe(true);
  } finally {
    await failing.stop(true);
  }
});

test("an image that is sent to two registries in a row has one digest, and arrives whole", async () => {
  await using second = await startRegistry(engine.root);
  const digests: string[] = [];
  for (const { host } of [registry, second]) {
    await engine.ok(["tag", "busybox", `${host}/twice`]);
    const pushed = await engine.ok(["push", `${host}/twice`]);
    digests.push(/digest: (\S+)/.exec(pushed)?.[1] ?? host);
  }
  expect(digests[1]).toBe(digests[0] ?? "");
  const arriving = readdirSync(join(engine.dataRoot, "content/ingest"));
  expect(arriving.length).toBe(1);
  await engine.restartDaemon();
  expect(readdirSync(join(engine.dataRoot, "content/ingest"))).toEqual([]);
  const other = await startEngine({ images: [] });
  try {
    await other.ok(["pull", "-q", `${second.host}/twice`]);
    expect(await other.ok(["run", "--rm", `${second.host}/twice`, "echo", "whole"])).toBe("whole");
  } finally {
    await other[Symbol.asyncDispose]();
  }
});
