/** Docker's Python client (Debian's python3-docker) on a private engine; what it checks is in python-client.py. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";

import { type Engine, run, startEngine } from "./engine.ts";

/** Debian's own: another one on PATH has other packages. */
const PYTHON = "/usr/bin/python3";

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine();
});

afterAll(async () => {
  await engine?.[Symbol.asyncDispose]();
});

test("containers, exec, attach, logs, events, images, archives and the system, by Python", async () => {
  const done = await run([PYTHON, join(import.meta.dir, "python-client.py"), engine.socket]);
  expect({ code: done.code, stderr: done.stderr }).toEqual({ code: 0, stderr: "" });
  const parts = ["run", "life", "attach", "logs", "events", "images", "archive", "system", "stuff"];
  expect(done.stdout).toBe(parts.map((part) => `ok ${part}\n`).join(""));
});

test("every JSON answer was as the definition says", () => {
  expect(engine.violations()).toEqual([]);
});
