/** One build of a client with a session: its attributes and its folders to the solver. */
import { invalid } from "#base";
import type {
  BuildRequest,
  BuildService,
  GivenLayout,
  OnBuildEvent,
  SolvedBuild,
} from "#engine/build";
import type { ImageService } from "#engine/image";

import { AgentSockets } from "./agents.ts";
import type { FrontendOptions } from "./attributes.ts";
import { ClientStore } from "./content-store.ts";
import { foldersOf } from "./folders.ts";
import type { Progress } from "./progress.ts";
import type { Session } from "./session.ts";

export interface BuildServices {
  readonly builds: Pick<
    BuildService,
    | "solve"
    | "describe"
    | "keepImage"
    | "packImage"
    | "exportCaches"
    | "cacheUsage"
    | "prune"
    | "history"
  >;
  readonly images: Pick<ImageService, "push">;
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
  readonly isScanned?: boolean;
  readonly keepsCache?: boolean;
  /** null for a client that only sends an archive. */
  readonly session: Session | null;
  /** What the client sent with its request, where its session does not know better. */
  readonly credentials?: BuildRequest["credentials"];
  readonly progress: Progress;
  readonly checkOnly: boolean;
  readonly signal: AbortSignal;
  readonly onEvent: OnBuildEvent;
}

/** @returns null when only checked. @throws EngineError; the session's end is an abort */
export const solveForSession = (
  services: BuildServices,
  build: SessionBuild,
): Promise<SolvedBuild | null> =>
  withRequest(services, build, (request) => services.builds.solve(request));

/** What a session's build asks of the solver, while the client's agents are at hand. */
export async function withRequest<T>(
  { runFolder }: BuildServices,
  build: SessionBuild,
  work: (request: BuildRequest) => Promise<T>,
): Promise<T> {
  const { session, options, progress, archive = null } = build;
  const { folders, isDockerfileLocal, ...common } = options;
  const signal = session === null ? build.signal : AbortSignal.any([build.signal, session.closed]);
  using agents = session === null ? null : new AgentSockets(session, runFolder);
  const request: BuildRequest = {
    ...common,
    ...contextOf(build, archive, signal),
    // A Dockerfile in a repository or an archive is read there.
    folders:
      session !== null && isDockerfileLocal ? foldersOf(session, folders, progress.folders) : null,
    offer: "",
    squash: false,
    cacheTo: build.cacheTo,
    entitlements: build.entitlements,
    isScanned: build.isScanned === true,
    keepsCache: build.keepsCache === true,
    results: build.results ?? new Map(),
    tags: [],
    ...(session === null ? {} : { givenLayout: (name) => layoutOf(session, name) }),
    secrets: { get: (id) => session?.secret(id, signal) },
    agents: agents ?? new Map(),
    credentials: async (domain) =>
      (await session?.credentials(domain, signal)) ?? build.credentials?.(domain),
    checkOnly: build.checkOnly,
    signal,
    inOrder: false,
    onEvent: build.onEvent,
  };
  try {
    return await work(request);
  } catch (cause) {
    // A client that went away broke off everything at once: that is the reason, whatever was heard first.
    if (session?.closed.aborted === true) throw invalid("the session has ended", { cause });
    throw cause;
  }
}

function contextOf(
  { session, options }: SessionBuild,
  archive: ReadableStream<Uint8Array> | null,
  signal: AbortSignal,
): Pick<BuildRequest, "remote" | "context"> {
  if (archive !== null) return { remote: "", context: archive };
  const { remote } = options;
  return session === null ? { remote, context: null } : uploadOf(remote, session, signal);
}

/** What clients call an OCI layout in their sessions. */
const layoutOf = (session: Session, name: string): GivenLayout => {
  const store = new ClientStore(session, `oci:${name}`);
  return { blob: (digest, signal) => store.read(digest, signal) };
};

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
