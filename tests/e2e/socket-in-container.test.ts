/** The engine's socket inside a container: what reapers (testcontainers' ryuk), CI runners and dashboards live on. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { type Engine, NARU, startEngine } from "./engine.ts";
import { until } from "./until.ts";

let engine: Engine;
/** Flags of a container that sees the engine: its socket where clients look for it, and a client. */
let seeing: string[];

beforeAll(async () => {
  // A file system with the C library: our client is linked to it.
  engine = await startEngine({ images: ["busybox", "debian"] });
  const socket = `${engine.socket}:/var/run/docker.sock`;
  const host = "DOCKER_HOST=unix:///var/run/docker.sock";
  seeing = ["-v", socket, "-v", `${NARU}:/usr/bin/docker:ro`, "-e", host];
});

afterAll(async () => {
  await engine?.[Symbol.asyncDispose]();
});

test("a container starts, enters and removes its siblings, and at last itself", async () => {
  const reap = `
    docker run -d --name sibling --label reap=me busybox sleep 1000 >/dev/null
    docker exec sibling echo heard
    echo typed | docker run -i --rm --label reap=me busybox cat
    docker rm -f $(docker ps -aq --filter label=reap=me) >/dev/null
    docker ps -a --format '{{.Names}}'
    docker rm -f reaper`;
  const flags = ["run", "--name", "reaper", ...seeing, "debian", "sh", "-c", reap];
  const done = await engine.docker(flags);
  expect(done.stdout).toBe("heard\ntyped\nreaper\n");
  // Who asked for its end did not live to hear of it.
  await until(async () => (await engine.ok(["ps", "-aq"])) === "");
});
