/** `POST /build` as the docker CLI without BuildKit uses it, and the build cache. */
import { EngineError, invalid, kindOf, sentenceOf } from "#base";
import {
  type BuildEvent,
  type BuildPruneRequest,
  type BuildService,
  StepFailed,
} from "#engine/build";
import { familiarReference, parseReference } from "#oci";
import { atLeast, type BuildMessage, type BuildPruneReport } from "#wire/docker";
import { writeChunk } from "#wire/http";

import { BuildKitBuilds } from "./buildkit-build.ts";
import type { OpenBuildKit } from "./buildkit.ts";
import type { Call } from "./call.ts";
import { BuildShells } from "./build-shells.ts";
import { CacheTransfers } from "./cache-transfers.ts";
import { decodeBuildPrune } from "./decode/build-prune.ts";
import { decodeBuild } from "./decode/build.ts";
import type { ClientCaches } from "./decode/build-cache.ts";
import { decodeOffer } from "./decode/build-context.ts";
import { encodeBuilt, encodeBuildEvent } from "./encode/build.ts";
import type { Routes } from "./routes.ts";

/** What a quiet build keeps, to tell when it fails. */
const KEPT_LINES = 1000;

/** What of a build happens on other connections of its client. */
interface Beside {
  readonly transfers: CacheTransfers;
  readonly shells: BuildShells;
}

/** @param isExperimental whether clients that ask may have what Docker calls experimental */
export function buildRoutes(
  builds: BuildService,
  isExperimental: () => boolean,
  openBuildKit: OpenBuildKit,
): Routes {
  const transfers = new CacheTransfers();
  const shells = new BuildShells();
  const buildKitBuilds = new BuildKitBuilds(openBuildKit);
  return {
    ...transfers.routes(),
    ...shells.routes(),
    ...buildKitBuilds.routes(),
    "POST /build": (call) => {
      // Our own client knows that the engine can: it asks for events.
      const { query } = call;
      if (BuildKitBuilds.isMeant(call)) return buildKitBuilds.build(call);
      if (query.bool("squash") && !query.bool("events") && !isExperimental()) {
        throw invalid("squash is only supported with experimental mode");
      }
      return build(call, builds, { transfers, shells });
    },
    "POST /build/context": (call) => offer(call, builds),
    "POST /build/prune": (call) => prune(call, builds),
  };
}

/** Naru's own: what is in a folder that this client builds, and the answer which of its files are not known here. */
async function offer(call: Call, builds: BuildService): Promise<void> {
  call.json(200, builds.offerContext(call.query.text("key"), decodeOffer(await call.body())));
}

async function build(
  call: Call,
  builds: BuildService,
  { transfers, shells }: Beside,
): Promise<void> {
  const isQuiet = call.query.bool("q");
  // Naru's own: the events themselves, for a client that shows more than lines.
  const isRaw = call.query.bool("events");
  const lines = new BuildLines(call);
  const options = decodeBuild(call, isRaw && !isQuiet ? cachesOf(transfers, lines) : null);
  const kept: object[] = [];
  let excerpt = "";
  const onEvent = async (event: BuildEvent) => {
    const isFirst = !call.begun && kept.length === 0;
    // The answer is an error with a status, then: the lines go into its sentence.
    if (event.type === "failed" && isFirst && !isRaw) return void (excerpt = event.excerpt);
    const encoded = isRaw ? rawOf(event) : encodeBuildEvent(told(call, event));
    if (!isQuiet) return await lines.write(encoded);
    kept.push(...encoded);
    kept.splice(0, kept.length - KEPT_LINES);
  };
  try {
    const { signal } = call;
    const context = options.remote === "" ? call.bytes() : null;
    const { id } = await builds.build({
      ...options,
      ...(isRaw && call.query.text("onfail") === "shell"
        ? { onFailedRun: shells.offer((naruShell) => lines.write([{ naruShell }])) }
        : {}),
      ...(isRaw
        ? { givenFolder: (name: string) => wantFolder({ transfers, lines }, name, signal) }
        : {}),
      context,
      signal,
      inOrder: !isRaw,
      dialect: isRaw ? "naru" : "classic",
      onEvent,
    });
    const names = options.tags.map((tag) => familiarReference(parseReference(tag)));
    if (id !== null) await lines.write(isQuiet ? [{ stream: `${id}\n` }] : encodeBuilt(id, names));
  } catch (error) {
    if (call.signal.aborted) return call.destroy();
    if (!call.begun && kept.length === 0) throw excerpt === "" ? error : withLines(error, excerpt);
    const message = sentenceOf(error);
    const code = error instanceof StepFailed ? { code: error.exitCode } : {};
    await lines.write([...kept, { errorDetail: { ...code, message }, error: message }]);
  }
  lines.end();
}

/** Who asks that containers of steps be kept is not told that they are gone. None ever is more than a process here. */
function told({ query }: Call, event: BuildEvent): BuildEvent {
  const isKept = query.text("rm") !== "" && !query.bool("rm") && !query.bool("forcerm");
  return event.type === "done" && isKept ? { ...event, processId: null } : event;
}

/** Folders of the client's, by way of its build's own stream. */
function cachesOf(transfers: CacheTransfers, lines: BuildLines): ClientCaches {
  const want = (cache: number, digest: string, signal: AbortSignal) =>
    transfers.want(
      { cache, digest },
      (piece) => lines.write([{ naruCache: { type: "wanted", ...piece } } satisfies BuildMessage]),
      signal,
    );
  return {
    source: (index) => ({
      manifest: (signal) => want(index, "", signal),
      blob: (digest, signal) => want(index, digest, signal),
    }),
    target: (index) => ({
      write: (written) =>
        transfers.offer(index, written, (offered) =>
          lines.write([{ naruCache: { type: "offered", ...offered } } satisfies BuildMessage]),
        ),
    }),
  };
}

const wantFolder = (
  { transfers, lines }: { transfers: CacheTransfers; lines: BuildLines },
  name: string,
  signal: AbortSignal,
) => transfers.want({ name }, (naruContext) => lines.write([{ naruContext }]), signal);

/** Docker's sentence first: clients match on it. */
const withLines = (error: unknown, excerpt: string): EngineError =>
  new EngineError(kindOf(error), `${sentenceOf(error)}\n${excerpt}`, { cause: error });

/** Naru's client knows the Dockerfile, and learns of its steps as they come. */
const rawOf = (event: BuildEvent): object[] =>
  event.type === "source" || event.type === "plan" || event.type === "broken"
    ? []
    : [{ naru: event }];

/** JSON lines, no faster than the client reads them: what a step prints waits in its pipe. */
class BuildLines {
  readonly #call: Call;

  constructor(call: Call) {
    this.#call = call;
  }

  async write(lines: readonly object[]): Promise<void> {
    if (lines.length === 0) return;
    if (!this.#call.begun) this.#call.begin("application/json");
    const text = lines.map((line) => `${JSON.stringify(line)}\r\n`).join("");
    await writeChunk(this.#call.sink, text);
  }

  end(): void {
    if (!this.#call.begun) this.#call.begin("application/json");
    this.#call.sink.end();
  }
}

/** Before API 1.48 there was only the first, by its older name. */
function limitsOf({ query, version }: Call): BuildPruneRequest["limits"] {
  const bytes = (name: string): number => {
    try {
      return query.integer(name) ?? 0;
    } catch (cause) {
      const why = sentenceOf(cause).replace("ParseInt", "Atoi");
      const value = query.text(name);
      throw invalid(`${name} is in bytes and expects an integer, got ${value}: ${why}`, { cause });
    }
  };
  if (!atLeast(version, "1.48")) {
    return { reservedBytes: bytes("keep-storage"), maxUsedBytes: 0, minFreeBytes: 0 };
  }
  return {
    reservedBytes: bytes("reserved-space") || bytes("keep-storage"),
    maxUsedBytes: bytes("max-used-space"),
    minFreeBytes: bytes("min-free-space"),
  };
}

async function prune(call: Call, builds: BuildService): Promise<void> {
  const { query } = call;
  const wanted = decodeBuildPrune({
    all: query.bool("all"),
    filters: query.filters(),
    limits: limitsOf(call),
  });
  const { deleted, reclaimedBytes } = await builds.prune(wanted);
  const report: BuildPruneReport = { CachesDeleted: deleted, SpaceReclaimed: reclaimedBytes };
  call.json(200, report);
}
