/** A project of several services through the real compose: what its containers see of each other, and what stays. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { writeContext } from "./build-context.ts";
import { addBuildx } from "./buildx.ts";
import { type Engine, type Finished, startEngine } from "./engine.ts";

let engine: Engine;
let project: string;

const COMPOSE = `
name: shop
services:
  db:
    image: busybox
    command: sh -c 'touch /data/ready; echo db up; trap "exit 0" TERM; while true; do sleep 0.1; done'
    volumes: [dbdata:/data]
    networks: [back]
    healthcheck: { test: ["CMD", "test", "-e", "/data/ready"], interval: 200ms, retries: 50 }
    secrets: [password]
    deploy: { resources: { limits: { memory: 64M, pids: 100 } } }
    stop_grace_period: 5s
  migrate:
    build: { context: ., target: tool }
    command: sh -c 'echo migrated with $$(cat /run/secrets/password)'
    depends_on: { db: { condition: service_healthy } }
    networks: [back]
    secrets: [password]
  web:
    build: { context: ., target: web, args: { GREETING: hello }, secrets: [password] }
    depends_on: { db: { condition: service_healthy }, migrate: { condition: service_completed_successfully } }
    ports: ["127.0.0.1::80"]
    networks: { front: { aliases: [www] }, back: {} }
    configs: [{ source: file, target: /etc/file.conf }, { source: inline, target: /etc/inline.conf }]
    environment: { A: b }
    tmpfs: [/scratch]
    init: true
    restart: unless-stopped
    extra_hosts: ["other.test:10.0.0.1"]
    stop_grace_period: 1s
  debug:
    image: busybox
    profiles: [debug]
    command: sh -c 'wget -qO- http://www/; sleep 1000'
    depends_on: { web: { condition: service_started } }
    networks: [front]
    stop_grace_period: 1s
networks:
  front: {}
  back: { internal: true }
volumes:
  dbdata: { labels: { of: shop } }
secrets:
  password: { file: ./password }
configs:
  file: { file: ./file.conf }
  inline: { content: "inline\\n" }
`;

beforeAll(async () => {
  engine = await startEngine();
  addBuildx(engine);
  project = writeContext(engine, {
    "compose.yaml": COMPOSE,
    Dockerfile: [
      "FROM busybox AS tool",
      "FROM busybox AS web",
      "ARG GREETING",
      "RUN --mount=type=secret,id=password echo $GREETING $(cat /run/secrets/password) > /greeting",
      "COPY www /www",
      'CMD ["httpd", "-f", "-p", "80", "-h", "/www"]',
    ].join("\n"),
    "www/index.html": "page\n",
    password: "hidden\n",
    "file.conf": "file\n",
  });
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const compose = (...args: string[]): Promise<Finished> =>
  engine.docker([
    "compose",
    "--ansi=never",
    "--progress=plain",
    "--project-directory",
    project,
    ...args,
  ]);
async function done(...args: string[]): Promise<string> {
  const finished = await compose(...args);
  if (finished.code !== 0) throw new Error(`${args.join(" ")}: ${finished.stderr}`);
  return finished.stdout;
}

test("services are built, wait for each other, and see their networks, files and names", async () => {
  const made = await compose("build");
  expect(made.code).toBe(0);
  // What one target does not need is not given up as an error.
  expect(made.stdout + made.stderr).not.toContain("ERROR");
  await done("up", "-d", "--wait");
  expect(await done("logs", "--no-log-prefix", "migrate")).toContain("migrated with hidden");
  const seen = await done(
    "exec",
    "-T",
    "web",
    "sh",
    "-c",
    "cat /greeting /etc/file.conf /etc/inline.conf; echo $A; cat /proc/1/comm; wget -qO- http://www/",
  );
  expect(seen).toBe("hello hidden\nfile\ninline\nb\ndocker-init\npage\n");
  expect(await done("exec", "-T", "web", "cat", "/etc/hosts")).toContain("10.0.0.1\tother.test");
  const address = (await done("port", "web", "80")).trim();
  expect(await (await fetch(`http://${address}/`)).text()).toBe("page\n");
  const limit = await engine.ok(["inspect", "-f", "{{.HostConfig.Memory}}", "shop-db-1"]);
  expect(limit).toBe(String(64 * 1024 * 1024));
});

test("services are scaled, changed and stopped", async () => {
  await done("up", "-d", "--scale", "web=2", "--wait");
  const names = await done("ps", "--format", "{{.Name}}", "web");
  expect(names.trim().split("\n").toSorted()).toEqual(["shop-web-1", "shop-web-2"]);
  await done("--profile", "debug", "up", "-d");
  expect(await done("ps", "--format", "{{.Name}}", "web")).toBe("shop-web-1\n");
  expect(await done("logs", "--no-log-prefix", "db")).toContain("db up");
  await done("restart", "db");
  await done("stop", "db");
  const state = ["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "shop-db-1"];
  expect(await engine.ok(state)).toBe("exited 0");
  await done("start", "db");
  await done("pause", "db");
  await done("unpause", "db");
  const once = await done("run", "--rm", "-T", "--no-deps", "migrate", "echo", "once");
  expect(once).toBe("once\n");
  const copied = join(project, "../copied");
  await done("cp", "web:/greeting", copied);
  expect(await Bun.file(copied).text()).toBe("hello hidden\n");
  writeFileSync(join(project, "www/index.html"), "changed\n");
  await done("up", "-d", "--build", "--wait", "web");
  const address = (await done("port", "web", "80")).trim();
  expect(await (await fetch(`http://${address}/`)).text()).toBe("changed\n");
  // Nothing changed since: what was built is known by one name, and its container goes on.
  const web = ["inspect", "-f", "{{.Id}}", "shop-web-1"];
  const id = await engine.ok(web);
  await done("up", "-d", "--wait", "web");
  await done("up", "-d", "--build", "--wait", "web");
  expect(await engine.ok(web)).toBe(id);
});

test("down takes everything of the project with it, and its volumes when that is asked", async () => {
  await done("--profile", "debug", "down");
  const label = "label=com.docker.compose.project=shop";
  expect(await engine.ok(["ps", "-aq"])).toBe("");
  expect(await engine.ok(["network", "ls", "-q", "-f", label])).toBe("");
  expect(await engine.ok(["volume", "ls", "-q"])).toBe("shop_dbdata");
  await done("--profile", "debug", "down", "-v", "--rmi", "local");
  expect(await engine.ok(["volume", "ls", "-q"])).toBe("");
  expect(await engine.ok(["image", "ls", "-q", "-f", "reference=shop-*"])).toBe("");
});
