/** BuildKit's control service, as buildx uses it on a Docker engine. Source: moby/buildkit, api/services/control. */
import { invalid } from "#base";
import {
  type BuildCacheItem,
  type BuildPruneRequest,
  parseCacheFilter,
  type Scanned,
} from "#engine/build";
import {
  Control,
  create,
  FrontendRequestSchema,
  grpcFailure,
  type GrpcFailure,
  type GrpcRouter,
  GRPC_STATUS,
  type SolveRequest,
  timestampFromDate,
} from "#wire/grpc";
import { formatPlatform } from "#oci";

import { platformsIn } from "./attributes.ts";
import { type Bridge, solveFrontend } from "./bridge.ts";
import { cacheTargetsOf } from "./caches.ts";
import type { ExportedResult, Exporting } from "./exporting.ts";
import { cancelled, failureFrom, unsupportedGraph } from "./failures.ts";
import type { Job, JobResult, ReturnedResult } from "./jobs.ts";
import { LOG_LIMIT_BYTES } from "./history.ts";
import { checkOutputs, exportAll, type Output } from "./outputs.ts";
import { Attachments } from "./attachments.ts";
import { traceOf } from "./trace.ts";
import {
  type BuildFacts,
  provenanceOf,
  type ProvenanceOptions,
  provenanceOptions,
  statementOf,
  wholeProvenance,
} from "./provenance.ts";
import { type ScannerOptions, scannerOptions, scanResult } from "./scanner.ts";
import { BUILDKIT, workers } from "./workers.ts";

export function addControl(router: GrpcRouter, bridge: Bridge): void {
  const { jobs, builds } = bridge;
  const method = Control.method;
  router
    .unary(method.listWorkers, async () => ({ record: workers(bridge.hostGateway()) }))
    .unary(method.info, async () => ({ buildkitVersion: BUILDKIT }))
    .unary(method.solve, (request, { signal }) => solve(bridge, request, signal))
    .stream(method.status, async function* ({ ref }, { signal }) {
      const said = bridge.history.log(ref);
      if (said === null) yield* jobs.watch(ref).log.listen(signal);
      else yield said;
    })
    .unary(method.diskUsage, async ({ filter }) => ({
      record: (await builds.cacheUsage())
        .filter(parseCacheFilter(filter) ?? (() => true))
        .map(recordOf),
    }))
    .stream(method.prune, async function* (request) {
      const items = await builds.cacheUsage();
      const { deleted } = await builds.prune(pruneRequestOf(request));
      const gone = new Set(deleted);
      for (const item of items) if (gone.has(item.id)) yield recordOf(item);
    })
    .stream(method.listenBuildHistory, (asked, { signal }) => bridge.history.listen(asked, signal))
    .unary(method.updateBuildHistory, async ({ ref, pinned, delete: isGone, finalize }) => {
      const isKnown = finalize || bridge.history.update(ref, { pinned, isGone });
      if (!isKnown) throw grpcFailure(GRPC_STATUS.notFound, `no such record ${ref}`);
      return {};
    });
}

/** Waits for the client's own part, then gives it what it wants of the result. */
async function solve(bridge: Bridge, request: SolveRequest, signal: AbortSignal) {
  const { jobs, sessions, history } = bridge;
  const job = jobs.take(request.ref);
  const stop = () => job.abort(cancelled());
  let failure: GrpcFailure | null = null;
  let response: Record<string, string> = {};
  const attachments = new Attachments();
  const startedAt = new Date();
  // What a client asks to know what there is, is no build.
  if (!request.internal) history.begin(request);
  try {
    const outputs = outputsOf(request);
    checkOutputs(outputs);
    const attested = attestedBy(request.frontendAttrs);
    const { session: name, entitlements } = request;
    const client = () => sessions.get(name, job.signal);
    const cacheTo = cacheTargetsOf(request, client);
    const isScanned = attested.scanner !== null;
    job.asked.resolve({ session: name, cacheTo: cacheTo.targets, entitlements, isScanned });
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    beginFrontend(bridge, job, request);
    const returned = await returnedBy(job);
    const asked = { returned, attested, session: client, attachments };
    const exporting = await exportingOf(bridge, job, asked);
    if (exporting === null) {
      if (outputs.length > 0 && !request.internal) throw invalid("nothing was built");
      return {};
    }
    response = { ...(await exportAll(outputs, exporting)), ...cacheTo.response() };
    return { exporterResponse: response };
  } catch (cause) {
    failure = failureFrom(cause, null);
    throw failure;
  } finally {
    if (!request.internal) {
      const { log, progress } = job;
      attachEnd(attachments, job, { startedAt, failure });
      const told = { counts: progress.counts, failure, response, attachments };
      history.end(request.ref, { ...told, log: log.encoded(LOG_LIMIT_BYTES) });
    }
    signal.removeEventListener("abort", stop);
    jobs.end(job);
  }
}

/** How it went, and how long. */
function attachEnd(
  attachments: Attachments,
  { ref, log: { updates } }: Job,
  { startedAt, failure }: { readonly startedAt: Date; readonly failure: GrpcFailure | null },
): void {
  if (failure !== null) attachments.failed(failure);
  const error = failure?.message ?? "";
  attachments.traced(traceOf({ ref, startedAt, endedAt: new Date(), error, updates }));
}

const returnedBy = (job: Job): Promise<ReturnedResult> =>
  new Promise((resolve, reject) => {
    const stop = () => reject(cancelled());
    job.signal.addEventListener("abort", stop, { once: true });
    if (job.signal.aborted) stop();
    job.returned.promise.then(resolve, reject);
  });

/** What is to be said about the results. */
interface Attested {
  readonly provenance: ProvenanceOptions | null;
  readonly scanner: ScannerOptions | null;
}

/** @returns null when there is nothing to export */
async function exportingOf(
  { builds, images }: Bridge,
  job: Job,
  {
    returned: { ids, isMany },
    attested,
    session,
    attachments,
  }: {
    readonly returned: ReturnedResult;
    readonly attested: Attested;
    readonly session: Exporting["session"];
    readonly attachments: Attachments;
  },
): Promise<Exporting | null> {
  const results = inOrder(ids.flatMap((id) => job.results.get(id) ?? []));
  if (results.length < ids.length) return null;
  const finishedAt = new Date();
  const { progress, signal } = job;
  const exported = await Promise.all(
    results.map(async (result): Promise<ExportedResult> => {
      const { scanner } = attested;
      const at = { session, progress, signal };
      const scanned = scanner === null ? null : await scanResult(result, scanner, at);
      const facts = factsOf(job, { result, scanned, finishedAt });
      attach(attachments, facts, { isMany, scanned });
      return { solved: result.solved, statements: statementsOf(facts, attested, scanned) };
    }),
  );
  const [first, ...others] = exported;
  if (first === undefined) return null;
  const { provenance, scanner } = attested;
  return {
    results: [first, ...others],
    isMany,
    isAttested: scanner !== null || (provenance !== null && !provenance.isInlineOnly),
    builds,
    images,
    session,
    progress,
    onMade: (target, documents) => attachments.made(target, documents),
    signal,
  };
}

/** What is remembered of every build, whether it was asked for or not. */
function attach(
  attachments: Attachments,
  facts: BuildFacts,
  { isMany, scanned }: { readonly isMany: boolean; readonly scanned: Scanned | null },
): void {
  const platform = isMany ? formatPlatform(facts.platform) : "";
  for (const { predicateType, predicate } of scanned?.scans ?? []) {
    attachments.said(platform, predicateType, predicate);
  }
  const { predicateType, predicate } = wholeProvenance(facts);
  attachments.said(platform, predicateType, predicate);
}

interface MadeResult {
  readonly result: JobResult;
  readonly scanned: Scanned | null;
  readonly finishedAt: Date;
}

function factsOf({ ref }: Job, { result, scanned, finishedAt }: MadeResult): BuildFacts {
  const { solved, attributes, dockerfile, startedAt } = result;
  const { platform, config } = solved;
  const materials = [...solved.materials, ...(scanned === null ? [] : [scanned.scanner])];
  const layers = config.rootfs.diff_ids;
  return { ref, attributes, platform, materials, dockerfile, layers, startedAt, finishedAt };
}

const statementsOf =
  (
    facts: BuildFacts,
    { provenance }: Attested,
    scanned: Scanned | null,
  ): ExportedResult["statements"] =>
  (subject) => [
    ...(scanned?.scans ?? []).map((scan) => statementOf(scan, facts.platform, subject)),
    ...(provenance === null ? [] : [provenanceOf(facts, provenance, subject)]),
  ];

/** As the platforms were asked for: a client's list of results has no order. */
function inOrder(results: readonly JobResult[]): readonly JobResult[] {
  const [first] = results;
  const asked = platformsIn(first?.attributes ?? {}).all.map(formatPlatform);
  const placeOf = ({ solved }: JobResult) => asked.indexOf(formatPlatform(solved.platform));
  return results.toSorted((a, b) => placeOf(a) - placeOf(b));
}

/** @throws EngineError "invalid" in BuildKit's words */
function attestedBy(attributes: Readonly<Record<string, string>>): Attested {
  for (const key of Object.keys(attributes)) {
    if (!key.startsWith("attest:") || key === "attest:provenance" || key === "attest:sbom")
      continue;
    throw invalid(`unknown attestation type ${JSON.stringify(key.slice("attest:".length))}`);
  }
  return {
    provenance: provenanceOptions(attributes["attest:provenance"]),
    scanner: scannerOptions(attributes["attest:sbom"]),
  };
}

/** Old clients name one exporter. */
function outputsOf({ exporters, exporter, exporterAttrs }: SolveRequest): Output[] {
  if (exporters.length > 0) {
    return exporters.map(({ type, attrs }) => ({ type, attributes: attrs }));
  }
  return exporter === "" ? [] : [{ type: exporter, attributes: exporterAttrs }];
}

/** Where the client has no part of its own, as buildx has one. */
function beginFrontend(bridge: Bridge, job: Job, request: SolveRequest): void {
  const { frontend, frontendAttrs: frontendOpt, frontendInputs, definition } = request;
  if ((definition?.def.length ?? 0) > 0) throw unsupportedGraph();
  if (frontend === "") return;
  const asked = create(FrontendRequestSchema, { frontend, frontendOpt, frontendInputs });
  const { resolve, reject } = job.returned;
  solveFrontend(bridge, { job, request: asked, signal: job.signal }).then(resolve, reject);
}

const recordOf = (item: BuildCacheItem) => ({
  id: item.id,
  mutable: item.kind === "exec.cachemount",
  inUse: item.isInUse,
  size: BigInt(item.sizeBytes),
  parents: item.parent === null ? [] : [item.parent],
  createdAt: timestampFromDate(item.createdAt),
  lastUsedAt: timestampFromDate(item.lastUsedAt),
  usageCount: BigInt(item.uses),
  description: item.description,
  recordType: item.kind,
  shared: item.isShared,
});

interface PruneMessage {
  readonly filter: readonly string[];
  readonly all: boolean;
  readonly keepDuration: bigint;
  readonly reservedSpace: bigint;
  readonly maxUsedSpace: bigint;
  readonly minFreeSpace: bigint;
}

function pruneRequestOf({
  filter,
  all,
  keepDuration,
  reservedSpace,
  maxUsedSpace,
  minFreeSpace,
}: PruneMessage): BuildPruneRequest {
  return {
    all,
    limits: {
      reservedBytes: Number(reservedSpace),
      maxUsedBytes: Number(maxUsedSpace),
      minFreeBytes: Number(minFreeSpace),
    },
    until: keepDuration === 0n ? null : new Date(Date.now() - Number(keepDuration / 1_000_000n)),
    matches: parseCacheFilter(filter),
  };
}
