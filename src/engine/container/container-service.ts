/** The contract of the container room: the life of a container, as servers see it. */
import type { Endpoint, EndpointRequest, PortBinding } from "#engine/network";
import type { Health } from "#engine/health";
import type { StatsWatcher } from "#engine/stats";
import type { Digest, ImageRunConfig } from "#oci";

import type { ContainerConfig, CreateRequest, HostConfig, RestartPolicy } from "./config.ts";

export type ContainerState =
  | {
      readonly status: "created";
      /** Set by a start that failed: 127, 126 or 128, and its sentence. */
      readonly exitCode?: number;
      readonly error?: string;
    }
  | {
      readonly status: "running";
      readonly pid: number;
      readonly startedAt: string;
      /** The end of the run before this one; absent at the first. */
      readonly finishedAt?: string;
      readonly oomKilled?: boolean;
    }
  | {
      readonly status: "paused";
      readonly pid: number;
      readonly startedAt: string;
      readonly finishedAt?: string;
      readonly oomKilled?: boolean;
    }
  /** Ended, and its restart policy starts it again soon: Docker shows Running and Restarting as true. */
  | {
      readonly status: "restarting";
      readonly exitCode: number;
      readonly oomKilled: boolean;
      readonly startedAt: string;
      readonly finishedAt: string;
      readonly error: string;
    }
  | {
      readonly status: "exited";
      readonly exitCode: number;
      readonly oomKilled: boolean;
      readonly startedAt: string;
      readonly finishedAt: string;
      /** What the supervisor or a failed start said; "" otherwise. */
      readonly error: string;
    }
  /** A removal that has begun: it is resumed at start-up, never a place to stay. */
  | { readonly status: "removing" };

/** A mount as the container has it. */
export interface ContainerMount {
  readonly type: "bind" | "tmpfs" | "volume" | "image";
  readonly name: string;
  readonly source: string;
  readonly destination: string;
  readonly driver: string;
  readonly mode: string;
  readonly readWrite: boolean;
  readonly propagation: string;
}

/** A container's whole record. Times are ISO 8601 with nanoseconds. */
export interface Container {
  readonly id: string;
  readonly name: string;
  /** That and what links call it, `web/db`, in order. */
  readonly names: readonly string[];
  readonly createdAt: string;
  readonly imageId: Digest;
  /** As asked, merged with the image's defaults: what inspect shows under Config. */
  readonly config: ContainerConfig;
  readonly host: HostConfig;
  /** `/name:/parent/alias` of each `--link`, by the names of now. */
  readonly links?: readonly string[];
  /** The program that runs: entrypoint and command joined. */
  readonly path: string;
  readonly args: readonly string[];
  readonly layers: readonly Digest[];
  readonly state: ContainerState;
  /** null for one that was never probed. */
  readonly health: Health | null;
  readonly restartCount: number;
  readonly mounts: readonly ContainerMount[];
  /** What it is connected to, whether or not it runs. */
  readonly networks: readonly EndpointRequest[];
  readonly endpoints: readonly Endpoint[];
  readonly ports: readonly PortBinding[];
  readonly logPath: string;
  readonly resolvConfPath: string;
  readonly hostnamePath: string;
  readonly hostsPath: string;
  readonly execIds: readonly string[];
}

export type WaitCondition = "not-running" | "next-exit" | "removed";

export interface WaitResult {
  readonly exitCode: number;
  /** Why a container could not be started; null otherwise. */
  readonly error: string | null;
}

export interface ListRequest {
  readonly all: boolean;
  /** Newest n, whatever their state. */
  readonly limit: number;
  readonly size: boolean;
  /** Docker's filters by name, values as given: id, name, label, status, exited, ancestor, before, since, … */
  readonly filters: Readonly<Record<string, readonly string[]>>;
}

export interface ListedContainer {
  readonly container: Container;
  readonly sizeRwBytes?: number;
  readonly sizeRootFsBytes?: number;
}

export interface LogsRequest {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  readonly timestamps: boolean;
  readonly details: boolean;
  /** Nanoseconds since 1970; null: no bound. */
  readonly sinceNano: bigint | null;
  readonly untilNano: bigint | null;
  /** null: everything. */
  readonly tail: number | null;
  readonly signal: AbortSignal;
}

/** The streams of one process: a terminal's are raw, others are Docker's multiplexed frames. */
export interface ProcessStreams {
  readonly terminal: boolean;
  /** Output as it is to go on the wire; ends when the process has ended and is drained. */
  readonly output: ReadableStream<Uint8Array>;
  /** null when stdin was not asked for or is not open. Closing it is end of file. */
  readonly input: WritableStream<Uint8Array> | null;
  /** Leaves the process alone and ends both streams. */
  detach(): void;
}

export interface AttachRequest {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Follow live output. */
  readonly stream: boolean;
  /** What the log holds already, first. */
  readonly logs: boolean;
  /** Docker's syntax: `ctrl-p,ctrl-q`; "" is that default. Only acts on a terminal's or open stdin. */
  readonly detachKeys: string;
}

export interface ExecCreateRequest {
  readonly command: readonly string[];
  readonly attachStdin: boolean;
  readonly attachStdout: boolean;
  readonly attachStderr: boolean;
  readonly terminal: boolean;
  readonly detachKeys: string;
  readonly environment: readonly string[];
  readonly workingDirectory: string;
  readonly user: string;
  readonly privileged: boolean;
  readonly consoleSize: readonly [number, number] | null;
}

export interface ExecStartRequest {
  readonly detach: boolean;
  readonly terminal: boolean;
  readonly consoleSize: readonly [number, number] | null;
  /** The request is in order; only making the process may still fail. */
  readonly onAccepted?: () => void;
}

export interface ExecInstance {
  readonly id: string;
  readonly containerId: string;
  readonly request: ExecCreateRequest;
  /** What the container's links add to its environment. */
  readonly linked?: readonly string[];
  /** A probe of the engine's own: nobody asks for it again. */
  readonly isProbe?: true;
  readonly state:
    | { readonly status: "created" }
    | { readonly status: "running"; readonly pid: number }
    | { readonly status: "exited"; readonly pid: number; readonly exitCode: number };
}

/** What `docker update` changes: fields that are absent stay as they are. */
export interface UpdateRequest {
  /** `pidsLimit` -1 takes the limit away. */
  readonly resources: Partial<HostConfig["resources"]>;
  readonly restartPolicy: RestartPolicy | null;
}

/** Which stopped containers a prune removes. */
export interface PruneRequest {
  /** Those made before this moment, in milliseconds since 1970; null: all. */
  readonly untilMs: number | null;
  /** `key` or `key=value`: those that have all of them. */
  readonly labels: readonly string[];
  /** Not those that have all of these. */
  readonly withoutLabels: readonly string[];
}

/** A file or directory of a container. */
export interface PathStat {
  readonly name: string;
  readonly sizeBytes: number;
  /** Linux's: type and permission bits. */
  readonly mode: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  /** Where a link leads in the end, as an absolute path of the container; "" for all else. */
  readonly linkTarget: string;
}

export interface ExtractRequest {
  /** A directory of the container. */
  readonly path: string;
  /** A tar, plain or compressed. */
  readonly archive: ReadableStream<Uint8Array>;
  /** Refuse to replace a directory by something else, and the other way round. */
  readonly keepKinds: boolean;
  /** Give everything to the container's user. */
  readonly copyOwner: boolean;
  readonly signal: AbortSignal;
}

export interface FileChange {
  readonly kind: "added" | "modified" | "deleted";
  readonly path: string;
}

export interface CommitRequest {
  /** `busybox:new`; null leaves the image without a name. */
  readonly reference: string | null;
  readonly author: string;
  readonly comment: string;
  /** Freeze a running container meanwhile. */
  readonly pause: boolean;
  /** What the image's config is to say; the container fills in the rest. */
  readonly config: ImageRunConfig;
  readonly signal: AbortSignal;
}

/** A checkpoint that is to be made. */
export interface CheckpointRequest {
  readonly name: string;
  /** A folder of the host's instead of the container's own; "" for none. */
  readonly directory: string;
  /** Otherwise the container ends with it. */
  readonly leaveRunning: boolean;
}

/** What a start goes on from; both "" for an ordinary one. */
export interface StartRequest {
  readonly checkpoint: string;
  readonly checkpointDirectory: string;
}

export interface ContainerService {
  create(request: CreateRequest): Promise<{ id: string; warnings: string[] }>;
  /** @throws EngineError "notModified" when it runs already */
  start(nameOrId: string, request?: StartRequest): Promise<void>;
  /** @param request.timeoutSeconds null: the container's own, else 10; -1 waits for ever. "notModified" if stopped */
  stop(
    nameOrId: string,
    request: { timeoutSeconds: number | null; signal: string | null },
  ): Promise<void>;
  restart(
    nameOrId: string,
    request: { timeoutSeconds: number | null; signal: string | null },
  ): Promise<void>;
  /** @param signal a name with or without SIG, or a number; "" is SIGKILL */
  kill(nameOrId: string, signal: string): Promise<void>;
  pause(nameOrId: string): Promise<void>;
  unpause(nameOrId: string): Promise<void>;
  rename(nameOrId: string, newName: string): Promise<void>;
  remove(nameOrId: string, request: { force: boolean; volumes: boolean }): Promise<void>;
  /** @param name `parent/alias`, as inspect shows it. @throws EngineError in Docker's words */
  removeLink(name: string): Promise<void>;
  /** One network more, now or at the next start. */
  connect(nameOrId: string, request: EndpointRequest): Promise<void>;
  disconnect(nameOrId: string, request: { network: string; force: boolean }): Promise<void>;
  /** Limits and restart policy, also of a running container. @throws EngineError in Docker's words */
  update(nameOrId: string, request: UpdateRequest): Promise<{ warnings: string[] }>;
  /** Removes stopped containers. @throws EngineError "conflict" while another prune runs */
  prune(request: PruneRequest): Promise<{ deleted: string[]; reclaimedBytes: number }>;
  /** Tells once a second what a container uses, until it is removed or the watch is disposed. */
  watchStats(id: string, watcher: StatsWatcher): Disposable;
  /** Registered when the call returns, so that an exit right after is not missed; the promise inside is the result. */
  wait(
    nameOrId: string,
    request: { condition: WaitCondition; signal: AbortSignal },
  ): { id: string; result: Promise<WaitResult> };
  resize(nameOrId: string, size: { columns: number; rows: number }): Promise<void>;
  /** By name, id or unique prefix. @throws EngineError "notFound": `No such container: …` */
  resolve(nameOrId: string): Container;
  list(request: ListRequest): Promise<ListedContainer[]>;
  sizes(nameOrId: string): Promise<{ rwBytes: number; rootFsBytes: number }>;
  /** Multiplexed frames, or raw lines for a terminal's container. */
  logs(nameOrId: string, request: LogsRequest): Promise<ReadableStream<Uint8Array>>;
  attach(nameOrId: string, request: AttachRequest): Promise<ProcessStreams>;
  top(nameOrId: string, psArguments: string): Promise<{ titles: string[]; processes: string[][] }>;
  createExec(nameOrId: string, request: ExecCreateRequest): Promise<string>;
  /** Streams when not detached; resolves when the process runs. */
  startExec(execId: string, request: ExecStartRequest): Promise<ProcessStreams | null>;
  resizeExec(execId: string, size: { columns: number; rows: number }): Promise<void>;
  resolveExec(execId: string): ExecInstance;
  /** Resolves with its exit code when it has ended. @throws EngineError "notFound" */
  waitForExec(execId: string): Promise<number>;
  /** @throws EngineError "notFound": `Could not find the file …` */
  statPath(nameOrId: string, path: string): Promise<PathStat>;
  readArchive(
    nameOrId: string,
    path: string,
  ): Promise<{ stat: PathStat; tar: ReadableStream<Uint8Array> }>;
  extract(nameOrId: string, request: ExtractRequest): Promise<void>;
  /** All files of a container, without its volumes. */
  exportFiles(nameOrId: string): Promise<ReadableStream<Uint8Array>>;
  /** What it changed of its image's files, by path. */
  changes(nameOrId: string): Promise<FileChange[]>;
  /** @returns the new image's id */
  commit(nameOrId: string, request: CommitRequest): Promise<Digest>;
  /** @throws EngineError in Docker's words; the container runs on then */
  createCheckpoint(nameOrId: string, request: CheckpointRequest): Promise<void>;
  /** Names in order. @param request.directory a folder of the host's; "" for the container's own */
  listCheckpoints(nameOrId: string, request: { directory: string }): string[];
  removeCheckpoint(
    nameOrId: string,
    request: Omit<CheckpointRequest, "leaveRunning">,
  ): Promise<void>;
  /** The plan of system calls a start would run, one a line: `naru run --explain`. */
  explain(nameOrId: string): Promise<string>;
}
