/**
 * Builds of the docker CLI's own BuildKit client (18.09 to 20.10): asked for in one request of Docker's API, with a
 * session beside it, and followed by the same messages as buildx's.
 */
import { invalid, newId } from "#base";
import type { BuildRequest } from "#engine/build";
import { create, StatusResponseSchema, toBinary } from "#wire/grpc";

import type { Bridge } from "./bridge.ts";
import { solveForSession } from "./builds.ts";
import { checkOutputs, exportAll, type Output } from "./outputs.ts";
import { Progress } from "./progress.ts";
import { StatusLog } from "./status-log.ts";

export interface ClassicBuild {
  readonly options: Omit<
    BuildRequest,
    | "context"
    | "folders"
    | "results"
    | "offer"
    | "signal"
    | "inOrder"
    | "onEvent"
    | "cacheTo"
    | "squash"
  >;
  /** "" for none. */
  readonly session: string;
  /** An archive that came in a request of its own; null when the session has the folders, or a URL says where. */
  readonly archive: ReadableStream<Uint8Array> | null;
  readonly outputs: readonly Output[];
  readonly signal: AbortSignal;
  /** An encoded `StatusResponse`. */
  readonly onTrace: (trace: Uint8Array) => Promise<void>;
}

/** @returns what the exporters say, by BuildKit's names. @throws EngineError in BuildKit's words */
export async function buildClassic(
  bridge: Bridge,
  build: ClassicBuild,
): Promise<Readonly<Record<string, string>>> {
  const { options, archive, signal } = build;
  const names = { name: options.tags.join(",") };
  const asked = build.outputs.length === 0 ? [{ type: "moby", attributes: {} }] : build.outputs;
  const outputs = asked.map((output) =>
    output.type === "moby" || output.type === "image"
      ? { ...output, attributes: { ...output.attributes, ...names } }
      : output,
  );
  checkOutputs(outputs);
  const session = build.session === "" ? null : await bridge.sessions.get(build.session, signal);
  const log = new StatusLog();
  const progress = new Progress(log, newId());
  const telling = tellTraces(log, build);
  telling.catch(() => undefined);
  const folders = { dockerfile: "dockerfile", context: "context" };
  const isDockerfileLocal = archive === null && options.remote === "";
  try {
    using solved = await solveForSession(bridge, {
      options: { ...options, folders, isDockerfileLocal },
      archive,
      cacheTo: [],
      entitlements: options.entitlements ?? [],
      session,
      credentials: options.credentials,
      progress,
      checkOnly: options.checkOnly,
      signal,
      onEvent: (event) => progress.tell(event),
    });
    if (solved === null) return {};
    const client = async () => {
      if (session === null) throw invalid("no session to send a build's files to");
      return session;
    };
    const { builds, images } = bridge;
    const shared = { builds, images, progress, signal, session: client };
    const results = [{ solved, statements: () => [] }] as const;
    return await exportAll(outputs, { ...shared, results, isMany: false, isAttested: false });
  } finally {
    await progress.end();
    log.end();
    await telling;
  }
}

async function tellTraces(log: StatusLog, { signal, onTrace }: ClassicBuild): Promise<void> {
  for await (const update of log.listen(signal)) {
    await onTrace(toBinary(StatusResponseSchema, create(StatusResponseSchema, update)));
  }
}
