/**
 * Docker's experimental checkpoints by the real docker CLI. criu is no part of the engine: where the host has none, what needs
 * it is skipped, and that it is told of is tested instead.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";
import { until } from "./until.ts";

const CRIU = Bun.which("criu");
const REASON = CRIU === null ? " (skipped: criu is not installed)" : "";
/** Counts in memory alone, a line for each number. */
const COUNT = ["busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"];

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine({ daemonFlags: ["--experimental"] });
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const said = async (args: string[], client: "docker" | "naru" = "docker") => {
  const { code, stdout, stderr } = await engine[client](args);
  return { code, stdout, stderr: stderr.trim() };
};
const failed = (message: string) => ({
  code: 1,
  stdout: "",
  stderr: `Error response from daemon: ${message}`,
});
const remove = (name: string) => engine.ok(["rm", "-f", name]);
const stateOf = (name: string, field: string) =>
  engine.ok(["inspect", "-f", `{{.State.${field}}}`, name]);

test("an engine says that it is experimental wherever clients look", async () => {
  expect(await engine.ok(["version", "-f", "{{.Server.Experimental}}"])).toBe("true");
  expect(await engine.ok(["info", "-f", "{{.ExperimentalBuild}}"])).toBe("true");
  expect((await engine.fetch("/_ping")).headers.get("docker-experimental")).toBe("true");
});

test("names, folders and states are refused in Docker's words, the same for both clients", async () => {
  const id = await engine.ok(["create", "--name", "idle", "busybox", "true"]);
  const mine = mkdtempSync("/tmp/naru-test-checkpoints-");
  mkdirSync(join(mine, "photos"));
  const dir = `--checkpoint-dir=${mine}`;
  for (const client of ["docker", "naru"] as const) {
    const ask = (...args: string[]) => said(args, client);
    const create = (...args: string[]) => ask("checkpoint", "create", ...args);
    expect(await create("idle", "one")).toEqual(failed(`container ${id} is not running`));
    expect(await create("none", "one")).toEqual(failed("No such container: none"));
    expect(await ask("checkpoint", "ls", "none")).toEqual(failed("No such container: none"));
    expect(await ask("checkpoint", "ls", "idle")).toMatchObject({
      code: 0,
      stdout: "CHECKPOINT NAME\n",
    });
    expect((await ask("checkpoint", "ls", dir, "idle")).stdout).toBe("CHECKPOINT NAME\nphotos\n");
    for (const flags of [[], [dir]]) {
      const name = flags.length === 0 ? "one" : "photos";
      expect(await ask("checkpoint", "rm", ...flags, "idle", name)).toEqual(
        failed(`checkpoint ${name} does not exist for container idle`),
      );
    }
    expect(await ask("start", "--checkpoint", "one", "idle")).toEqual(
      failed("checkpoint one does not exist for container /idle"),
    );
    expect(await ask("start", "--checkpoint", "one", dir, "idle")).toEqual(
      failed("custom checkpointdir is not supported"),
    );
  }
  expect(existsSync(join(mine, "photos"))).toBe(true);
  rmSync(mine, { recursive: true });
  await remove("idle");
});

test("paths as names lead nowhere", async () => {
  await engine.ok(["create", "--name", "kept", "busybox", "true"]);
  for (const name of ["..%2f..%2fkept", "%2e%2e%2fx", "a%00b", "a"]) {
    const answer = await engine.fetch(`/v1.51/containers/kept/checkpoints/${name}`, {
      method: "DELETE",
    });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.status).toBeLessThan(500);
    await answer.body?.cancel();
  }
  expect(await engine.ok(["start", "-a", "kept"])).toBe("");
  await remove("kept");
});

test.skipIf(CRIU !== null)(
  "without criu a container runs on, and the error names criu",
  async () => {
    await engine.ok(["run", "-d", "--name", "web", ...COUNT]);
    const mine = join(engine.root, "mine");
    for (const flags of [[], [`--checkpoint-dir=${mine}`]]) {
      expect(await said(["checkpoint", "create", ...flags, "web", "one"])).toEqual(
        failed(
          'Cannot checkpoint container web: CRIU version check failed: exec: "criu": executable file not found in $PATH: unknown',
        ),
      );
    }
    expect(readdirSync(mine)).toEqual([]);
    expect(await engine.ok(["checkpoint", "ls", "web"])).toBe("CHECKPOINT NAME");
    expect(await stateOf("web", "Running")).toBe("true");
    await remove("web");
  },
);

const numbersOf = async (name: string) =>
  (await engine.ok(["logs", name])).split("\n").filter(Boolean).map(Number);
const counts = (numbers: readonly number[]) => numbers.every((each, at) => each === at + 1);
const countsPast = (name: string, least: number) =>
  until(async () => (await numbersOf(name)).length > least);

describe.skipIf(CRIU === null)(`with criu${REASON}`, () => {
  test("a process goes on counting where its checkpoint was made", async () => {
    const mounts = ["-v", "kept:/data", "--tmpfs", "/scratch", "-e", "WORD=ferry"];
    const web = "mkdir -p /www; hostname >/www/name; httpd -h /www; echo $$ >/scratch/pid; ";
    const flags = ["--name", "counter", "-p", "127.0.0.1::80", ...mounts];
    const [image = "", shell = "", option = "", count = ""] = COUNT;
    await engine.ok(["run", "-d", ...flags, image, shell, option, web + count]);
    const page = async () => {
      const address = await engine.ok(["port", "counter", "80"]);
      return await (await fetch(`http://${address}/name`)).text();
    };
    await countsPast("counter", 3);
    const name = await page();
    const look = `cat /scratch/pid; echo $WORD; touch /data/file; cat /proc/1/cgroup; ls -R /sys/fs/cgroup | head -100; cat /proc/mounts | cut -d' ' -f2-3 | sort; ulimit -n; grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/1/status; cat /proc/1/oom_score_adj; hostname`;
    const seen = await engine.ok(["exec", "counter", "sh", "-c", look]);
    expect(await said(["checkpoint", "create", "counter", "one"])).toEqual({
      code: 0,
      stdout: "one\n",
      stderr: "",
    });
    expect(await stateOf("counter", "Status")).toBe("exited");
    expect(await stateOf("counter", "ExitCode")).toBe("137");
    const before = await numbersOf("counter");
    expect(counts(before)).toBe(true);

    expect(await said(["start", "--checkpoint", "one", "counter"])).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
    await countsPast("counter", before.length + 3);
    expect(counts(await numbersOf("counter"))).toBe(true);
    expect(await page()).toBe(name);
    expect(await engine.ok(["exec", "counter", "sh", "-c", look])).toBe(seen);
    await engine.ok(["stop", "-t", "1", "counter"]);
    await remove("counter");
    await engine.ok(["volume", "rm", "kept"]);
  });
});
