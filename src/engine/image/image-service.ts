/** The contract of the image room: names to images, and how images come and go. */
import type { LayerCompression } from "#engine/layer";
import type { Descriptor, Digest, ImageConfig, ImageRunConfig, Manifest, Platform } from "#oci";

/** One image: an image config with its layers present. Its id is the config's digest. */
export interface Image {
  readonly id: Digest;
  readonly config: ImageConfig;
  /** `docker.io/library/busybox:latest`, whole and normalized. */
  readonly references: readonly string[];
  /** `docker.io/library/busybox@sha256:…` as pulled or pushed. */
  readonly repoDigests: readonly string[];
  /** Sum of its layers' content. */
  readonly sizeBytes: number;
  /** When a name was last given to it here, or null. */
  readonly lastTagged: Date | null;
  readonly parent: Digest | null;
  /** The indexes that it is a platform of. */
  readonly indexes: readonly Digest[];
}

/** Docker's progress messages of pull, load, import and push, as its JSON lines say them. */
export interface ProgressMessage {
  readonly status?: string;
  readonly id?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
  readonly progress?: string;
  readonly stream?: string;
  readonly error?: string;
  readonly errorDetail?: { readonly message: string; readonly code?: number };
  readonly aux?: unknown;
}

export type OnProgress = (message: ProgressMessage) => void;

export interface RegistryCredentials {
  readonly username?: string;
  readonly password?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
  readonly serverAddress?: string;
}

export interface DeletedImage {
  readonly untagged?: string;
  readonly deleted?: Digest;
}

export interface ImageFilters {
  /** Patterns of `filter reference=`. */
  readonly references?: readonly string[];
  readonly dangling?: boolean;
  readonly labels?: readonly string[];
  readonly before?: string;
  readonly since?: string;
  /** Dates or Go durations, for `until`. */
  readonly until?: Date;
}

export interface ImageHistoryEntry {
  readonly id: Digest | "<missing>";
  readonly created: Date | null;
  readonly createdBy: string;
  readonly tags: readonly string[];
  readonly sizeBytes: number;
  readonly comment: string;
}

/** One manifest of an image: its only one, or one of its index, whether it is here or not. */
export interface ManifestSummary {
  readonly descriptor: Descriptor;
  readonly kind: "image" | "attestation" | "unknown";
  readonly isAvailable: boolean;
  /** Config, manifest and other documents; layers are kept once, in the form that containers mount. */
  readonly contentBytes: number;
  /** Of an image. */
  readonly platform?: Platform;
  readonly unpackedBytes: number;
  readonly containerIds: readonly string[];
  /** The manifest that an attestation is of. */
  readonly attested?: Digest;
}

/** What an image or a whole index consists of, and who uses it. */
export interface ImageUsage {
  readonly descriptor: Descriptor;
  readonly manifests: readonly ManifestSummary[];
  readonly containerIds: readonly string[];
}

export interface ImageService {
  /**
   * By name, digest, whole id or unique prefix of one; of several platforms the one that is asked for, or this host's.
   * @throws EngineError "notFound": `No such image: …`, or that it is not for this platform
   */
  resolve(nameOrId: string, platform?: Platform | null): Image;
  /** True when a name means this image, or an index that it is a platform of. */
  isCalled(id: Digest, name: string): boolean;
  /**
   * What a name means on every platform that is here, and all images made on one of these by commits.
   * @throws EngineError "notFound" or "invalid" as `resolve`
   */
  familyOf(nameOrId: string): ReadonlySet<Digest>;
  /** @param options.byIndex an image whose names stand for several indexes comes once for each */
  list(filters?: ImageFilters, options?: { all?: boolean; byIndex?: boolean }): Image[];
  history(nameOrId: string, platform?: Platform | null): ImageHistoryEntry[];
  tag(request: { source: string; repository: string; tag: string }): void;
  /** `docker rmi`. @throws EngineError "conflict" in Docker's words when containers or several names hold it */
  remove(request: {
    name: string;
    force: boolean;
    prune: boolean;
    /** Only these platforms of an index. */
    platforms?: readonly Platform[];
  }): Promise<DeletedImage[]>;
  pull(request: {
    reference: string;
    platform?: Platform;
    credentials?: RegistryCredentials;
    signal: AbortSignal;
    onProgress: OnProgress;
    all?: boolean;
  }): Promise<void>;
  push(request: {
    reference: string;
    platform?: Platform;
    /** null: layers go as they came or as it is quickest; else as this says, unless a registry has them otherwise. */
    compression?: (LayerCompression & { readonly isForced: boolean }) | null;
    credentials?: RegistryCredentials;
    signal: AbortSignal;
    onProgress: OnProgress;
  }): Promise<void>;
  /** @returns the images' ids */
  load(request: {
    archive: ReadableStream<Uint8Array>;
    quiet: boolean;
    /** Load only what is for this platform. */
    platform?: Platform;
    signal: AbortSignal;
    onProgress: OnProgress;
  }): Promise<readonly Digest[]>;
  /** A docker-archive with an OCI layout in it, as `docker save` writes. */
  save(
    names: readonly string[],
    request: { readonly platform?: Platform; readonly signal: AbortSignal },
  ): ReadableStream<Uint8Array>;
  /** `docker import`; answers the new image's id. */
  importTar(request: {
    archive: ReadableStream<Uint8Array>;
    reference?: string;
    message?: string;
    changes: ImageRunConfig;
    platform?: Platform;
    signal: AbortSignal;
    onProgress: OnProgress;
  }): Promise<Digest>;
  /** @param request.term `redis`, or `registry.example/redis`; @param request.limit 1 to 100 */
  search(request: {
    term: string;
    limit: number;
    credentials?: RegistryCredentials;
    signal: AbortSignal;
  }): Promise<ImageSearchResult[]>;
  /** Images without a tag, or all, that no container uses. @throws EngineError "conflict" while another runs */
  prune(request: {
    danglingOnly: boolean;
    /** Those made before; null: whenever. */
    until: Date | null;
    /** `key` or `key=value`: those that have all of these, and not all of those. */
    labels: readonly string[];
    withoutLabels: readonly string[];
    signal: AbortSignal;
  }): Promise<{ deleted: DeletedImage[]; reclaimedBytes: number }>;
  /** What all layers of images take, and what each image shares with others. */
  usage(): {
    readonly layersSizeBytes: number;
    readonly sharedSizeBytes: ReadonlyMap<Digest, number>;
  };
  /** How many containers use it, or another platform of its indexes. */
  containersOf(image: Image): number;
  /** @param name what it was asked by, where that may say which index is meant */
  usageOf(image: Image, name?: string): ImageUsage;
  /** A build's result: all its layers are here, and held. References are whole. */
  addBuilt(request: { config: ImageConfig; references: readonly string[] }): Promise<Digest>;
  /** The same of an index: images whose layers are here, and what is said about them. */
  addBuiltIndex(request: {
    /** The index. */
    target: Descriptor;
    images: readonly { readonly config: ImageConfig; readonly manifest: Descriptor }[];
    /** The index, manifests, configs and attestations. */
    documents: ReadonlyMap<Digest, Uint8Array<ArrayBuffer>>;
    references: readonly string[];
  }): Promise<void>;
  /** What is under a name at a registry, an image or a build's cache; nothing of it is stored. */
  fetchDocuments(
    request: RemoteRequest & {
      /** Of several the one for it; this host's unless told. */
      readonly platform?: Platform;
    },
  ): Promise<{ readonly manifest: Manifest; readonly config: Uint8Array }>;
  /** One layer into the store; held by the caller. @throws EngineError "invalid" for other bytes than promised */
  fetchLayer(
    request: RemoteRequest & {
      descriptor: Descriptor;
      diffId: Digest;
      onProgress: OnProgress;
    },
  ): Promise<void>;
  /** Layers that are here and held, and a manifest that names them, to a registry. @returns the manifest's digest */
  pushCache(
    request: RemoteRequest & {
      diffIds: readonly Digest[];
      /** null: layers go as the registry has them, or as it is quickest. */
      compression?: (LayerCompression & { readonly isForced: boolean }) | null;
      /** @param layers in the order of `diffIds`. @returns an artifact's manifest, or an index */
      encode: (layers: readonly Descriptor[]) => {
        manifest: Uint8Array<ArrayBuffer>;
        config: Uint8Array<ArrayBuffer>;
        mediaType: string;
      };
      onProgress: OnProgress;
    },
  ): Promise<Digest>;
  /** Forgets where registries have layers that are neither here nor any image's. */
  forgetLostLayers(): void;
  /** @throws EngineError "notFound" when the parent is gone */
  commit(request: ImageCommitRequest): Promise<Digest>;
}

/** Something at a registry. */
export interface RemoteRequest {
  readonly reference: string;
  readonly credentials?: RegistryCredentials;
  readonly signal: AbortSignal;
}

/** A container's changes as a new image. */
export interface ImageCommitRequest {
  /** The container's image: the new one's parent. */
  readonly parent: Digest;
  /** An overlay's upper directory, and paths in it (byte strings) that are no changes. */
  readonly upper: string;
  readonly skip: ReadonlySet<string>;
  readonly config: ImageRunConfig;
  /** The container's command, for the history. */
  readonly createdBy: string;
  readonly author: string;
  readonly comment: string;
  readonly reference?: string;
  readonly signal: AbortSignal;
}

export interface ImageSearchResult {
  readonly name: string;
  readonly description: string;
  readonly isOfficial: boolean;
  readonly stars: number;
}

/** Who uses an image: the container room answers, wired by the daemon, so `rmi` can refuse. */
export interface ImageUsers {
  /** Containers of an image: id, and whether it runs. */
  usersOf(id: Digest): readonly { readonly id: string; readonly running: boolean }[];
}
