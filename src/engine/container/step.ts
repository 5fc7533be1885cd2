/**
 * A build's RUN: a process on a snapshot as a container's, without a container's record. Everything carries the
 * step's id as its name, and no record knows that id: what a crash leaves is a stranger's, which start-up ends,
 * sweeps and gives back as it does for removed containers.
 */
import { invalid, sentenceOf } from "#base";
import type { ExitReport, ProcessReport } from "#engine/supervisor";
import { SIGKILL } from "#linux/process";
import type { Digest } from "#oci";

import type { ContainerConfig, HostConfig, MountRequest, NetworkMode } from "./config.ts";
import { type DeviceEdits, findDevices, type FoundDevice, requestedEdits } from "./cdi.ts";
import type { ProcessStreams } from "./container-service.ts";
import type { AttachedStreams, Context, LiveStep } from "./context.ts";
import { joinedById } from "./create.ts";
import { dnsOf } from "./dns.ts";
import { startError, startFailureOf } from "./failures.ts";
import { cleanPath } from "./merge.ts";
import { resolveMounts } from "./mounts.ts";
import { PLAIN_CONFIG, PLAIN_HOST } from "./plain.ts";
import { composeSpec, writeEtcFiles } from "./prepare.ts";
import type { ContainerRecord } from "./records.ts";
import { checkResources } from "./resources.ts";
import { nowText } from "./times.ts";

export interface StepRequest {
  /** 64 hexadecimal digits, of nobody else. */
  readonly id: string;
  /** Whose changes it goes on with, when its own process has ended; its own name: a snapshot of its own. */
  readonly snapshot: string;
  /** Bottom first. */
  readonly layers: readonly Digest[];
  readonly command: readonly string[];
  readonly environment: readonly string[];
  readonly user: string;
  readonly workingDirectory: string;
  readonly hostname: string;
  readonly network: NetworkMode;
  readonly mounts: readonly MountRequest[];
  readonly privileged: boolean;
  /** Whole names of the Container Device Interface. */
  readonly devices: readonly string[];
  readonly host: Pick<
    HostConfig,
    "extraHosts" | "shmSizeBytes" | "ulimits" | "cgroupParent" | "securityOptions" | "resources"
  >;
  /** What it prints, as Docker's frames; the next is asked for when this one is done with. */
  readonly onOutput: (frames: Uint8Array) => Promise<void>;
  /** A person at it: the terminal's streams are handed over once it lives, and `onOutput` hears nothing. */
  readonly terminal: StepTerminal | null;
  readonly signal: AbortSignal;
}

export interface StepTerminal {
  readonly columns: number;
  readonly rows: number;
  readonly onStreams: (streams: ProcessStreams) => void;
}

export interface StepResult {
  readonly exitCode: number;
  readonly oomKilled: boolean;
  /** What it changed. The snapshot with the step's id is the caller's to remove. */
  readonly upper: string;
  /** Places inside that only mounts of the engine stand on. */
  readonly mountTargets: readonly string[];
  /** Settles when address and files are given back; the layer can be written meanwhile. Never rejects. */
  readonly released: Promise<void>;
}

/** The devices that a name means on this host. */
export const devicesNamed = ({ options }: Context, name: string): FoundDevice[] =>
  findDevices(name, options.cdiFolders);

/** Waits for the end of the process and of its output. @throws EngineError when it could not be started */
export async function runStep(context: Context, request: StepRequest): Promise<StepResult> {
  const { id, signal, layers, terminal } = request;
  signal.throwIfAborted();
  const record = recordOf(context, request);
  const ended = Promise.withResolvers<ExitReport>();
  const live: LiveStep = { settle: ended.resolve, isBorn: false };
  context.steps.set(id, live);
  const kill = () => {
    const killed = context.supervisor.request({ type: "signal", key: { id }, signal: SIGKILL });
    // It has ended already, or was not born: then nothing runs on.
    killed.catch(() => undefined);
  };
  try {
    const lowers = context.snapshots.lowers(layers);
    const { attachment, endpoints } = await attach(context, request);
    const { upper, work } = context.snapshots.create({ id: request.snapshot, layers });
    const dns = dnsOf(context, record, endpoints);
    writeEtcFiles(context, record, { endpoints, dns });
    const output = await context.supervisor.attach({
      key: { id },
      stdin: terminal !== null,
      stdout: true,
      stderr: true,
      beforeBirth: true,
    });
    const spec = composeSpec(context, record, editsOf(request, context));
    try {
      await context.supervisor.request({
        type: "birth",
        id,
        runtime: context.options.runtimes.get(context.options.defaultRuntime) ?? "native",
        spec,
        root: { type: "overlay", lowers, upper, work },
        identity: { user: request.user, groups: [] },
        init: null,
        stdio: stdioOf(terminal),
        network: attachment,
        ...(dns === null ? {} : { dns }),
        log: { driver: "none" },
      });
    } catch (cause) {
      output.close();
      throw startError(startFailureOf(cause), cause);
    }
    live.isBorn = true;
    signal.addEventListener("abort", kill, { once: true });
    if (signal.aborted) kill();
    const [exit] = await Promise.all([ended.promise, carry(output, request)]);
    signal.throwIfAborted();
    const { exitCode, oomKilled } = exit;
    const mountTargets = [...(spec.mounts ?? [])].map(({ destination }) => destination);
    return { exitCode, oomKilled, upper, mountTargets, released: giveBack(context, id) };
  } catch (cause) {
    await giveBack(context, id);
    throw cause;
  } finally {
    signal.removeEventListener("abort", kill);
    context.steps.delete(id);
  }
}

/** Nothing is read where no device was asked for. */
function editsOf({ devices }: StepRequest, { options }: Context): DeviceEdits {
  const cdi = { driver: "cdi", count: 0, capabilities: [], options: {} };
  return requestedEdits(devices.length === 0 ? [] : [{ ...cdi, ids: devices }], options.cdiFolders);
}

const stdioOf = (terminal: StepTerminal | null) =>
  terminal === null
    ? { openStdin: false, stdinOnce: false, terminal }
    : { openStdin: true, stdinOnce: true, terminal };

async function carry(
  attached: AttachedStreams,
  { onOutput, signal, terminal }: StepRequest,
): Promise<void> {
  if (terminal !== null) {
    const { output, input } = attached;
    return terminal.onStreams({ terminal: true, output, input, detach: () => attached.close() });
  }
  for await (const frames of attached.output) if (!signal.aborted) await onOutput(frames);
}

async function attach(context: Context, { id, network }: StepRequest) {
  switch (network.mode) {
    case "none":
      return { attachment: { mode: "none" } as const, endpoints: [] };
    case "host":
    case "container":
      return { attachment: { mode: "shared" } as const, endpoints: [] };
    case "network":
      return await context.network.attach({
        containerId: id,
        networks: [{ network: network.name }],
        ports: [],
      });
  }
}

/** May fail, and then start-up does it: what is left carries the step's id. */
async function giveBack(context: Context, id: string): Promise<void> {
  try {
    await Promise.all([
      context.network.release(id),
      context.supervisor.request({ type: "forget", key: { id } }),
    ]);
  } catch (cause) {
    context.log.warn(`could not give back what the build step ${id} used`, {
      error: sentenceOf(cause),
    });
  }
  context.sweeper.sweepFiles(id);
}

/** Of a step with a terminal. */
export async function resizeStep(
  { supervisor }: Context,
  id: string,
  { columns, rows }: { columns: number; rows: number },
): Promise<void> {
  await supervisor.request({ type: "resize", key: { id }, columns, rows });
}

/** After the supervisor's rebirth: ends that nobody told of. */
/** @param before the steps that had been born when the supervisor was asked */
export function reconcileSteps(
  context: Context,
  inits: ReadonlyMap<string, ProcessReport>,
  before: ReadonlySet<string>,
): void {
  for (const [id, { settle, isBorn }] of context.steps) {
    const report = inits.get(id);
    if (report === undefined && isBorn && before.has(id)) settle(lostExit(context, id));
    else if (report?.exit) settle(report.exit);
  }
}

const lostExit = (context: Context, id: string): ExitReport => ({
  key: { id },
  pid: 0,
  exitCode: 137,
  oomKilled: false,
  finishedAt: nowText(context.clock.now()),
  error: "exit code unknown",
});

/** The supervisor's word on a step; false when it is no step's. */
export function handleStepExit(context: Context, exit: ExitReport): boolean {
  const step = context.steps.get(exit.key.id);
  step?.settle(exit);
  return step !== undefined;
}

function recordOf(context: Context, request: StepRequest): ContainerRecord {
  const [path = "", ...args] = request.command;
  if (path === "") throw invalid("no command specified");
  const config = configOf(request);
  const host = hostOf(context, request);
  return {
    id: request.id,
    name: request.id,
    createdAt: nowText(context.clock.now()),
    imageId: "sha256:",
    config,
    host,
    path,
    args,
    layers: request.layers,
    mounts: resolveMounts(request.mounts, [], { newName: () => "", imageOf: noImage }),
    state: { status: "created" },
    process: null,
    manuallyStopped: false,
    restartCount: 0,
    ports: [],
  };
}

const configOf = (request: StepRequest): ContainerConfig => ({
  ...PLAIN_CONFIG,
  command: request.command,
  // A step does not learn its host's name by a variable, which would be in what it makes.
  environment: ["HOSTNAME", ...request.environment],
  user: request.user,
  workingDirectory: cleanPath(request.workingDirectory),
  hostname: request.hostname,
  terminal: request.terminal !== null,
  openStdin: request.terminal !== null,
  networkDisabled: request.network.mode === "none",
});

function hostOf(context: Context, request: StepRequest): HostConfig {
  const { host } = request;
  const names = new Set(host.ulimits.map(({ name }) => name));
  const common = context.options.defaultUlimits.filter(({ name }) => !names.has(name));
  const shmSizeBytes = host.shmSizeBytes ?? 0;
  return {
    ...PLAIN_HOST,
    init: false,
    log: { driver: "none", options: {} },
    ...host,
    ulimits: [...host.ulimits, ...common],
    shmSizeBytes: shmSizeBytes === 0 ? context.options.defaultShmSizeBytes : shmSizeBytes,
    resources: checkResources(host.resources, context.facts).resources,
    privileged: request.privileged,
    networkMode: joinedById(context.records, request.network),
    consoleSize: [request.terminal?.rows ?? 0, request.terminal?.columns ?? 0],
  };
}

/** A step's mounts are folders of the builder's making. */
const noImage = (): never => {
  throw invalid("a build step mounts no image");
};
