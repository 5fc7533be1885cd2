/** Metrics in Prometheus' form, as dockerd names them; and what info tells of runtimes and of this process. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
let address = "";

beforeAll(async () => {
  engine = await startEngine({ daemonFlags: ["--metrics-addr", "127.0.0.1:0"] });
  const port = /metrics API listening on 127\.0\.0\.1:(\d+)/.exec(engine.daemonLog())?.[1];
  address = `http://127.0.0.1:${port}`;
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const scrape = async (): Promise<Map<string, number>> => {
  const answer = await fetch(`${address}/metrics`);
  expect(answer.headers.get("content-type")).toStartWith("text/plain; version=0.0.4");
  const lines = (await answer.text()).split("\n").filter((line) => /^[a-z]/.test(line));
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
};

const action = (name: string) => `engine_daemon_container_actions_seconds_count{action="${name}"}`;

test("what the engine does is counted, under dockerd's names", async () => {
  const before = await scrape();
  expect(before.get(action("start"))).toBe(1);
  const health = ["--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "1"];
  await engine.ok(["run", "-d", "--name", "sick", ...health, "busybox", "sleep", "1000"]);
  await engine.ok(["create", "--name", "still", "busybox", "true"]);
  await engine.ok(["rm", "still"]);
  await engine.ok(["diff", "sick"]);
  await engine.ok([
    "events",
    "--since",
    "0",
    "--filter",
    "event=health_status: unhealthy",
    "--until",
    "0",
  ]);
  const unhealthy =
    'until [ "$(docker inspect -f {{.State.Health.Status}} sick)" = unhealthy ]; do :; done';
  const waited = Bun.spawn(["sh", "-c", unhealthy], {
    env: { ...process.env, DOCKER_HOST: `unix://${engine.socket}` },
  });
  expect(await waited.exited).toBe(0);
  const { stderr } = await engine.docker(["build", "-"], {
    stdin: "FROM busybox\nFRUM x\n",
    env: { DOCKER_BUILDKIT: "0" },
  });
  expect(stderr).toContain("unknown instruction");
  const after = await scrape();
  const grown = (name: string) => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  expect(grown(action("create"))).toBe(2);
  expect(grown(action("start"))).toBe(1);
  expect(grown(action("delete"))).toBe(1);
  expect(grown(action("changes"))).toBe(1);
  expect(grown('engine_daemon_network_actions_seconds_count{action="allocate"}')).toBe(1);
  expect(grown("engine_daemon_health_checks_total")).toBeGreaterThan(0);
  expect(grown("engine_daemon_health_checks_failed_total")).toBeGreaterThan(0);
  expect(grown("engine_daemon_events_total")).toBeGreaterThan(4);
  expect(after.get('engine_daemon_container_states_containers{state="running"}')).toBe(1);
  expect(grown("builder_builds_triggered_total")).toBe(1);
  expect(grown('builder_builds_failed_total{reason="unknown_instruction_error"}')).toBe(1);
  const info = [...after.keys()].find((name) => name.startsWith("engine_daemon_engine_info{"));
  expect(info).toContain('os_type="linux"');
  expect(after.get("process_open_fds")).toBeGreaterThan(5);
  const bucket = `engine_daemon_container_actions_seconds_bucket{action="start",le="+Inf"}`;
  expect(after.get(bucket)).toBe(after.get(action("start")) ?? -1);
  await engine.ok(["rm", "-f", "sick"]);
});

test("nothing else is served there, and to no web page", async () => {
  expect((await fetch(`${address}/`)).status).toBe(404);
  expect((await fetch(`${address}/info`)).status).toBe(404);
  expect((await fetch(`${address}/metrics`, { method: "POST", body: "x" })).status).toBe(405);
  const renamed = await fetch(`${address}/metrics`, { headers: { Host: "evil.example.com" } });
  expect(renamed.status).toBe(403);
  const page = await fetch(`${address}/metrics`, { headers: { Origin: "http://evil.example" } });
  expect(page.status).toBe(403);
});

interface Info {
  readonly NGoroutines: number;
  readonly Runtimes: Record<string, { path: string; status?: Record<string, string> }>;
}

const infoOf = async (version: string): Promise<Info> =>
  (await (await engine.fetch(`/v${version}/info`)).json()) as Info;

test("info tells what runtimes can do, and how much goes on", async () => {
  const info = await infoOf("1.51");
  const features = "org.opencontainers.runtime-spec.features";
  const told = (name: string) => JSON.parse(info.Runtimes[name]?.status?.[features] ?? "null");
  const native = told("naru");
  expect(native.linux.namespaces).toContain("user");
  expect(native.linux.capabilities).toContain("CAP_CHOWN");
  expect(native.mountOptions).toContain("rro");
  if (info.Runtimes["runc"] !== undefined) expect(told("runc").ociVersionMin).toBe("1.0.0");
  expect(info.NGoroutines).toBeGreaterThan(0);
  const older = await infoOf("1.43");
  expect(older.Runtimes["naru"]).toEqual({ path: "native" });
});

test("an address that is none, or is taken, ends the start in so many words", async () => {
  await engine.killDaemon();
  expect(await engine.tryDaemon(["--metrics-addr", "nowhere"])).toContain("invalid metrics-addr");
  using taken = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: () => undefined },
  });
  const said = await engine.tryDaemon(["--metrics-addr", `127.0.0.1:${taken.port}`]);
  expect(said).toContain("bind: address already in use");
  await engine.startDaemon();
});
