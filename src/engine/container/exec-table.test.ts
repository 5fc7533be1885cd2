import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

import { openStore } from "#engine/store";

import type { ExecInstance } from "./container-service.ts";
import { ExecTable, OPEN_LIMIT } from "./exec-table.ts";
import { volumeMigrations } from "#engine/volume";
import { containerMigrations } from "./records.ts";

const execOf = (id: string, state: ExecInstance["state"]): ExecInstance => ({
  id,
  containerId: "box",
  request: {
    command: ["ls"],
    attachStdin: false,
    attachStdout: false,
    attachStderr: false,
    terminal: false,
    detachKeys: "",
    environment: [],
    workingDirectory: "",
    user: "",
    privileged: false,
    consoleSize: null,
  },
  state,
});

function openTable() {
  const folder = mkdtempSync("/tmp/naru-test-execs-");
  const store = openStore({
    path: join(folder, "naru.db"),
    migrations: [...volumeMigrations, ...containerMigrations],
  });
  return {
    table: new ExecTable(store),
    [Symbol.dispose]: () => {
      store[Symbol.dispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const idle = new Set<string>();

test("execs that nobody starts give way, oldest first, and those that run or start do not", () => {
  using opened = openTable();
  const { table } = opened;
  table.put(execOf("running", { status: "running", pid: 1 }));
  table.put(execOf("starting", { status: "created" }));
  for (let index = 2; index < OPEN_LIMIT - 1; index += 1) {
    table.put(execOf(`idle${index}`, { status: "created" }));
  }
  const starting = new Set(["starting"]);
  expect(table.makeRoom("box", starting)).toBe(true);
  table.put(execOf("last", { status: "created" }));
  expect(table.idsOf("box").length).toBe(OPEN_LIMIT);
  for (const gone of ["idle2", "idle3"]) {
    expect(table.get(gone)).toBeDefined();
    expect(table.makeRoom("box", starting)).toBe(true);
    expect(() => table.must(gone)).toThrow(`No such exec instance: ${gone}`);
    table.put(execOf(`after ${gone}`, { status: "created" }));
  }
  expect(table.idsOf("box").slice(0, 3)).toEqual(["running", "starting", "idle4"]);
});

test("there is no room for another exec when all that are open run", () => {
  using opened = openTable();
  const { table } = opened;
  for (let index = 0; index < OPEN_LIMIT; index += 1) {
    table.put(execOf(`${index}`, { status: "running", pid: index }));
  }
  expect(table.makeRoom("box", idle)).toBe(false);
  expect(table.makeRoom("other", idle)).toBe(true);
  table.put(execOf("7", { status: "exited", pid: 7, exitCode: 0 }));
  expect(table.makeRoom("box", idle)).toBe(true);
});
