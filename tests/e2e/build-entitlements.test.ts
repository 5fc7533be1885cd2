/** What a RUN may have beyond its sandbox: only what the operator's configuration and the build itself both allow. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { writeContext } from "./build-context.ts";
import { type Engine, type Finished, startEngine } from "./engine.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const naru = (dockerfile: string, args: readonly string[] = []): Promise<Finished> =>
  engine.naru([
    "build",
    "--progress=plain",
    "--no-cache",
    ...args,
    writeContext(engine, { Dockerfile: dockerfile }),
  ]);

async function configure(entitlements: Record<string, boolean>): Promise<void> {
  const document = { builder: { entitlements } };
  writeFileSync(join(engine.root, "daemon.json"), JSON.stringify(document));
  await engine.restartDaemon();
}

const HOST = "FROM busybox\nRUN --network=host ip -o link | grep -c ': narut' >&2\n";
const INSECURE =
  "FROM busybox\nRUN --security=insecure mount -t tmpfs none /tmp && grep CapEff /proc/self/status && grep Seccomp: /proc/self/status\n";

test("the host's network is for builds that say so, and nobody else, cache or not", async () => {
  const refused = await naru(HOST);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("   2 | >>> RUN --network=host");
  expect(refused.stderr).toEndWith("network.host is not allowed\n");
  // The bridges of the host are seen: this engine's is one of them.
  for (const args of [
    ["--allow", "network.host"],
    ["--network", "host"],
  ]) {
    const { code, stderr } = await naru(HOST, args);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stderr).toMatch(/#2 \d+\.\ds [1-9]\d*\n/);
  }
  const folder = writeContext(engine, { Dockerfile: HOST });
  expect((await engine.naru(["build", folder])).stderr).toContain("network.host is not allowed");
  const env = { DOCKER_BUILDKIT: "0" };
  const docker = await engine.docker(["build", folder], { env });
  expect(docker.stderr).toContain("network.host is not allowed");
  const allowed = await engine.docker(["build", "--network=host", folder], { env });
  expect(allowed.code).toBe(0);
});

test("an insecure RUN needs the operator's word as well, and then has every capability", async () => {
  const unasked = await naru(INSECURE);
  expect(unasked.stderr).toEndWith("security.insecure is not allowed\n");
  const unallowed = await naru(INSECURE, ["--allow", "security.insecure"]);
  expect(unallowed.code).toBe(1);
  expect(unallowed.stderr).toContain(
    "granting entitlement security.insecure is not allowed by build daemon configuration",
  );
  expect((await naru(INSECURE, ["--allow", "everything"])).stderr).toContain(
    "unknown entitlement everything",
  );
  await configure({ "security-insecure": true, "network-host": false });
  expect((await naru(INSECURE)).stderr).toEndWith("security.insecure is not allowed\n");
  const { code, stderr } = await naru(INSECURE, ["--allow", "security.insecure"]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stderr).toMatch(/Seccomp:\t0\n/);
  const own = /CapEff:\t([0-9a-f]+)/.exec(await Bun.file("/proc/self/status").text())?.[1];
  expect(stderr).toContain(`CapEff:\t${own}`);
  // A sandbox stays one, in the same build.
  const mixed = await naru(`${INSECURE}RUN ! mount -t tmpfs none /tmp\n`, [
    "--allow=security.insecure",
  ]);
  expect({ code: mixed.code, stderr: mixed.stderr }).toMatchObject({ code: 0 });
  const host = await naru("FROM busybox\nRUN true\n", ["--network", "host"]);
  expect(host.stderr).toContain("granting entitlement network.host is not allowed by build daemon");
});
