/** Opens the container room over the rooms below it. */
import { mkdirSync } from "node:fs";

import { type Clock, sentenceOf, systemClock } from "#base";
import type { ImageUsers } from "#engine/image";
import type { RuntimeDefaults } from "#engine/runtime";
import { StatsSampler } from "#engine/stats";
import type { SupervisorEvent } from "#engine/supervisor";

import { dropAnnounced } from "./announce.ts";
import { checkpointsOf, createCheckpoint, deleteCheckpoint } from "./checkpoint.ts";
import type { ContainerService } from "./container-service.ts";
import type { ContainerPaths, ContainerRooms, Context, Log } from "./context.ts";
import { connectContainer, disconnectContainer } from "./connect.ts";
import { createContainer } from "./create.ts";
import {
  createExec,
  forgetSoon,
  handleExecExit,
  resizeExec,
  startExec,
  waitForExec,
} from "./exec.ts";
import { ExecTable } from "./exec-table.ts";
import { handleExit } from "./exit.ts";
import { exportOf, extractInto, readArchiveOf, statPathOf } from "./files/archive.ts";
import { changesOf } from "./files/changes.ts";
import { commitContainer } from "./files/commit.ts";
import { explainStart } from "./explain.ts";
import { publishEvent } from "./happenings.ts";
import { pruneContainers } from "./prune.ts";
import { HealthTable } from "./health-table.ts";
import type { HostFacts } from "./host-facts.ts";
import { reconcile } from "./reconcile.ts";
import { Records } from "./records.ts";
import { removeContainer } from "./remove.ts";
import { sampledContainer } from "./sampled.ts";
import { startContainer } from "./start.ts";
import { startByPolicy } from "./start-by-policy.ts";
import type { FoundDevice } from "./cdi.ts";
import {
  devicesNamed,
  handleStepExit,
  resizeStep,
  runStep,
  type StepRequest,
  type StepResult,
} from "./step.ts";
import {
  killContainer,
  pauseContainer,
  renameContainer,
  resizeContainer,
  restartContainer,
  stopAll,
  stopContainer,
  unpauseContainer,
} from "./stop.ts";
import { removeLink } from "./links.ts";
import { attachContainer, readLogs } from "./streams.ts";
import { Sweeper } from "./sweeper.ts";
import { listProcesses } from "./top.ts";
import { updateContainer } from "./update.ts";
import type { EngineOptions } from "./validate.ts";
import { imageUsersOf, layersInUse, listContainers, sizesOf, viewOf } from "./view.ts";
import { waitFor } from "./wait.ts";

export interface OpenContainersRequest extends ContainerRooms {
  readonly options: EngineOptions;
  readonly facts: HostFacts;
  readonly specDefaults: RuntimeDefaults;
  readonly paths: ContainerPaths;
  readonly log: Log;
  readonly clock?: Clock;
  /** Starts this program as `container-files`. */
  readonly filesCommand?: () => readonly string[];
  readonly onProbed?: NonNullable<Context["onProbed"]>;
}

/** The service for servers, and the few things the daemon itself needs. */
export interface ContainerRoom extends ContainerService, ImageUsers {
  /** Ids of the containers that have a volume, running or not. */
  usersOfVolume(name: string): readonly string[];
  /** Compares records with what lives and repairs them: at start-up, and when a supervisor was reborn. */
  reconcile(request: { startUp: boolean }): Promise<void>;
  /** Starts what restart policies want to run with the engine. */
  startByPolicy(): Promise<void>;
  onSupervisorEvent(event: SupervisorEvent): void;
  counts(): { running: number; paused: number; stopped: number };
  /**
   * A clean end without live restore: every container is stopped, and starts with the next engine if its policy says so.
   * Resolves false when `graceSeconds` (or a container's own patience, if longer) was not enough; negative waits for ever.
   */
  stopAll(request: { graceSeconds: number }): Promise<boolean>;
  /** A build's RUN, with everything a container has but a record. */
  runStep(request: StepRequest): Promise<StepResult>;
  /** Devices that a step can be given, by what a RUN calls them. */
  devicesNamed(name: string): readonly FoundDevice[];
  /** @throws EngineError "conflict" for a step without a terminal */
  resizeStep(id: string, size: { columns: number; rows: number }): Promise<void>;
  /** Resolves when no deletion waits. */
  swept(): Promise<void>;
  /** Ends timers. Containers run on. */
  close(): void;
}

/** @param request.store opened with `containerMigrations` */
export function openContainerService(request: OpenContainersRequest): ContainerRoom {
  const { store, paths, log } = request;
  mkdirSync(paths.containers, { recursive: true, mode: 0o710 });
  const closing = new AbortController();
  const context: Context = {
    ...request,
    clock: request.clock ?? systemClock,
    records: new Records(store),
    execs: new ExecTable(store),
    health: new HealthTable(store),
    execEnds: new Map(),
    sweeper: new Sweeper({ paths, snapshots: request.snapshots, log }),
    stats: new StatsSampler((id) => sampledContainer(context, id)),
    lives: new Map(),
    steps: new Map(),
    startingExecs: new Map(),
    announced: null,
    ending: false,
    forgetLater: () => undefined,
    closing: closing.signal,
  };
  context.forgetLater = forgetSoon(context);
  request.gc.addRoots("container", () => ({
    layers: layersInUse(context),
    snapshots: [...context.records.all()].map(({ id }) => id),
  }));
  return {
    ...lifecycle(context),
    ...reading(context),
    ...processes(context),
    ...files(context),
    ...checkpoints(context),
    ...imageUsersOf(context),
    reconcile: (how) => reconcile(context, how),
    startByPolicy: () => startByPolicy(context),
    runStep: (request) => runStep(context, request),
    devicesNamed: (name) => devicesNamed(context, name),
    resizeStep: (id, size) => resizeStep(context, id, size),
    onSupervisorEvent: (event) => {
      try {
        handleEvent(context, event);
      } catch (cause) {
        // The connection to the supervisor carries everyone's events: one that fails must not end it.
        log.error(`the event ${event.type} was not handled`, { error: sentenceOf(cause) });
      }
    },
    usersOfVolume: (name) => context.records.usersOfVolume(name),
    counts: () => countStates(context),
    stopAll: (request) => stopAll(context, request),
    swept: () => context.sweeper.idle(),
    close: () => {
      closing.abort();
      context.stats[Symbol.dispose]();
      dropAnnounced(context);
      for (const live of context.lives.values()) {
        if (live.restartTimer !== null) clearTimeout(live.restartTimer);
        live.health?.abort();
      }
    },
  };
}

const lifecycle = (context: Context) =>
  ({
    create: async (request) => createContainer(context, request),
    start: async (nameOrId, request) => await startContainer(context, nameOrId, request),
    stop: (nameOrId, request) => stopContainer(context, nameOrId, request),
    restart: (nameOrId, request) => restartContainer(context, nameOrId, request),
    kill: (nameOrId, signal) => killContainer(context, nameOrId, signal),
    pause: async (nameOrId) => await pauseContainer(context, nameOrId),
    unpause: async (nameOrId) => await unpauseContainer(context, nameOrId),
    rename: async (nameOrId, newName) => await renameContainer(context, nameOrId, newName),
    remove: (nameOrId, request) => removeContainer(context, nameOrId, request),
    removeLink: (name) => removeLink(context, name),
    connect: async (nameOrId, request) => await connectContainer(context, nameOrId, request),
    disconnect: async (nameOrId, request) => await disconnectContainer(context, nameOrId, request),
    wait: (nameOrId, request) => waitFor(context, nameOrId, request),
    update: (nameOrId, request) => updateContainer(context, nameOrId, request),
    prune: (request) => pruneContainers(context, request),
  }) satisfies Partial<ContainerService>;

const checkpoints = (context: Context) =>
  ({
    createCheckpoint: (nameOrId, request) => createCheckpoint(context, nameOrId, request),
    listCheckpoints: (nameOrId, request) => checkpointsOf(context, nameOrId, request),
    removeCheckpoint: (nameOrId, request) => deleteCheckpoint(context, nameOrId, request),
  }) satisfies Partial<ContainerService>;

const reading = (context: Context) =>
  ({
    resolve: (nameOrId) => viewOf(context, context.records.resolve(nameOrId)),
    list: (request) => listContainers(context, request),
    sizes: async (nameOrId) => await sizesOf(context, context.records.resolve(nameOrId)),
    logs: async (nameOrId, request) => readLogs(context, nameOrId, request),
    top: (nameOrId, psArguments) => listProcesses(context, nameOrId, psArguments),
    watchStats: (id, watcher) => context.stats.watch(id, watcher),
    explain: async (nameOrId) => await explainStart(context, nameOrId),
  }) satisfies Partial<ContainerService>;

const files = (context: Context) =>
  ({
    statPath: (nameOrId, path) => statPathOf(context, nameOrId, path),
    readArchive: (nameOrId, path) => readArchiveOf(context, nameOrId, path),
    extract: (nameOrId, request) => extractInto(context, nameOrId, request),
    exportFiles: (nameOrId) => exportOf(context, nameOrId),
    changes: (nameOrId) => changesOf(context, nameOrId),
    commit: (nameOrId, request) => commitContainer(context, nameOrId, request),
  }) satisfies Partial<ContainerService>;

const processes = (context: Context) =>
  ({
    resize: (nameOrId, size) => resizeContainer(context, nameOrId, size),
    attach: (nameOrId, request) => attachContainer(context, nameOrId, request),
    createExec: async (nameOrId, request) => createExec(context, nameOrId, request),
    startExec: (execId, request) => startExec(context, execId, request),
    resizeExec: (execId, size) => resizeExec(context, execId, size),
    resolveExec: (execId) => context.execs.must(execId),
    waitForExec: async (execId) => await waitForExec(context, execId),
  }) satisfies Partial<ContainerService>;

function handleEvent(context: Context, event: SupervisorEvent): void {
  switch (event.type) {
    case "exit":
      if (handleStepExit(context, event.exit)) return;
      if (event.exit.key.execId === undefined) handleExit(context, event.exit);
      else handleExecExit(context, event.exit);
      return;
    case "oom": {
      const record = context.records.get(event.key.id);
      if (record === undefined) return;
      publishEvent(context, record, "oom");
      if (record.state.status === "running" && !record.state.oomKilled) {
        context.records.note(record.id, { state: { ...record.state, oomKilled: true } });
      }
    }
  }
}

function countStates({ records }: Context): { running: number; paused: number; stopped: number } {
  const counts = { running: 0, paused: 0, stopped: 0 };
  for (const { state } of records.all()) {
    if (state.status === "running") counts.running += 1;
    else if (state.status === "paused") counts.paused += 1;
    else counts.stopped += 1;
  }
  return counts;
}
