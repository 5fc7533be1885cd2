/**
 * A build: stages that need nothing of each other go on at once, the steps of one stage one after the other. What a
 * step gives is decided by what it reads (steps.ts); the events come in the order of the plan (events.ts).
 */
import { invalid } from "#base";
import { checkFrontend, type Dockerfile, parseDockerfile } from "#engine/build/dockerfile";
import type { RootTree } from "#engine/build/source";
import type { Lease } from "#engine/gc";
import type { OnProgress } from "#engine/image";
import { type Digest, hostPlatform, normalizePlatform, parsePlatform, type Platform } from "#oci";

import { type Arrived, receiveContext } from "./arrival.ts";
import type { BuildMaterial, BuildRequest, SolvedBuild, SolvedCache } from "./build-service.ts";
import { exportCache, exportedLayers, TakenSteps } from "./cache-export.ts";
import { ImportedCaches, LayersLost } from "./cache-import.ts";
import type { Context } from "./context.ts";
import { contextKey } from "./context-name.ts";
import { type BuildEvent, OrderedEvents } from "./events.ts";
import { resolveBase } from "./base-image.ts";
import { type Granted, grantedTo } from "./entitlements.ts";
import { checkDockerfile } from "./check.ts";
import { drawFault, type Fault, Faults } from "./fault.ts";
import { globalArguments } from "./global-arguments.ts";
import {
  type BuildPlan,
  planBuild,
  type PlannedStage,
  StageWanted,
  stepsOf,
  type WantedStage,
} from "./plan.ts";
import { type NamedContext, openNamedContext } from "./remote-tree.ts";
import { rootOf } from "./run-mounts.ts";
import { scanExtras } from "./scan-extras.ts";
import { solvedBuild } from "./solved.ts";
import { squash } from "./squash.ts";
import { inlineMember, type SharedCache } from "./shared-cache.ts";
import { imageConfigOf, type StageState } from "./stage-state.ts";
import { StageBuilder } from "./stage-builder.ts";
import { Visits } from "./visit.ts";

/** What the stages of one build share. */
export interface BuildScope extends Disposable {
  readonly context: Context;
  readonly request: BuildRequest;
  readonly arrived: Arrived;
  readonly faults: Faults;
  readonly file: Dockerfile;
  readonly plan: BuildPlan;
  readonly lease: Lease;
  readonly signal: AbortSignal;
  readonly platform: Platform;
  /** Seconds since 1970 that SOURCE_DATE_EPOCH says, or null. */
  readonly epochSec: number | null;
  readonly globals: Readonly<Record<string, string>>;
  /** Keys that were found, to be marked as used together. */
  readonly hits: string[];
  readonly consumed: Set<string>;
  readonly imports: ImportedCaches;
  readonly taken: TakenSteps;
  readonly visits: Visits;
  /** Images that were read, by name and platform. */
  readonly materials: Map<string, BuildMaterial>;
  readonly granted: Granted;
  /** Makes layers be here that so far are only known. @throws LayersLost */
  ensure(layers: readonly Digest[], onProgress: OnProgress): Promise<void>;
  /** A stage's end, by its place in the file. @throws StageWanted for one that the plan does not have before who asks */
  stage(index: number, wanted?: WantedStage): Promise<StageState>;
  /** What `--build-context` has under a name, opened once; null for a name it has not. */
  named(name: string): Promise<NamedContext> | null;
  /** The root of a finished stage or of an image; one for the whole build. */
  root(layers: readonly Digest[]): RootTree;
  tell(stage: number, event: BuildEvent): Promise<void>;
  /** Given back when the build ends. */
  own(undo: () => void): void;
}

/** @returns null when only checked */
export async function solve(context: Context, request: BuildRequest): Promise<SolvedBuild | null> {
  using arrived = await receiveContext(context, request);
  await request.onEvent({ type: "source", name: arrived.name, text: arrived.dockerfile });
  const faults = new Faults();
  try {
    return await solveFile(context, request, { arrived, faults });
  } catch (cause) {
    await tellFault(request, arrived, faults.of(cause));
    throw cause;
  }
}

export async function tellFault(
  { onEvent, signal }: BuildRequest,
  { dockerfile, name: file }: Arrived,
  fault: Fault | null,
): Promise<void> {
  if (fault === null || signal.aborted) return;
  const { location, step } = fault;
  const excerpt = drawFault({ file, lines: dockerfile.split(/\r?\n/) }, location);
  await onEvent({ type: "failed", step, file, ...location, excerpt });
}

async function solveFile(
  context: Context,
  request: BuildRequest,
  { arrived, faults }: Pick<Parts, "arrived" | "faults">,
): Promise<SolvedBuild | null> {
  const { dialect, buildArgs } = request;
  // To Docker's classic builder the line is a comment.
  if (dialect !== "classic") checkFrontend(arrived.dockerfile, buildArgs["BUILDKIT_SYNTAX"]);
  const file = parseDockerfile(arrived.dockerfile);
  const platform = request.platform ?? hostPlatform();
  const known = globalArguments(file, request, platform);
  const { globals } = known;
  const { target, contexts } = request;
  const triggersOf = triggersHere(context, request);
  const plan = (wanted: readonly WantedStage[]): BuildPlan =>
    planBuild(file, { target, globals, contexts, triggersOf, wanted });
  const planned = attempt(() => plan([]));
  const isAll = planned.plan === null || (request.checkOnly && target === "");
  const stages = isAll ? null : new Set(planned.plan?.stages.map(({ index }) => index));
  // Warnings are told, whatever else is wrong.
  await checkDockerfile(context, request, { arrived, file, globals: known, stages });
  if (planned.plan === null) throw planned.cause;
  if (request.checkOnly) return null;
  const imports = await ImportedCaches.open(context, request);
  const parts = { arrived, faults, file, plan: planned.plan, platform, globals, imports };
  try {
    return await runPlanned(context, request, { parts, plan });
  } finally {
    imports.release();
  }
}

/** What ONBUILD left in images that are here. Of another one it is known when it has come. */
const triggersHere =
  ({ images }: Context, { pull, platform }: BuildRequest) =>
  (name: string, asked: string): readonly string[] => {
    try {
      if (pull || name === "scratch") return [];
      const wanted = asked === "" ? platform : parsePlatform(asked);
      return images.resolve(name, wanted).config.config?.OnBuild ?? [];
    } catch {
      return [];
    }
  };

/** An image's ONBUILD may read stages that nobody else does: then the plan is another one. */
async function runPlanned(
  context: Context,
  request: BuildRequest,
  { parts, plan }: { parts: Parts; plan: (wanted: readonly WantedStage[]) => BuildPlan },
): Promise<SolvedBuild> {
  const wanted: WantedStage[] = [];
  for (let planned = parts.plan; ; planned = plan(wanted)) {
    await request.onEvent({ type: "plan", steps: stepsOf(planned, parts.file) });
    try {
      return await runAgain(context, request, { ...parts, plan: planned });
    } catch (cause) {
      request.signal.throwIfAborted();
      const isNew =
        cause instanceof StageWanted &&
        !wanted.some(({ by, stage }) => by === cause.wanted.by && stage === cause.wanted.stage);
      if (!isNew) throw cause;
      wanted.push(cause.wanted);
    }
  }
}

type Planned = { readonly plan: BuildPlan } | { readonly plan: null; readonly cause: unknown };

function attempt(plan: () => BuildPlan): Planned {
  try {
    return { plan: plan() };
  } catch (cause) {
    return { plan: null, cause };
  }
}

/**
 * A layer that a cache promised and nobody has is found out late: when somebody reads it. Then the build begins again
 * and knows that; what it has made meanwhile is in the cache.
 */
async function runAgain(context: Context, request: BuildRequest, parts: Parts) {
  for (;;) {
    try {
      return await runOnce(context, request, parts);
    } catch (cause) {
      request.signal.throwIfAborted();
      if (!(cause instanceof LayersLost)) throw cause;
      await request.onEvent({ type: "notice", text: `[Warning] ${cause.message}\n` });
    }
  }
}

async function runOnce(
  context: Context,
  request: BuildRequest,
  parts: Parts,
): Promise<SolvedBuild> {
  const abort = new AbortController();
  const stop = () => abort.abort(request.signal.reason);
  request.signal.addEventListener("abort", stop, { once: true });
  if (request.signal.aborted) stop();
  const run = new Run(context, request, { ...parts, abort });
  try {
    return await run.finish();
  } finally {
    request.signal.removeEventListener("abort", stop);
    run[Symbol.dispose]();
  }
}

interface Parts {
  readonly arrived: Arrived;
  readonly faults: Faults;
  readonly file: Dockerfile;
  readonly plan: BuildPlan;
  readonly platform: Platform;
  readonly globals: Readonly<Record<string, string>>;
  readonly imports: ImportedCaches;
}

class Run implements BuildScope {
  readonly context: Context;
  readonly request: BuildRequest;
  readonly arrived: Arrived;
  readonly faults: Faults;
  readonly file: Dockerfile;
  readonly plan: BuildPlan;
  readonly lease: Lease;
  readonly platform: Platform;
  readonly epochSec: number | null;
  readonly globals: Readonly<Record<string, string>>;
  readonly hits: string[] = [];
  readonly consumed = new Set<string>();
  readonly imports: ImportedCaches;
  readonly taken = new TakenSteps();
  readonly visits = new Visits();
  readonly materials = new Map<string, BuildMaterial>();
  readonly granted: Granted;
  readonly #abort: AbortController;
  readonly #events: OrderedEvents;
  readonly #stages = new Map<number, Promise<StageState>>();
  readonly #bases = new Map<number, StageState>();
  readonly #roots = new Map<string, RootTree>();
  readonly #named = new Map<string, Promise<NamedContext>>();
  readonly #owned: (() => void)[] = [];

  constructor(
    context: Context,
    request: BuildRequest,
    parts: Parts & { readonly abort: AbortController },
  ) {
    this.context = context;
    this.request = request;
    this.arrived = parts.arrived;
    this.faults = parts.faults;
    this.granted = grantedTo(request, context.entitlements);
    this.file = parts.file;
    this.plan = parts.plan;
    this.platform = parts.platform;
    this.globals = parts.globals;
    this.imports = parts.imports;
    this.#abort = parts.abort;
    this.lease = context.gc.lease();
    this.epochSec = epochOf(request, parts);
    this.#events = new OrderedEvents(request.onEvent, request);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  stage(index: number, wanted?: WantedStage): Promise<StageState> {
    const stage = this.#stages.get(index);
    const isMissing = stage === undefined || (wanted !== undefined && index >= wanted.by);
    if (isMissing && wanted !== undefined) throw new StageWanted(wanted);
    if (stage === undefined) throw invalid(`stage ${index} could not be found`);
    return stage;
  }

  named(name: string): Promise<NamedContext> | null {
    const { context, request } = this;
    const key = contextKey(request.contexts, name);
    const value = key === null ? undefined : request.contexts.get(key);
    if (key === null || value === undefined) return null;
    let opened = this.#named.get(key);
    if (opened === undefined) {
      const asked = { name: key, value, request: { ...request, signal: this.signal } };
      opened = openNamedContext(context, asked, {
        own: (undo) => this.own(undo),
        keep: (layers) => this.lease.keep({ layers }),
      });
      this.#named.set(key, opened);
    }
    return opened;
  }

  root(layers: readonly Digest[]): RootTree {
    const name = layers.join();
    let root = this.#roots.get(name);
    if (root === undefined) {
      root = rootOf(this.context, layers);
      this.#roots.set(name, root);
    }
    return root;
  }

  tell(stage: number, event: BuildEvent): Promise<void> {
    return this.#events.tell(stage, event);
  }

  ensure(layers: readonly Digest[], onProgress: OnProgress): Promise<void> {
    const { lease, signal } = this;
    return this.imports.ensure(layers, { lease, signal, onProgress });
  }

  own(undo: () => void): void {
    this.#owned.push(undo);
  }

  async finish(): Promise<SolvedBuild> {
    const { plan, context, request } = this;
    let first = 1 + this.file.globalArguments.length;
    await this.#tellGlobals();
    const all = plan.stages.map((planned, order) => {
      const start = first;
      first += 1 + planned.stage.instructions.length;
      const work = this.#buildStage(planned, { order, start });
      this.#stages.set(planned.index, work);
      work.catch(() => undefined);
      return work;
    });
    try {
      const states = await Promise.all(all);
      const last = states.at(-1);
      if (last === undefined) throw invalid("dockerfile contains no stages to build");
      return await this.#solved(await this.#finished(last), await scanExtras(this, states));
    } catch (cause) {
      this.#abort.abort(cause);
      this.#events.end();
      // Nothing of this build goes on when it has been answered.
      await Promise.allSettled(all);
      throw cause;
    } finally {
      context.cache.touch(this.hits, context.clock.now().getTime());
      request.signal.throwIfAborted();
    }
  }

  async #tellGlobals(): Promise<void> {
    for (const [index, instruction] of this.file.globalArguments.entries()) {
      const [step, total, text] = [index + 1, this.plan.total, instruction.original];
      for (const { name } of instruction.arguments) this.consumed.add(name);
      await this.request.onEvent({ type: "step", step, total, stage: "", text });
      await this.request.onEvent({ type: "done", step, id: null, durationMs: 0, processId: null });
    }
  }

  async #buildStage(
    planned: PlannedStage,
    { order, start }: { order: number; start: number },
  ): Promise<StageState> {
    // Stages that come later must be known before this one may ask for them.
    await Promise.resolve();
    const builder = new StageBuilder(this, planned, { order, first: start });
    try {
      const base = await resolveBase(this, planned, builder);
      this.#bases.set(planned.index, base.state);
      return await builder.build(base);
    } catch (cause) {
      if (!(cause instanceof StageWanted)) await builder.broken(cause);
      builder.blame(cause, planned.stage.location);
      // Nobody is thrown out of a step that failed because another one fails too.
      await this.visits.ended();
      this.#abort.abort(cause);
      throw cause;
    } finally {
      await this.#events.finish(order);
    }
  }

  /** The target stage with all its layers here, squashed where that was asked. */
  async #finished(state: StageState): Promise<StageState> {
    const { plan, request } = this;
    await this.ensure(
      state.layers,
      (message) => void request.onEvent({ type: "progress", step: plan.total, message }),
    );
    const base = this.#bases.get(plan.stages.at(-1)?.index ?? -1);
    return request.squash && base !== undefined ? await squash(this, { base, state }) : state;
  }

  async #solved(
    state: StageState,
    extras: ReadonlyMap<string, readonly Digest[]>,
  ): Promise<SolvedBuild> {
    const { request, file } = this;
    const unused = Object.keys(request.buildArgs).filter(
      (name) => !this.consumed.has(name) && !isPredefined(name),
    );
    if (unused.length > 0 && file.stages.length > 0) {
      const text = `[Warning] One or more build-args [${unused.join(" ")}] were not consumed\n`;
      await request.onEvent({ type: "notice", text });
    }
    const cache = this.taken.cache(this.epochSec);
    const isInline =
      isTrue(request.buildArgs["BUILDKIT_INLINE_CACHE"]) ||
      request.cacheTo.some(({ kind }) => kind === "inline");
    const kept = await this.#shareCache(cache, state.layers);
    const config = {
      ...imageConfigOf(state, request.labels),
      ...(isInline ? inlineMember(cache) : {}),
    };
    const { os, architecture, variant = "" } = config;
    const platform = normalizePlatform({ os, architecture, ...(variant && { variant }) });
    const materials = [...this.materials.values()];
    return solvedBuild(this.context, config, {
      platform,
      materials,
      extras,
      request,
      cache: kept,
    });
  }

  /** @returns what is kept for later */
  async #shareCache(
    cache: SharedCache,
    imageLayers: readonly Digest[],
  ): Promise<SolvedCache | null> {
    const { request, context, signal } = this;
    const mark = { lease: this.lease, signal, onProgress: () => undefined };
    if (request.keepsCache === true) {
      const all = exportedLayers({ cache, imageLayers }, "max");
      await this.imports.ensure(all, mark).catch(() => undefined);
      return { shared: cache, imageLayers };
    }
    for (const target of request.cacheTo) {
      if (target.kind === "inline") continue;
      const exported = { cache, imageLayers, signal };
      // What came from another cache and was not needed here is passed on all the same.
      await this.imports.ensure(exportedLayers(exported, target.mode), mark).catch(() => undefined);
      await exportCache(context, request, target, exported);
    }
    return null;
  }

  [Symbol.dispose](): void {
    for (const root of this.#roots.values()) root[Symbol.dispose]();
    this.#roots.clear();
    this.lease[Symbol.dispose]();
    for (const undo of this.#owned.splice(0)) undo();
  }
}

const isTrue = (text: string | null | undefined): boolean => /^(?:1|t|true)$/i.test(text ?? "");

const PREDEFINED = /^(?:(?:http|https|ftp|no|all)_proxy|BUILDKIT_\w+|SOURCE_DATE_EPOCH)$/i;
export const isPredefined = (name: string): boolean => PREDEFINED.test(name);

function epochOf({ buildArgs }: BuildRequest, { globals }: Parts): number | null {
  const text = buildArgs["SOURCE_DATE_EPOCH"] ?? globals["SOURCE_DATE_EPOCH"] ?? "";
  if (text === "") return null;
  if (!/^\d{1,12}$/.test(text)) throw invalid(`invalid SOURCE_DATE_EPOCH: ${text}`);
  return Number(text);
}
