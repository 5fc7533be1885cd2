/** One build of a client with a session: its attributes and its folders to the solver. */
import { invalid } from "#base";
import type { BuildRequest, BuildService, OnBuildEvent, SolvedBuild } from "#engine/build";

import { AgentSockets } from "./agents.ts";
import type { FrontendOptions } from "./attributes.ts";
import { foldersOf } from "./folders.ts";
import type { Progress } from "./progress.ts";
import type { Session } from "./session.ts";

export interface BuildServices {
  readonly builds: Pick<BuildService, "solve" | "cacheUsage" | "prune">;
  /** For sockets that steps see; cleared at every start. */
  readonly runFolder: string;
}

export interface SessionBuild {
  readonly options: FrontendOptions;
  /** The context, where it came beside the session. */
  readonly archive?: ReadableStream<Uint8Array> | null;
  /** Results of other builds that contexts name. */
  readonly results?: BuildRequest["results"];
  readonly cacheTo: BuildRequest["cacheTo"];
  readonly entitlements: readonly string[];
  readonly session: Session;
  readonly progress: Progress;
  readonly checkOnly: boolean;
  readonly signal: AbortSignal;
  readonly onEvent: OnBuildEvent;
}

/** @returns null when only checked. @throws EngineError; the session's end is an abort */
export async function solveForSession(
  { builds, runFolder }: BuildServices,
  build: SessionBuild,
): Promise<SolvedBuild | null> {
  const { session, options, progress } = build;
  const signal = AbortSignal.any([build.signal, session.closed]);
  using agents = new AgentSockets(session, runFolder);
  const { folders, isDockerfileLocal, ...common } = options;
  const { archive = null } = build;
  const uploaded =
    archive === null ? uploadOf(options.remote, session, signal) : { remote: "", context: archive };
  const request: BuildRequest = {
    ...common,
    ...uploaded,
    // A Dockerfile in a repository or an archive is read there.
    folders: isDockerfileLocal ? foldersOf(session, folders, progress.folders) : null,
    offer: "",
    squash: false,
    cacheTo: build.cacheTo,
    entitlements: build.entitlements,
    results: build.results ?? new Map(),
    tags: [],
    secrets: { get: (id) => session.secret(id, signal) },
    agents,
    credentials: (domain) => session.credentials(domain, signal),
    checkOnly: build.checkOnly,
    signal,
    inOrder: false,
    onEvent: build.onEvent,
  };
  try {
    return await builds.solve(request);
  } catch (cause) {
    // A client that went away broke off everything at once: that is the reason, whatever was heard first.
    if (session.closed.aborted) throw invalid("the session has ended", { cause });
    throw cause;
  }
}

const UPLOADED = /^https?:\/\/buildkit-session\/([^?#]*)/;

/** A context from the client's stdin has a URL of the session's own. */
function uploadOf(
  remote: string,
  session: Session,
  signal: AbortSignal,
): Pick<BuildRequest, "remote" | "context"> {
  const path = UPLOADED.exec(remote)?.[1];
  if (path === undefined) return { remote, context: null };
  const pieces = session.upload(`/${path}`, "buildkit-session", signal);
  const context = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await pieces.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      } catch (cause) {
        controller.error(cause);
      }
    },
    cancel: () => void pieces.return(undefined),
  });
  return { remote: "", context };
}
