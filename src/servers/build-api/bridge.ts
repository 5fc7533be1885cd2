/**
 * What buildx asks while its own part of a build runs: it solves a Dockerfile through us, perhaps several, and returns
 * one of the results. There are no other frontends, and no graphs of its own.
 */
import { invalid, newId } from "#base";
import {
  create,
  type Definition,
  failureIn,
  fromBinary,
  type FrontendRequest,
  type GrpcCall,
  grpcFailure,
  type GrpcRouter,
  GRPC_STATUS,
  LLBBridge,
  type MessageInitShape,
  OpSchema,
  type ResultSchema,
  StatusSchema,
  toBinary,
} from "#wire/grpc";
import { isDockerfileFrontend } from "#engine/build";
import { digestOf, formatPlatform, hostPlatform, type ImageConfig, type Platform } from "#oci";

import { decodeAttributes, platformsIn } from "./attributes.ts";
import { type BuildServices, solveForSession } from "./builds.ts";
import { failureFrom, unsupportedGraph } from "./failures.ts";
import { cacheSourceOf } from "./caches.ts";
import type { BuildHistory } from "./history.ts";
import type { Job, Jobs, ReturnedResult } from "./jobs.ts";
import type { Progress } from "./progress.ts";
import type { Sessions } from "./sessions.ts";
import { answerSubrequest } from "./subrequests.ts";
import { workers } from "./workers.ts";

/** What buildx is to know that it can do here. Source: moby/buildkit, frontend/gateway/pb/caps.go. */
const FRONTEND_CAPS = [
  "solve.base",
  "return",
  "returnmap",
  "proto.refarray",
  "frontend.caps",
  "frontend.inputs",
  "gateway.evaluate",
  "gateway.solve.evaluate",
  "reference.output",
  "gateway.warnings",
];
/** Of graphs: what exporters do. buildx looks here before it asks for attestations. */
const LLB_CAPS = ["exporter.image.attestations", "exporter.image.annotations", "exporter.multiple"];
/** Each holds its layers until its build ends. */
const RESULTS_LIMIT = 64;
const RESULT_PREFIX = "naru-result://";

export interface Bridge extends BuildServices {
  readonly sessions: Sessions;
  readonly jobs: Jobs;
  readonly history: BuildHistory;
  readonly hostGateway: () => string | null;
}

export function addBridge(router: GrpcRouter, bridge: Bridge): void {
  const { jobs } = bridge;
  const method = LLBBridge.method;
  // The build itself is asked for at the same time: it may come a moment later.
  const jobOf = (call: GrpcCall): Job => jobs.watch(call.header("buildkit-controlapi-buildid"));
  router
    .unary(method.ping, async () => ({
      frontendCaps: FRONTEND_CAPS.map((id) => ({ id, enabled: true })),
      llbCaps: LLB_CAPS.map((id) => ({ id, enabled: true })),
      workers: workers(bridge.hostGateway()),
    }))
    .unary(method.solve, async (request, call) => {
      const job = jobOf(call);
      return { result: await solve(bridge, { job, request, signal: call.signal }) };
    })
    .unary(method.evaluate, async () => ({}))
    .unary(method.inputs, async () => ({ definitions: {} }))
    .unary(method.warn, async () => ({}))
    .unary(method.return, async ({ error, result }, call) => {
      const job = jobOf(call);
      const failure = error === undefined ? null : failureIn(toBinary(StatusSchema, error));
      if (failure !== null) job.fail(failure);
      else job.returned.resolve(returnedOf(result));
      return {};
    });
}

function returnedOf(
  result: { result: { case?: string | undefined; value?: unknown } } | undefined,
): ReturnedResult {
  const { case: kind, value } = result?.result ?? {};
  if (kind === "ref") return { ids: [(value as { id: string }).id], isMany: false };
  if (kind === "refDeprecated") return { ids: [value as string], isMany: false };
  if (kind !== "refs") return { ids: [], isMany: false };
  const { refs } = value as { refs: Readonly<Record<string, { id: string }>> };
  return { ids: Object.values(refs).map(({ id }) => id), isMany: true };
}

export interface Asked {
  readonly job: Job;
  readonly request: FrontendRequest;
  readonly signal: AbortSignal;
}

async function solve(bridge: Bridge, asked: Asked): Promise<MessageInitShape<typeof ResultSchema>> {
  const { job, request } = asked;
  try {
    if (request.definition !== undefined && request.definition.def.length > 0) {
      throw unsupportedGraph();
    }
    checkFrontend(request);
    bridge.history.describe(job.ref, request.frontendOpt);
    const question = request.frontendOpt["requestid"] ?? "";
    const { all, isMany } = platformsIn(request.frontendOpt);
    const [first = null] = all;
    if (question !== "") {
      const build = await sessionBuild(bridge, asked, first);
      return { metadata: await answerSubrequest(bridge, question, build) };
    }
    if (!isMany) return await solveOne(bridge, asked, first);
    return await solveAll(bridge, asked, all.length === 0 ? [hostPlatform()] : all);
  } catch (cause) {
    await job.progress.end();
    throw failureFrom(cause, job.progress);
  }
}

/** A build that a client asks for without a part of its own: the frontend is asked for it. */
export const solveFrontend = async (bridge: Bridge, asked: Asked): Promise<ReturnedResult> =>
  returnedOf((await solve(bridge, asked)) as Parameters<typeof returnedOf>[0]);

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

async function solveOne(bridge: Bridge, asked: Asked, platform: Platform | null) {
  const id = await solvePlatform(bridge, asked, { platform, progress: asked.job.progress });
  const config = encode(asked.job.results.get(id)?.solved.config);
  return {
    result: { case: "ref" as const, value: { id, def: definitionOf(id) } },
    metadata: { "containerimage.config": config },
  };
}

/** Every platform is a build of its own; when one fails, the others are given up. */
async function solveAll(bridge: Bridge, asked: Asked, platforms: readonly Platform[]) {
  const { job, signal } = asked;
  const abort = new AbortController();
  const until = AbortSignal.any([signal, abort.signal]);
  const work = platforms.map(async (platform): Promise<[string, string]> => {
    const name = formatPlatform(platform);
    const progress = job.progress.of(name);
    try {
      const one = { platform, progress, isOneOfMany: true };
      return [name, await solvePlatform(bridge, { ...asked, signal: until }, one)];
    } catch (cause) {
      if (!abort.signal.aborted) job.progress.blame(progress);
      abort.abort(cause);
      await progress.end();
      throw cause;
    }
  });
  await Promise.allSettled(work);
  abort.signal.throwIfAborted();
  const solved = await Promise.all(work);
  await shareCaches(
    bridge,
    asked,
    solved.map(([, id]) => id),
  );
  const refs = solved.map(([name, id]) => [name, { id, def: definitionOf(id) }] as const);
  const listed = platforms.map((platform) => ({
    ID: formatPlatform(platform),
    Platform: { architecture: platform.architecture, os: platform.os, variant: platform.variant },
  }));
  const configs = solved.map(([name, id]) => [
    `containerimage.config/${name}`,
    encode(job.results.get(id)?.solved.config),
  ]);
  return {
    result: { case: "refs" as const, value: { refs: Object.fromEntries(refs) } },
    metadata: { "refs.platforms": encode({ Platforms: listed }), ...Object.fromEntries(configs) },
  };
}

async function shareCaches(
  { builds, sessions }: Bridge,
  { job, signal }: Asked,
  ids: readonly string[],
): Promise<void> {
  const { session: name, cacheTo } = await job.asked.promise;
  const held = ids.flatMap((id) => job.results.get(id)?.solved ?? []);
  if (held.every(({ cache }) => cache === null)) return;
  const until = AbortSignal.any([signal, job.signal]);
  const session = name === "" ? null : await sessions.get(name, until);
  await builds.exportCaches(held, {
    cacheTo,
    credentials: (domain) => session?.credentials(domain, until),
    signal: until,
    onEvent: (event) => job.progress.tell(event),
  });
}

/** @returns the result's id */
async function solvePlatform(
  bridge: Bridge,
  asked: Asked,
  {
    platform,
    progress,
    isOneOfMany = false,
  }: { platform: Platform | null; progress: Progress; isOneOfMany?: boolean },
): Promise<string> {
  const { job, request } = asked;
  if (job.results.size >= RESULTS_LIMIT) throw invalid("too many results of one build");
  const build = await sessionBuild(bridge, asked, platform);
  const startedAt = new Date();
  const solved = await solveForSession(bridge, {
    ...build,
    progress,
    // What all platforms know goes into one cache, when all are done.
    keepsCache: isOneOfMany && build.cacheTo.some(({ kind }) => kind !== "inline"),
    checkOnly: false,
    onEvent: (event) => progress.tell(event),
  });
  if (solved === null) throw invalid("nothing was built");
  if (job.signal.aborted) {
    solved[Symbol.dispose]();
    throw job.signal.reason;
  }
  const id = newId();
  const { frontendOpt: attributes } = request;
  job.results.set(id, { solved, attributes, dockerfile: progress.source, startedAt });
  return id;
}

async function sessionBuild(
  bridge: Bridge,
  { job, request, signal }: Asked,
  platform: Platform | null,
) {
  const { session: id, cacheTo, entitlements, isScanned } = await job.asked.promise;
  const until = AbortSignal.any([signal, job.signal]);
  // Who asks for what lies elsewhere needs none.
  const session = id === "" ? null : await bridge.sessions.get(id, until);
  const options = decodeAttributes(request.frontendOpt, platform, (cache) =>
    cacheSourceOf(cache, () => bridge.sessions.get(id, until)),
  );
  const results = inputsOf(bridge, request, options.contexts);
  const { progress } = job;
  const asked = { results, cacheTo, entitlements, isScanned };
  return { options, ...asked, session, progress, signal: until };
}

function checkFrontend({ frontend, frontendOpt }: FrontendRequest): void {
  if (frontend === "dockerfile.v0") return;
  const source = frontendOpt["source"] ?? "";
  if (frontend === "gateway.v0" && isDockerfileFrontend(source)) return;
  throw grpcFailure(
    GRPC_STATUS.unimplemented,
    `frontend ${[frontend, source].filter(Boolean).join(" ")} not found`,
  );
}

/** A graph of one source, which names a result: buildx hands it on to a build that stands on this one. */
function definitionOf(id: string) {
  const source = create(OpSchema, {
    source: { identifier: RESULT_PREFIX + id },
    platform: { os: "linux", architecture: "amd64" },
  });
  const op = toBinary(OpSchema, source);
  const inputs = [{ digest: digestOf(op), index: 0n }];
  const last = toBinary(OpSchema, create(OpSchema, { inputs }));
  return { def: [op, last], metadata: { [digestOf(op)]: {}, [digestOf(last)]: {} } };
}

function resultIn({ def }: Definition): string | null {
  for (const bytes of def) {
    const identifier = fromBinary(OpSchema, bytes).source?.identifier ?? "";
    if (identifier.startsWith(RESULT_PREFIX)) return identifier.slice(RESULT_PREFIX.length);
  }
  return null;
}

/** `input:name` of contexts are results of other builds that are under way. */
function inputsOf(
  { jobs }: Bridge,
  { frontendInputs }: FrontendRequest,
  contexts: ReadonlyMap<string, string>,
): Map<string, ImageConfig> {
  const found = new Map<string, ImageConfig>();
  for (const value of contexts.values()) {
    if (!value.startsWith("input:")) continue;
    const definition = frontendInputs[value.slice("input:".length)];
    const id = definition === undefined ? null : resultIn(definition);
    const solved = id === null ? null : jobs.result(id);
    if (solved === null) throw invalid(`invalid input ${value}: no result of a build here`);
    found.set(value, solved.config);
  }
  return found;
}
