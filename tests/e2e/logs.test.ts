/** Log drivers, `docker logs` and log servers, through the real docker CLI and the containers' own output. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

/** Runs a container to its end and keeps it. @returns its id */
const ran = async (options: readonly string[], script: string): Promise<string> => {
  const id = await engine.ok(["create", ...options, "busybox", "sh", "-c", script]);
  await engine.ok(["start", id]);
  await engine.ok(["wait", id]);
  return id;
};

const logs = async (id: string, ...options: string[]) =>
  await engine.docker(["logs", ...options, id]);

/** What every driver that can be read must do alike. */
async function expectWholeLogs(options: readonly string[]): Promise<void> {
  // Who of two streams comes first is the kernel's choice: only the first line is of the other.
  const script = "echo two >&2; sleep 0.5; echo one; echo three; printf four";
  const id = await ran([...options, "--label", "l=v v", "--log-opt", "labels=l"], script);
  const all = await logs(id);
  expect(all).toMatchObject({ code: 0, stdout: "one\nthree\nfour", stderr: "two\n" });
  const stamped = await logs(id, "-t", "--details");
  expect(stamped.stdout.split("\n")[0]).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]{18}Z l=v\+v one$/);
  expect((await logs(id, "--tail", "2")).stdout).toBe("three\nfour");
  expect((await logs(id, "--tail", "0")).stdout).toBe("");
  const naru = await engine.naru(["logs", "-t", "--details", id]);
  expect(naru).toMatchObject({ code: 0, stdout: stamped.stdout, stderr: stamped.stderr });
  const [, third = ""] = stamped.stdout.split("\n");
  const time = third.split(" ")[0] ?? "";
  expect((await logs(id, "--since", time)).stdout).toBe("three\nfour");
  expect((await logs(id, "--until", time)).stdout).toBe("one\nthree\n");
  expect((await logs(id, "--since", time, "--until", time)).stdout).toBe("three\n");
  expect((await logs(id, "--since", "1h", "--tail", "1", "-f")).stdout).toBe("four");
}

test.each(["json-file", "local"])(
  "%s keeps what is printed, as docker logs reads it",
  async (driver) => {
    await expectWholeLogs(["--log-driver", driver]);
  },
);

test("local keeps every byte, rotates and compresses, and a follower loses nothing", async () => {
  const options = [
    "--log-driver",
    "local",
    "--log-opt",
    "max-size=64k",
    "--log-opt",
    "max-file=50",
  ];
  const id = await engine.ok([
    "create",
    ...options,
    "busybox",
    "sh",
    "-c",
    "seq 1 40000; head -c 50000 /dev/urandom | tee /bytes; sleep 0.1; seq 40001 45000",
  ]);
  const follower = engine.docker(["start", "-a", id]);
  await follower;
  const numbers = Array.from({ length: 40_000 }, (_, n) => `${n + 1}\n`).join("");
  const { stdout } = await logs(id, "-f");
  expect(stdout.startsWith(numbers)).toBe(true);
  expect(stdout.endsWith("44999\n45000\n")).toBe(true);
  const folder = join(engine.dataRoot, "containers", id, "local-logs");
  expect(readdirSync(folder).some((name) => name.endsWith(".gz"))).toBe(true);
  await engine.ok(["rm", id]);
});

test("none keeps nothing, and says so", async () => {
  const id = await ran(["--log-driver", "none"], "echo gone");
  const answer = await logs(id);
  expect(answer.code).toBe(1);
  expect(answer.stderr).toContain("configured logging driver does not support reading");
  expect(existsSync(join(engine.dataRoot, "containers", id, `${id}-json.log`))).toBe(false);
});

test("what a driver does not know is refused in Docker's sentence", async () => {
  const refused = async (driver: string, ...options: string[]) => {
    const args = options.flatMap((option) => ["--log-opt", option]);
    const answer = await engine.docker(["create", "--log-driver", driver, ...args, "busybox"]);
    expect(answer.code).toBe(1);
    return answer.stderr;
  };
  expect(await refused("awslogs", "awslogs-region=x")).toContain(
    "logger: no log driver named 'awslogs' is registered",
  );
  expect(await refused("json-file", "size=1")).toContain(
    "unknown log opt 'size' for json-file log driver",
  );
  expect(await refused("json-file", "mode=fast")).toContain(
    "logger: logging mode not supported: fast",
  );
  expect(await refused("local", "max-buffer-size=1m")).toContain(
    "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
  );
});
