/** RUN: a process on the stage's layers, and what it changed as the next layer. */
import { invalid } from "#base";
import {
  expandWord,
  type Instruction,
  parseMount,
  type RunMountRequest,
} from "#engine/build/dockerfile";
import type { SourceTree } from "#engine/build/source";
import type { NetworkMode, StepRequest } from "#engine/container";
import { formatPlatform, type Digest } from "#oci";

import { findImage, layoutImage } from "./base-image.ts";
import type { BuildRequest } from "./build-service.ts";
import { StepFailed } from "./context.ts";
import { requireGranted } from "./entitlements.ts";
import { InputDigest } from "./inputs.ts";
import { printer } from "./printer.ts";
import { grantedDevices } from "./run-devices.ts";
import { mountStubs } from "./mount-stubs.ts";
import { digestMounts, type MountSource, rootOf, StepMounts } from "./run-mounts.ts";
import type { StepReads } from "./cache.ts";
import { type LayerStep, parentFact, type StageBuilder } from "./stage-builder.ts";
import {
  environmentOf,
  programOf,
  shellOf,
  type StageState,
  visibleArguments,
  withEnvironment,
} from "./stage-state.ts";
import { visitFailed } from "./visit.ts";
import { absolutePath } from "./workdir.ts";

type Run = Extract<Instruction, { kind: "run" }>;

const PROXY = /^(?:http|https|ftp|no|all)_proxy$/i;
const SCRIPT_FOLDER = "/dev/pipes";

interface Command {
  readonly argv: readonly string[];
  readonly script: { readonly path: string; readonly content: string } | null;
}

export async function runCommand(
  builder: StageBuilder,
  state: StageState,
  instruction: Run,
): Promise<LayerStep> {
  const { scope } = builder;
  // Before the cache is asked: what somebody else was allowed is nobody else's.
  if (instruction.network === "host") requireGranted(scope.granted, "network.host");
  if (instruction.security === "insecure") requireGranted(scope.granted, "security.insecure");
  if (instruction.command.form === "exec" && instruction.command.words.length === 0) {
    throw invalid("arguments are required");
  }
  const { containers } = scope.context;
  const devices = grantedDevices(instruction.devices, scope.granted, (name) =>
    containers.devicesNamed(name),
  );
  const mounts = instruction.mounts.map((text) => mountOf(builder, state, text));
  const sources = await Promise.all(mounts.map((mount) => sourceOf(builder, mount)));
  const command = commandOf(state, instruction);
  // An ARG that is declared counts, even if it is a proxy's: so one is made to.
  const args = visibleArguments(state);
  const readsWith = async (useGiven: boolean): Promise<StepReads> => {
    const digest = new InputDigest();
    const mounted = await digestMounts(builder, mounts, sources, { digest, useGiven });
    const facts = {
      parent: parentFact(state),
      command: JSON.stringify([command.argv, command.script?.content ?? null]),
      environment: JSON.stringify([...(state.config.Env ?? [])].toSorted()),
      arguments: JSON.stringify(args.map(({ name, value }) => `${name}=${value}`).toSorted()),
      user: state.config.User ?? "",
      directory: state.config.WorkingDir ?? "/",
      mounts: mounted,
      files: digest.hex(),
      network: `${instruction.network} ${networkText(scope.request.network)}`,
      security: instruction.security,
      ...(devices.length === 0 ? {} : { devices: devices.join(" ") }),
      platform: formatPlatform(state.platform),
      hosts: scope.request.host.extraHosts.join(" "),
      ...askedOfHost(scope.request),
      ...(scope.epochSec === null ? {} : { epoch: String(scope.epochSec) }),
    };
    return { facts, files: digest.files };
  };
  const given = await readsWith(true);
  // What another engine read in layers only counts where it leads to a cached step.
  const isGiven = mounts.length === 0 || builder.isCached(given);
  const reads = isGiven ? given : await readsWith(false);
  const told = toldArguments(state);
  const prefix = told.length === 0 ? "" : `|${told.length} ${told.join(" ")} `;
  return {
    description: instruction.original,
    createdBy: `RUN ${prefix}${command.argv.join(" ")} # buildkit`,
    reads,
    make: (signal) =>
      make(builder, { state, instruction, mounts, devices, sources, command, args, signal }),
  };
}

const HOSTNAME = "buildkitsandbox";

const hostnameOf = ({ buildArgs }: Pick<BuildRequest, "buildArgs">): string =>
  buildArgs["BUILDKIT_SANDBOX_HOSTNAME"] || HOSTNAME;

/** What a step can see of its machine, where it is not as always; how much it may use is no part of a result. */
function askedOfHost(request: BuildRequest): Record<string, string> {
  const { ulimits, shmSizeBytes, cgroupParent } = request.host;
  const hostname = hostnameOf(request);
  const limits = ulimits.map(({ name, soft, hard }) => `${name}=${soft}:${hard}`).toSorted();
  return {
    ...(hostname === HOSTNAME ? {} : { hostname }),
    ...(limits.length === 0 ? {} : { ulimits: limits.join(" ") }),
    // Docker's client says 0 where nobody asked for a size.
    ...(shmSizeBytes ? { shmSize: String(shmSizeBytes) } : {}),
    ...(cgroupParent === "" ? {} : { cgroupParent }),
  };
}

const networkText = (network: NetworkMode): string =>
  network.mode === "network" ? network.name : network.mode;

/** The program, and the script that a heredoc with a `#!` is. */
function commandOf(state: StageState, { command, heredocs }: Run): Command {
  const [text = ""] = command.words;
  const [only] = heredocs;
  if (only === undefined) {
    return { argv: programOf(state, command), script: null };
  }
  if (command.form === "exec") throw invalid("parsing produced an invalid run command");
  const chomped = only.chomp ? only.content.replaceAll(/^\t+/gm, "") : only.content;
  const isAlone = heredocs.length === 1 && /^\d*<<-?\s*["']?[^\s<"']+["']?$/.test(text.trim());
  if (isAlone && chomped.startsWith("#!")) {
    const path = `${SCRIPT_FOLDER}/${only.name.replaceAll(/[^\w.-]/g, "_")}`;
    return { argv: [...shellOf(state), path], script: { path, content: chomped } };
  }
  if (isAlone) return { argv: [...shellOf(state), chomped], script: null };
  const files = heredocs.map(({ name, content }) => `\n${content}${name}`).join("");
  return { argv: [...shellOf(state), text + files], script: null };
}

/** For the history: every ARG as declared, with the value that it has there. A proxy is told only so. */
function toldArguments(state: StageState): string[] {
  const environment = environmentOf(state);
  return [...state.args.keys()].map((name) => `${name}=${environment[name] ?? ""}`);
}

/** Proxies go into the program only: not into keys, and not into the history. */
function proxies(builder: StageBuilder): string[] {
  const { buildArgs } = builder.scope.request;
  return Object.entries(buildArgs).flatMap(([name, value]) =>
    PROXY.test(name) && value !== null
      ? [`${name.toUpperCase()}=${value}`, `${name.toLowerCase()}=${value}`]
      : [],
  );
}

function mountOf(builder: StageBuilder, state: StageState, text: string): RunMountRequest {
  const { escape } = builder.scope.file;
  const environment = environmentOf(state);
  const mount = parseMount(text, (value) => expandWord(value, environment, escape).text);
  if (mount.type === "ssh" || (mount.type === "secret" && mount.target === "")) return mount;
  const target = absolutePath(mount.target, state);
  if (target === "/") throw invalid(`invalid mount target "/"`);
  return { ...mount, target };
}

async function sourceOf(
  builder: StageBuilder,
  { type, from, source }: RunMountRequest,
): Promise<MountSource | null> {
  if (type !== "bind" && !(type === "cache" && from !== "")) return null;
  if (from === "") return { kind: "context", tree: await builder.scope.arrived.tree([source]) };
  const files = await filesFrom(builder, from);
  const { layers } = files;
  return layers === null
    ? { kind: "context", tree: await files.tree() }
    : { kind: "layers", layers, files };
}

export interface FromFiles {
  /** null for a named context. */
  readonly layers: readonly Digest[] | null;
  /** Opens them; layers that are only known of are fetched first. */
  tree(sources?: readonly string[]): Promise<SourceTree>;
}

/** The files that `--from` or `from=` names. */
export async function filesFrom(builder: StageBuilder, from: string): Promise<FromFiles> {
  const { scope } = builder;
  const named = await scope.named(from);
  if (named?.kind === "tree") return { layers: null, tree: () => Promise.resolve(named.tree) };
  const result = named?.kind === "result" ? named.config.rootfs.diff_ids : null;
  const name = named?.kind === "image" ? named.name : from;
  const index = named === null ? scope.plan.find(name) : null;
  const layersOf = async (): Promise<readonly Digest[]> => {
    if (named?.kind === "layout") {
      const asked = { context: from, platform: scope.platform };
      return (await layoutImage(scope, named, asked)).config.rootfs.diff_ids;
    }
    if (result !== null) {
      scope.lease.keep({ layers: result });
      return result;
    }
    if (name === "scratch") return [];
    if (index !== null) {
      const wanted = { by: builder.planned.index, stage: index, from, target: null };
      return (await scope.stage(index, wanted)).layers;
    }
    const image = await findImage(scope, name, { platform: scope.request.platform, builder });
    return image.config.rootfs.diff_ids;
  };
  const layers = await layersOf();
  return {
    layers,
    tree: async () => {
      await scope.ensure(layers, (message) => void builder.progress(message));
      return scope.root(layers);
    },
  };
}

interface MakeRequest {
  readonly state: StageState;
  readonly instruction: Run;
  readonly mounts: readonly RunMountRequest[];
  readonly devices: readonly string[];
  readonly sources: readonly (MountSource | null)[];
  readonly command: Command;
  readonly args: readonly { readonly name: string; readonly value: string }[];
  readonly signal: AbortSignal;
}

async function make(builder: StageBuilder, request: MakeRequest): Promise<Digest> {
  const { scope } = builder;
  const { state, instruction, command, signal } = request;
  const { context } = scope;
  await using prepared = new StepMounts(context);
  const cacheNamespace = scope.request.buildArgs["BUILDKIT_CACHE_MOUNT_NS"] ?? "";
  const inputs = { ...scope.request, sources: request.sources, cacheNamespace, signal };
  for (const [index, mount] of request.mounts.entries()) await prepared.add(mount, inputs, index);
  if (command.script !== null) prepared.addFile(command.script.path, command.script.content);
  const { id } = prepared;
  scope.lease.keep({ snapshots: [id] });
  await builder.running(id);
  try {
    const process: StepRequest = {
      id,
      snapshot: id,
      layers: state.layers,
      command: command.argv,
      environment: [
        ...proxies(builder),
        ...withEnvironment(state.config.Env ?? [], request.args),
        ...prepared.environment,
      ],
      user: state.config.User ?? "",
      workingDirectory: state.config.WorkingDir || "/",
      hostname: hostnameOf(scope.request),
      network: networkOf(instruction, scope.request.network),
      mounts: prepared.mounts,
      privileged: instruction.security === "insecure",
      devices: request.devices,
      host: withProcessLimit(scope.request.host),
      onOutput: printer((text, stderr) => builder.output(text, stderr)),
      terminal: null,
      signal,
    };
    const ended = await context.containers.runStep(process);
    await using released = { [Symbol.asyncDispose]: () => ended.released };
    void released;
    if (ended.exitCode !== 0) {
      const failure = failedStep(command.argv, ended);
      await ended.released;
      await visit(builder, { state, process, failure });
      throw failure;
    }
    using root = rootOf(context, state.layers);
    const { diffId } = await context.layers.writeUpper({
      upper: ended.upper,
      skip: mountStubs(ended.upper, root, ended.mountTargets),
      ...(scope.epochSec === null ? {} : { latestSec: scope.epochSec }),
      signal,
    });
    return diffId;
  } finally {
    await context.snapshots.remove(id);
  }
}

/** Lets a person in who asked for it. */
async function visit(
  { scope }: StageBuilder,
  failed: { state: StageState; process: StepRequest; failure: StepFailed },
): Promise<void> {
  const { onFailedRun } = scope.request;
  if (onFailedRun === undefined) return;
  const { process, failure, state } = failed;
  const [shell = ""] = shellOf(state);
  await scope.visits.begin(() =>
    visitFailed(scope.context, { onFailedRun, failure, failed: process, shell }),
  );
}

/** A step that forks without end is stopped by its own cgroup; no compiler runs as many at once. */
const PROCESS_LIMIT = 8192;

export function withProcessLimit(host: StepRequest["host"]): StepRequest["host"] {
  const { resources } = host;
  const pidsLimit = resources.pidsLimit ?? PROCESS_LIMIT;
  return { ...host, resources: { ...resources, pidsLimit } };
}

function networkOf({ network }: Run, asked: NetworkMode): NetworkMode {
  if (network === "none") return { mode: "none" };
  return network === "host" ? { mode: "host" } : asked;
}

export function failedStep(
  argv: readonly string[],
  { exitCode, oomKilled }: { exitCode: number; oomKilled: boolean },
): StepFailed {
  const why = oomKilled ? " (it was killed: out of memory)" : "";
  return new StepFailed(
    `The command '${argv.join(" ")}' returned a non-zero code: ${exitCode}${why}`,
    exitCode,
    argv,
  );
}
