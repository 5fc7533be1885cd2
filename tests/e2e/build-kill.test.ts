/** SIGKILL of the daemon at moments that nobody chose, during builds of every kind of step and during a visit. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";

import { readMountInfo } from "#linux/mount";

import { writeContext } from "./build-context.ts";
import { untilNothingLeft } from "./build-left.ts";
import { type Engine, NARU, startEngine } from "./engine.ts";
import { expectNothingLeft } from "./leftovers.ts";
import { runOnTerminal } from "./pty.ts";
import { until } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
});

async function nothingLeft(): Promise<void> {
  await untilNothingLeft(engine);
  await expectNothingLeft(engine);
  const folder = join(engine.execRoot, "build");
  expect(readMountInfo().filter(({ target }) => target.startsWith(folder))).toEqual([]);
}

/** Every kind of step, in stages that go on at once. */
const dockerfile = (round: number) => `FROM busybox AS a
RUN --mount=type=cache,target=/c,id=k echo ${round} >> /c/log; mkdir /d; touch /d/1 /d/2
FROM busybox AS b
COPY src /src
RUN --mount=type=bind,target=/m --mount=type=tmpfs,target=/t cp -r /m/src /n
FROM a
COPY --from=b /n /n
ADD src/f5 /five
WORKDIR /w
RUN ls /n | wc -l > /count
COPY --link --chown=3:4 src /l
`;

/** The same moments every time; whatever the machine is doing at them. */
const MOMENTS_MS = [37, 180, 410, 760, 1150];

test("a build that is killed with its daemon leaves nothing, and the next one is whole", async () => {
  const files = Object.fromEntries(
    Array.from({ length: 200 }, (_, index) => [`src/f${index}`, "x".repeat(index * 40)]),
  );
  for (const [round, moment] of MOMENTS_MS.entries()) {
    const own = { Dockerfile: dockerfile(round), "src/round": String(round) };
    const folder = writeContext(engine, { ...files, ...own });
    const host = ["-H", `unix://${engine.daemonSocket}`];
    const words =
      round % 2 === 0
        ? [NARU, ...host, "build", "--squash", folder]
        : ["docker", ...host, "build", folder];
    const client = Bun.spawn(words, {
      env: { ...process.env, DOCKER_BUILDKIT: "0" },
      stdout: "ignore",
      stderr: "ignore",
    });
    await Promise.race([client.exited, Bun.sleep(moment)]);
    await engine.killDaemon();
    await client.exited;
    await engine.startDaemon();
    await nothingLeft();
    const again = await engine.naru(["build", "-q", "-t", "whole", folder]);
    expect(again).toMatchObject({ code: 0, stderr: "" });
    const look = "cat /count /n/round; ls /d /l | wc -l; stat -c %u /l/f1";
    const run = ["run", "--rm", "--network", "none", "whole", "sh", "-c", look];
    expect(await engine.ok(run)).toBe(`201\n${round}206\n3`);
  }
});

test("a daemon that is killed while somebody is in a failed step takes the step with it", async () => {
  const text = "FROM busybox\nRUN --mount=type=cache,target=/c echo half > /made; exit 3\n";
  const folder = writeContext(engine, { Dockerfile: text });
  const host = ["-H", `unix://${engine.daemonSocket}`];
  const visit = runOnTerminal([NARU, ...host, "build", "--on-fail", "shell", folder], {
    columns: 80,
    rows: 24,
  });
  await until(() => visit.output().includes("the build ends when you leave it"));
  visit.type("sleep 1000 & echo in-$(cat /made)\n");
  await until(() => visit.output().includes("in-half"));
  await engine.killDaemon();
  expect(await visit.exited).not.toBe(0);
  await engine.startDaemon();
  await nothingLeft();
  const fixed = writeContext(engine, { Dockerfile: text.replace("exit 3", "exit 0") });
  expect(await engine.naru(["build", "-q", fixed])).toMatchObject({ code: 0, stderr: "" });
});
