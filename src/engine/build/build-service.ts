/** The contract of the build room. */
import type { NetworkMode, StepRequest } from "#engine/container";
import type { RegistryCredentials } from "#engine/image";
import type { LayerCompression } from "#engine/layer";
import type { SourceNode, SourceTree } from "#engine/build/source";
import type { Descriptor, Digest, ImageConfig, Platform } from "#oci";

import type { ClientFolders } from "./client-folder.ts";
import type { CacheFilter } from "./cache-filter.ts";
import type { OnBuildEvent } from "./events.ts";
import type { OfferedEntry } from "./kept-contexts.ts";
import type { CacheForm, SharedCache } from "./shared-cache.ts";
import type { BuiltImage, DocumentOptions } from "./image-documents.ts";
import type { DockerfileOutline, DockerfileTarget } from "./outline.ts";
import type { OnFailedRun } from "./visit.ts";

export interface BuildRequest {
  /** An archive, plain or compressed; null when `remote` says where it is, or for none. */
  readonly context: ReadableStream<Uint8Array> | null;
  /** Folders of the client that are asked for what a build needs; null for a client without a session. */
  readonly folders: ClientFolders | null;
  /** The name of an offer that `context` completes; "" when `context` is all of it. */
  readonly offer: string;
  /** A URL of a git repository, an archive or a Dockerfile; "" for none. */
  readonly remote: string;
  /** `--build-context`: `docker-image://…`, `local:<folder of the client>`, or the URL of a git repository or archive. */
  readonly contexts: ReadonlyMap<string, string>;
  /** What other builds have made and still hold, by what `contexts` says of them. */
  readonly results: ReadonlyMap<string, ImageConfig>;
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
  readonly secrets: Asked<Uint8Array>;
  /** Sockets of agents on this host, by the id of `--mount=type=ssh`. */
  readonly agents: Asked<string>;
  /** For a registry's domain. */
  readonly credentials: (
    domain: string,
  ) => Promise<RegistryCredentials | undefined> | RegistryCredentials | undefined;
  /** One layer on top of the target stage's base. */
  readonly squash: boolean;
  readonly cacheFrom: readonly CacheSource[];
  readonly cacheTo: readonly CacheTarget[];
  /** The cache goes nowhere yet: it is kept with the result, for `exportCaches`. */
  readonly keepsCache?: boolean;
  /** Only look at the Dockerfile. */
  readonly checkOnly: boolean;
  readonly signal: AbortSignal;
  /** Events of one step after the other, as a log reads; else of all steps as they happen. */
  readonly inOrder: boolean;
  readonly onEvent: OnBuildEvent;
  /**
   * Whose words the client knows; BuildKit's unless told. Docker's classic builder refuses what the others take, and
   * naru says as it does what is not there.
   */
  readonly dialect?: "classic" | "naru" | "buildkit";
  /** A folder of the client's as an archive, by the name that `contexts` has behind `local:`; asked for when needed. */
  readonly givenFolder?: (name: string, signal: AbortSignal) => Promise<ReadableStream<Uint8Array>>;
  /** An OCI layout of the client's, by the name that `contexts` has behind `oci-layout://`. */
  readonly givenLayout?: (name: string) => GivenLayout;
  /** The result is looked at by a scanner, and so is what the Dockerfile names for it. */
  readonly isScanned?: boolean;
  /** What RUN may ask for beyond a sandbox: `network.host`, `security.insecure`. */
  readonly entitlements?: readonly string[];
  /** Lets a person into the first RUN that fails. */
  readonly onFailedRun?: OnFailedRun;
}

/** Blobs of a client; the bytes are as it says. */
export interface GivenLayout {
  blob(digest: Digest, signal: AbortSignal): ReadableStream<Uint8Array>;
}

/** What is known by a name, here or at the client. */
export interface Asked<T> {
  get(id: string): Promise<T | undefined> | T | undefined;
}

/** An image that a build stands on or copied from. */
export interface BuildMaterial {
  /** Whole. */
  readonly reference: string;
  readonly platform: Platform;
  /** As a registry has it, where that is known: of its index or manifest; else of its config. */
  readonly digest: Digest;
  /** From a layout of the client's: its name is not one of a registry. */
  readonly isLayout?: boolean;
}

/** What a build made, kept until it is disposed of. */
export interface SolvedBuild extends Disposable {
  readonly config: ImageConfig;
  readonly platform: Platform;
  readonly materials: readonly BuildMaterial[];
  /** Makes it an image. @param references whole */
  keep(references: readonly string[]): Promise<Digest>;
  /** What it knows for other builds, where that was to be kept. */
  readonly cache: SolvedCache | null;
  /** What an image's program finds in it. @throws StepFailed when that ends badly */
  scan(request: ScanRequest): Promise<Scanned>;
  /** Its files. */
  readonly tree: SourceTree;
  /** A file's bytes; a piece belongs to whoever took it. */
  read(node: SourceNode): Iterable<Uint8Array>;
  /** Its files as a plain archive, or as a part of one: names begin with `prefix`, which is "" or ends with a slash. */
  tar(options: {
    readonly prefix: string;
    /** Files beside its own. */
    readonly files: ReadonlyMap<string, Uint8Array>;
    /** The archive ends with it. */
    readonly isLast: boolean;
  }): Iterable<Uint8Array>;
}

/** What a build has found or made, and which of its layers are the result's. */
export interface SolvedCache {
  readonly shared: SharedCache;
  readonly imageLayers: readonly Digest[];
}

/** Asks the program of an image what is in a build's result. */
export interface ScanRequest {
  readonly image: string;
  /** Names without the `BUILDKIT_SCAN_` that they get. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly credentials: BuildRequest["credentials"];
  readonly onOutput: (text: string, stderr: boolean) => Promise<void>;
  /** It has looked at the same things before. */
  readonly onCached: () => void;
  readonly signal: AbortSignal;
}

/** One statement of a scanner. */
export interface Scan {
  readonly fileName: string;
  readonly predicateType: string;
  readonly predicate: unknown;
  /** What it is about, where it says so itself; else it is about the image. */
  readonly subjects: readonly object[];
}

export interface Scanned {
  readonly scans: readonly Scan[];
  readonly scanner: BuildMaterial;
}

/** A Dockerfile that was read, and what it offers. */
export interface DescribedDockerfile {
  readonly name: string;
  readonly text: string;
  readonly targets: readonly DockerfileTarget[];
  /** Of the target that is asked for. */
  readonly outline: DockerfileOutline;
}

/** Images of builds that are held, as one image. */
export interface ImageRequest extends Omit<DocumentOptions, "isOci"> {
  readonly images: readonly BuiltImage[];
  /** Whole references. */
  readonly names: readonly string[];
}

export interface PackRequest extends ImageRequest, DocumentOptions {
  readonly images: readonly (BuiltImage & { readonly id: Digest })[];
  readonly compression: LayerCompression;
  readonly signal: AbortSignal;
}

export interface PackedBlob {
  readonly sizeBytes: number;
  readonly open: () => ReadableStream<Uint8Array>;
}

/** An image as blobs that can be sent away. */
export interface PackedImage extends Disposable {
  /** The index, or the only manifest. */
  readonly target: Descriptor;
  readonly manifests: readonly Descriptor[];
  /** The index, manifests, configs and statements. */
  readonly documents: ReadonlyMap<Digest, Uint8Array>;
  /** Layers before documents. */
  readonly blobs: ReadonlyMap<Digest, PackedBlob>;
  /** An OCI layout in a tar; with Docker's list in it for Docker. */
  archive(kind: "oci" | "docker"): ReadableStream<Uint8Array>;
}

export interface BuildResult {
  /** null when only checked. */
  readonly id: Digest | null;
}

/** A cache of elsewhere: `--cache-from`. */
export type CacheSource =
  /** An image that has one in it, here or at a registry; or a cache at a registry. */
  | { readonly kind: "registry"; readonly reference: string }
  /** What a client has in a folder; asked for piece by piece. */
  | {
      readonly kind: "given";
      readonly name: string;
      manifest(signal: AbortSignal): Promise<ReadableStream<Uint8Array>>;
      blob(digest: Digest, signal: AbortSignal): Promise<ReadableStream<Uint8Array>>;
    };

/** Where a build's cache goes: `--cache-to`. `min`: with the image's own layers only. */
export type CacheTarget =
  | { readonly kind: "inline" }
  | ({ readonly kind: "registry"; readonly reference: string } & CacheTargetOptions)
  | ({
      readonly kind: "given";
      readonly name: string;
      write(written: WrittenCache): Promise<void>;
    } & CacheTargetOptions);

export interface CacheTargetOptions {
  readonly mode: "min" | "max";
  readonly ignoreError: boolean;
  /** null or not said: as it is quickest. */
  readonly compression?: (LayerCompression & { readonly isForced: boolean }) | null;
  readonly form?: CacheForm;
}

/** A cache as it is given to a client. */
export interface WrittenCache {
  readonly mediaType: string;
  readonly manifest: Uint8Array<ArrayBuffer>;
  readonly config: Uint8Array<ArrayBuffer>;
  readonly blobs: ReadonlyMap<Descriptor, () => ReadableStream<Uint8Array>>;
  readonly signal: AbortSignal;
}

/** What `docker builder prune` and `system df` show. */
export interface BuildCacheItem {
  readonly id: string;
  readonly parent: string | null;
  /** In BuildKit's words; `source.local` is a client's folder as it was built last. */
  readonly kind: "regular" | "exec.cachemount" | "source.local";
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
  /** Only these; null: all of them. */
  readonly matches: CacheFilter | null;
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

export type {
  ClientFolders,
  FilePiece,
  FolderEntry,
  FolderFilter,
  FolderListing,
} from "./client-folder.ts";
export type { BuiltImage, ImageAnnotation, Statement } from "./image-documents.ts";
export type { CacheForm } from "./shared-cache.ts";
export type { AskedParameter, BuildParameter } from "./outline.ts";
export type { Found, SourceNode, SourceTree } from "#engine/build/source";
/** One thing of a context that a client offers; names and links are byte strings. */
export type { OfferedEntry } from "./kept-contexts.ts";

/** What is remembered of builds, by the names that clients gave them. The bytes are the server's. */
export interface BuildHistoryStore {
  /** Oldest first. */
  all(): { readonly ref: string; readonly record: Uint8Array }[];
  log(ref: string): Uint8Array | null;
  /** Of any build. */
  blob(digest: string): Uint8Array | null;
  /**
   * @param build.log null: as it was
   * @param build.blobs more of them, by digest
   */
  save(build: {
    readonly ref: string;
    readonly record: Uint8Array;
    readonly log: Uint8Array | null;
    readonly blobs?: ReadonlyMap<string, Uint8Array>;
  }): void;
  remove(ref: string): void;
}

export interface BuildService {
  readonly history: BuildHistoryStore;
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
  /** The same, and what becomes of it is still open; null when only checked. */
  solve(request: BuildRequest): Promise<SolvedBuild | null>;
  /** Builds nothing: what the Dockerfile offers. */
  describe(request: BuildRequest): Promise<DescribedDockerfile>;
  /** Makes them images here. @returns the index, or the only manifest */
  keepImage(request: ImageRequest): Promise<{
    readonly target: Descriptor;
    readonly manifests: readonly Descriptor[];
    readonly documents: ReadonlyMap<Digest, Uint8Array>;
  }>;
  packImage(request: PackRequest): Promise<PackedImage>;
  /** What builds that are held know, as one cache. @throws EngineError unless a target's errors are to be ignored */
  exportCaches(
    builds: readonly SolvedBuild[],
    request: Pick<BuildRequest, "cacheTo" | "credentials" | "signal" | "onEvent">,
  ): Promise<void>;
  cacheUsage(): Promise<BuildCacheItem[]>;
  prune(request: BuildPruneRequest): Promise<{ deleted: string[]; reclaimedBytes: number }>;
}
