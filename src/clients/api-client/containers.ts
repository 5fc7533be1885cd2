/** The endpoints of containers and execs, one function each. Answers are the wire's types. */
import {
  type ContainerCreateRequest,
  type ContainerCreateResponse,
  type ContainerInspect,
  type ContainerSummary,
  type ContainerTop,
  type ContainerWait,
  type ExecCreateRequest,
  EXEC_UPGRADE,
  type ExecInspect,
  type ExecStartRequest,
  type IdResponse,
} from "#wire/docker";

import { encodeName, jsonOf, type ApiClient, type ApiResponse, type Hijacked } from "./client.ts";

/** Filters as the API takes them: `{ status: ["running"] }`. */
export type Filters = Readonly<Record<string, readonly string[]>>;

/** Filters as a query: `{"status":{"running":true}}`; undefined when there are none. */
export function filtersQuery(filters: Filters | undefined): string | undefined {
  const entries = Object.entries(filters ?? {});
  if (entries.length === 0) return undefined;
  return JSON.stringify(
    Object.fromEntries(
      entries.map(([name, values]) => [
        name,
        Object.fromEntries(values.map((value) => [value, true])),
      ]),
    ),
  );
}

const pathOf = (id: string, action: string): string => `/containers/${encodeName(id)}${action}`;

export const createContainer = (
  client: ApiClient,
  options: {
    config: ContainerCreateRequest;
    name?: string | undefined;
    platform?: string | undefined;
  },
): Promise<ContainerCreateResponse> =>
  client.json({
    method: "POST",
    path: "/containers/create",
    query: { name: options.name, platform: options.platform },
    json: options.config,
  });

export const listContainers = (
  client: ApiClient,
  options: { all?: boolean; limit?: number | undefined; size?: boolean; filters?: Filters } = {},
): Promise<ContainerSummary[]> =>
  client.json({
    method: "GET",
    path: "/containers/json",
    query: {
      all: options.all,
      limit: options.limit,
      size: options.size,
      filters: filtersQuery(options.filters),
    },
  });

export const inspectContainer = (
  client: ApiClient,
  id: string,
  options: { size?: boolean } = {},
): Promise<ContainerInspect> =>
  client.json({ method: "GET", path: pathOf(id, "/json"), query: { size: options.size } });

export const startContainer = (
  client: ApiClient,
  id: string,
  options: {
    detachKeys?: string | undefined;
    checkpoint?: string | undefined;
    checkpointDirectory?: string | undefined;
  } = {},
): Promise<void> =>
  client.send({
    method: "POST",
    path: pathOf(id, "/start"),
    query: {
      detachKeys: options.detachKeys,
      checkpoint: options.checkpoint,
      "checkpoint-dir": options.checkpointDirectory,
    },
  });

export interface StopOptions {
  readonly signal?: string | undefined;
  readonly timeoutSeconds?: number | undefined;
}

export const stopContainer = (client: ApiClient, id: string, options: StopOptions = {}) =>
  client.send({ method: "POST", path: pathOf(id, "/stop"), query: stopQuery(options) });

export const restartContainer = (client: ApiClient, id: string, options: StopOptions = {}) =>
  client.send({ method: "POST", path: pathOf(id, "/restart"), query: stopQuery(options) });

const stopQuery = (options: StopOptions) => ({
  signal: options.signal,
  t: options.timeoutSeconds,
});

export const killContainer = (client: ApiClient, id: string, signal?: string): Promise<void> =>
  client.send({ method: "POST", path: pathOf(id, "/kill"), query: { signal } });

export const pauseContainer = (client: ApiClient, id: string): Promise<void> =>
  client.send({ method: "POST", path: pathOf(id, "/pause") });

export const unpauseContainer = (client: ApiClient, id: string): Promise<void> =>
  client.send({ method: "POST", path: pathOf(id, "/unpause") });

export const renameContainer = (client: ApiClient, id: string, name: string): Promise<void> =>
  client.send({ method: "POST", path: pathOf(id, "/rename"), query: { name } });

export const removeContainer = (
  client: ApiClient,
  id: string,
  options: { force?: boolean; volumes?: boolean; link?: boolean } = {},
): Promise<void> =>
  client.send({
    method: "DELETE",
    path: pathOf(id, ""),
    query: { force: options.force, v: options.volumes, link: options.link },
  });

export type WaitCondition = "not-running" | "next-exit" | "removed";

/**
 * Waits for a container to stop. Resolves once the daemon has begun to wait, so that a start that follows cannot be
 * missed; `exit` resolves with the code.
 */
export async function waitContainer(
  client: ApiClient,
  id: string,
  options: { condition?: WaitCondition; signal?: AbortSignal } = {},
): Promise<{ exit: Promise<ContainerWait> }> {
  const response = await client.request({
    method: "POST",
    path: pathOf(id, "/wait"),
    query: { condition: options.condition },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  const exit = response.text().then((text) => JSON.parse(text) as ContainerWait);
  exit.catch(() => undefined); // whoever asked awaits `exit` itself, maybe later than it fails
  return { exit };
}

export interface AttachOptions {
  readonly stdin?: boolean;
  readonly stdout?: boolean;
  readonly stderr?: boolean;
  readonly logs?: boolean;
  readonly detachKeys?: string | undefined;
}

export const attachContainer = (
  client: ApiClient,
  id: string,
  options: AttachOptions,
): Promise<Hijacked> =>
  client.hijack({
    method: "POST",
    path: pathOf(id, "/attach"),
    query: { stream: true, ...options },
  });

export interface LogsOptions {
  readonly stdout?: boolean;
  readonly stderr?: boolean;
  readonly follow?: boolean;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly timestamps?: boolean;
  readonly tail?: string | undefined;
  readonly details?: boolean;
}

/** Frames, or raw bytes when the container has a terminal: its inspect tells. */
export const containerLogs = (
  client: ApiClient,
  id: string,
  options: LogsOptions,
): Promise<ApiResponse> =>
  client.request({ method: "GET", path: pathOf(id, "/logs"), query: { ...options } });

export const topContainer = (
  client: ApiClient,
  id: string,
  psArgs?: string,
): Promise<ContainerTop> =>
  client.json({ method: "GET", path: pathOf(id, "/top"), query: { ps_args: psArgs } });

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

export const resizeContainer = (client: ApiClient, id: string, size: TerminalSize): Promise<void> =>
  client.send({
    method: "POST",
    path: pathOf(id, "/resize"),
    query: { h: size.rows, w: size.columns },
  });

/** The plan of system calls a start would run, as text. Naru only. */
export async function explainContainer(client: ApiClient, id: string): Promise<string> {
  const response = await client.request({ method: "GET", path: pathOf(id, "/explain") });
  return response.text();
}

export const createExec = (
  client: ApiClient,
  id: string,
  config: ExecCreateRequest,
): Promise<IdResponse> => client.json({ method: "POST", path: pathOf(id, "/exec"), json: config });

/** Creates an exec and, from a daemon that can, its running streams at once: see wire/docker's frames. */
export async function runExec(
  client: ApiClient,
  id: string,
  config: ExecCreateRequest,
): Promise<Hijacked | IdResponse> {
  const request = { method: "POST", path: pathOf(id, "/exec"), json: config } as const;
  const answer = await client.offer(request, EXEC_UPGRADE);
  return "wire" in answer ? answer : await jsonOf<IdResponse>(answer);
}

const execPath = (id: string, action: string): string => `/exec/${encodeName(id)}${action}`;

/** Starts an exec in the background. */
export const startExec = (client: ApiClient, id: string, config: ExecStartRequest): Promise<void> =>
  client.send({ method: "POST", path: execPath(id, "/start"), json: config });

/** Starts an exec and attaches to it. */
export const attachExec = (
  client: ApiClient,
  id: string,
  config: ExecStartRequest,
): Promise<Hijacked> =>
  client.hijack({ method: "POST", path: execPath(id, "/start"), json: config });

export const inspectExec = (client: ApiClient, id: string): Promise<ExecInspect> =>
  client.json({ method: "GET", path: execPath(id, "/json") });

export const resizeExec = (client: ApiClient, id: string, size: TerminalSize): Promise<void> =>
  client.send({
    method: "POST",
    path: execPath(id, "/resize"),
    query: { h: size.rows, w: size.columns },
  });
