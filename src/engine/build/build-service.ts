/** The contract of the build room. */
import type { NetworkMode, StepRequest } from "#engine/container";
import type { RegistryCredentials } from "#engine/image";
import type { Digest, Platform } from "#oci";

import type { OnBuildEvent } from "./events.ts";
import type { OfferedEntry } from "./kept-contexts.ts";

export interface BuildRequest {
  /** An archive, plain or compressed; null when `remote` says where it is, or for none. */
  readonly context: ReadableStream<Uint8Array> | null;
  /** The name of an offer that `context` completes; "" when `context` is all of it. */
  readonly offer: string;
  /** A URL of a git repository, an archive or a Dockerfile; "" for none. */
  readonly remote: string;
  /** `--build-context`: `docker-image://…`, or the URL of a git repository or an archive, by name. */
  readonly contexts: ReadonlyMap<string, string>;
  /** Its path in the context. */
  readonly dockerfile: string;
  /** Whole references. */
  readonly tags: readonly string[];
  readonly noCache: boolean;
  /** Stages that are built again whatever the cache has. */
  readonly noCacheStages: readonly string[];
  readonly pull: boolean;
  /** null: the client has none, and the Dockerfile's default counts. */
  readonly buildArgs: Readonly<Record<string, string | null>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly target: string;
  readonly platform: Platform | null;
  readonly network: NetworkMode;
  readonly host: StepRequest["host"];
  readonly secrets: ReadonlyMap<string, Uint8Array>;
  /** Sockets of agents on this host, by the id of `--mount=type=ssh`. */
  readonly agents: ReadonlyMap<string, string>;
  /** For a registry's domain. */
  readonly credentials: (domain: string) => RegistryCredentials | undefined;
  /** Only look at the Dockerfile. */
  readonly checkOnly: boolean;
  readonly signal: AbortSignal;
  /** Events of one step after the other, as a log reads; else of all steps as they happen. */
  readonly inOrder: boolean;
  readonly onEvent: OnBuildEvent;
}

export interface BuildResult {
  /** null when only checked. */
  readonly id: Digest | null;
}

/** What `docker builder prune` and `system df` show. */
export interface BuildCacheItem {
  readonly id: string;
  readonly parent: string | null;
  readonly kind: "regular" | "exec.cachemount";
  readonly description: string;
  readonly isInUse: boolean;
  readonly isShared: boolean;
  readonly sizeBytes: number;
  readonly createdAt: Date;
  readonly lastUsedAt: Date;
  readonly uses: number;
}

export interface BuildPruneRequest {
  /** Also what images still share. */
  readonly all: boolean;
  readonly limits: PruneLimits;
  /** Only what was last used before. */
  readonly until: Date | null;
  /** Only these. */
  readonly ids: readonly string[] | null;
  /** Only what agrees with all of these; a text must be the whole. */
  readonly match: Readonly<
    Partial<{
      parent: string;
      type: string;
      description: string;
      inUse: boolean;
      shared: boolean;
    }>
  >;
}

/** How much of the cache stays; with all three 0, nothing does. */
export interface PruneLimits {
  /** This much stays whatever the others say. */
  readonly reservedBytes: number;
  /** No more than this stays; 0: no such limit. */
  readonly maxUsedBytes: number;
  /** Until this much of the disk is free; 0: no such limit. */
  readonly minFreeBytes: number;
}

/** One thing of a context that a client offers; names and links are byte strings. */
export type { OfferedEntry } from "./kept-contexts.ts";

export interface BuildService {
  /**
   * A client that has sent a folder before says what is in it now. The archive of the build that names the offer
   * holds only the files that are needed.
   * @param key the client's name for the folder: 64 hexadecimal digits
   * @throws EngineError "conflict" where the whole context has to be sent
   */
  offerContext(key: string, entries: readonly OfferedEntry[]): { id: string; needed: number[] };
  /**
   * Builds an image. @throws EngineError: before anything was told "invalid" for a Dockerfile that cannot be read,
   * later StepFailed for a RUN that ended badly
   */
  build(request: BuildRequest): Promise<BuildResult>;
  cacheUsage(): Promise<BuildCacheItem[]>;
  prune(request: BuildPruneRequest): Promise<{ deleted: string[]; reclaimedBytes: number }>;
}
