import { expect, test } from "bun:test";

import type { ContainerState } from "#engine/container";

import { encodeState, statusText } from "./state.ts";

test("each state is one set of Docker's flags and one sentence", () => {
  const startedAt = "2026-01-01T00:00:00.123456789Z";
  const finishedAt = "2026-01-01T00:00:10Z";
  const now = Date.parse("2026-01-01T00:00:13Z");
  const ended = { exitCode: 7, oomKilled: true, startedAt, finishedAt, error: "" };
  const told = (state: ContainerState) => {
    const { Status, Running, Paused, Restarting, ExitCode } = encodeState(state);
    return [Status, Running, Paused, Restarting, ExitCode, statusText(state, { now })];
  };
  expect(told({ status: "created" })).toEqual(["created", false, false, false, 0, "Created"]);
  expect(told({ status: "created", exitCode: 127, error: "no" })[4]).toBe(127);
  expect(told({ status: "running", pid: 1, startedAt })).toEqual([
    "running",
    true,
    false,
    false,
    0,
    "Up 12 seconds",
  ]);
  expect(told({ status: "paused", pid: 1, startedAt })).toEqual([
    "paused",
    true,
    true,
    false,
    0,
    "Up 12 seconds (Paused)",
  ]);
  expect(told({ status: "exited", ...ended })).toEqual([
    "exited",
    false,
    false,
    false,
    7,
    "Exited (7) 3 seconds ago",
  ]);
  expect(told({ status: "restarting", ...ended })).toEqual([
    "restarting",
    true,
    false,
    true,
    7,
    "Restarting (7) 3 seconds ago",
  ]);
  expect(told({ status: "removing" })[5]).toBe("Removal In Progress");
  expect(encodeState({ status: "exited", ...ended })).toMatchObject({
    OOMKilled: true,
    StartedAt: startedAt,
  });
});
