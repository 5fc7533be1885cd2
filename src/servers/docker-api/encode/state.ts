/** A container's state as Docker tells it: flags for programs, a sentence for people. */
import type { ContainerState } from "#engine/container";
import type { Health } from "#engine/health";
import { type ContainerState as WireState, ZERO_TIME } from "#wire/docker";

import { humanDuration } from "./duration.ts";

const NOTHING: WireState = {
  Status: "created",
  Running: false,
  Paused: false,
  Restarting: false,
  OOMKilled: false,
  Dead: false,
  Pid: 0,
  ExitCode: 0,
  Error: "",
  StartedAt: ZERO_TIME,
  FinishedAt: ZERO_TIME,
};

/** Only here does "paused" also mean "running", as Docker's flags have it. */
export function encodeState(state: ContainerState, health: Health | null = null): WireState {
  return {
    ...encodeLife(state),
    ...(health === null
      ? {}
      : {
          Health: {
            Status: health.status,
            FailingStreak: health.failingStreak,
            Log: health.log.map(({ startedAt, endedAt, exitCode, output }) => ({
              Start: startedAt,
              End: endedAt,
              ExitCode: exitCode,
              Output: output,
            })),
          },
        }),
  };
}

function encodeLife(state: ContainerState): WireState {
  switch (state.status) {
    case "created":
      return { ...NOTHING, ExitCode: state.exitCode ?? 0, Error: state.error ?? "" };
    case "running":
    case "paused":
      return {
        ...NOTHING,
        Status: state.status,
        Running: true,
        Paused: state.status === "paused",
        OOMKilled: state.oomKilled ?? false,
        Pid: state.pid,
        StartedAt: instant(state.startedAt),
        FinishedAt: instant(state.finishedAt ?? ""),
      };
    case "restarting":
    case "exited":
      return {
        ...NOTHING,
        Status: state.status,
        Running: state.status === "restarting",
        Restarting: state.status === "restarting",
        OOMKilled: state.oomKilled,
        ExitCode: state.exitCode,
        Error: state.error,
        StartedAt: instant(state.startedAt),
        FinishedAt: instant(state.finishedAt),
      };
    case "removing":
      return { ...NOTHING, Status: "removing" };
  }
}

const instant = (text: string): string => (text === "" ? ZERO_TIME : text);

/** `Up 5 minutes`, `Exited (0) 3 seconds ago`: as `docker ps` shows it. */
export function statusText(
  state: ContainerState,
  { now, health = null }: { now: number; health?: Health | null },
): string {
  const since = (text: string) => humanDuration(now - Date.parse(text));
  switch (state.status) {
    case "created":
      return "Created";
    case "running":
      return `Up ${since(state.startedAt)}${healthText(health)}`;
    case "paused":
      return `Up ${since(state.startedAt)} (Paused)`;
    case "restarting":
      return `Restarting (${state.exitCode}) ${since(state.finishedAt)} ago`;
    case "exited":
      return `Exited (${state.exitCode}) ${since(state.finishedAt)} ago`;
    case "removing":
      return "Removal In Progress";
  }
}

function healthText(health: Health | null): string {
  if (health === null) return "";
  return health.status === "starting" ? " (health: starting)" : ` (${health.status})`;
}
